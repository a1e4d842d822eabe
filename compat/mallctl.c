/* jemalloc's mallctl: a value by its name, or by a name that was translated once.
 *
 * A translated name has a number for each of its parts: a number of the name as it is, so that a
 * program may put another in its place, and for a word the index of the first node that begins as
 * this one does up to there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "hpmalloc_compat.h"
#include "nodes.h"

enum { PARTS_MAX = 8, ALL_ARENAS = 4096 };

static size_t part_length(const char *part)
{
    return strcspn(part, ".");
}

static const char *next_part(const char *part)
{
    part += part_length(part);
    return *part == '.' ? part + 1 : NULL;
}

static bool is_number(const char *part)
{
    return *part == '#';
}

/* There is one arena; jemalloc takes as many as there are, and a large number, for all. */
static bool is_arena(size_t number)
{
    return number <= 1 || number == ALL_ARENAS;
}

/* Whether a part of a name is this part of a node's; the number it is, where that may be any. */
static bool is_same_part(const char *given, const char *part, size_t *number)
{
    if (is_number(part)) {
        char *end;
        if (*given < '0' || *given > '9')
            return false;
        *number = strtoul(given, &end, 10);
        return end == given + part_length(given) && is_arena(*number);
    }
    size_t length = part_length(part);
    return part_length(given) == length && memcmp(given, part, length) == 0;
}

static bool is_same_to(const char *a, const char *b, unsigned part)
{
    for (unsigned at = 0; a != NULL && b != NULL; at++) {
        size_t length = part_length(a);
        if (part_length(b) != length || memcmp(a, b, length) != 0)
            return false;
        if (at == part)
            return true;
        a = next_part(a);
        b = next_part(b);
    }
    return false;
}

static size_t number_of_word(const struct node *node, unsigned part)
{
    unsigned first = 0;
    while (!is_same_to(nodes[first].name, node->name, part))
        first++;
    return first;
}

/* The node of a name, and the name translated; NULL: there is none. */
static const struct node *find_by_name(const char *name, size_t mib[PARTS_MAX], size_t *count)
{
    for (const struct node *node = nodes; node < nodes + node_count; node++) {
        const char *given = name, *part = node->name;
        unsigned at = 0;
        size_t number = 0;
        while (given != NULL && part != NULL && is_same_part(given, part, &number)) {
            mib[at] = is_number(part) ? number : number_of_word(node, at);
            at++;
            given = next_part(given);
            part = next_part(part);
        }
        if (given == NULL && part == NULL) {
            *count = at;
            return node;
        }
    }
    return NULL;
}

static const struct node *find_by_mib(const size_t *mib, size_t count)
{
    for (const struct node *node = nodes; node < nodes + node_count; node++) {
        const char *part = node->name;
        unsigned at = 0;
        while (part != NULL && at < count &&
               (is_number(part) ? is_arena(mib[at]) : mib[at] == number_of_word(node, at))) {
            at++;
            part = next_part(part);
        }
        if (part == NULL && at == count)
            return node;
    }
    return NULL;
}

/* What jemalloc answers: EPERM to who reads what is only written, or the other way; EINVAL to a
 * value of another size, of which as much is copied as there is room. */
static int answer(const struct node *node, void *old, size_t *old_bytes, void *given,
                  size_t given_bytes)
{
    size_t bytes = node_bytes(node->kind);
    bool is_given = given != NULL || given_bytes != 0, is_asked = old != NULL || old_bytes != NULL;
    union node_value before = {.u64 = 0}, value = {.u64 = 0};
    if ((is_given && (node->set == NULL || bytes == 0)) || (is_asked && node->get == NULL))
        return EPERM;
    if (given != NULL && given_bytes != bytes)
        return EINVAL;
    if (given != NULL)
        memcpy(&value, given, bytes);
    bool is_read_after =
        node->kind == NODE_U64; // `epoch` tells the new one, all others the old value
    if (node->get != NULL && !is_read_after)
        before = node->get();
    int status = node->set != NULL ? node->set(given != NULL ? &value : NULL) : 0;
    if (status != 0 || old == NULL || old_bytes == NULL)
        return status;
    if (is_read_after)
        before = node->get();
    size_t copied = *old_bytes < bytes ? *old_bytes : bytes;
    memcpy(old, &before, copied);
    status = *old_bytes == bytes ? 0 : EINVAL;
    *old_bytes = copied;
    return status;
}

int mallctl(const char *name, void *old, size_t *old_bytes, void *given, size_t given_bytes)
{
    size_t mib[PARTS_MAX], count;
    const struct node *node = find_by_name(name, mib, &count);
    return node != NULL ? answer(node, old, old_bytes, given, given_bytes) : ENOENT;
}
COMMON_ALIAS(je_mallctl, mallctl);

int mallctlnametomib(const char *name, size_t *mib, size_t *mib_count)
{
    size_t found[PARTS_MAX], count;
    if (find_by_name(name, found, &count) == NULL)
        return ENOENT;
    if (count > *mib_count)
        return EINVAL;
    memcpy(mib, found, count * sizeof(mib[0]));
    *mib_count = count;
    return 0;
}
COMMON_ALIAS(je_mallctlnametomib, mallctlnametomib);

int mallctlbymib(const size_t *mib, size_t mib_count, void *old, size_t *old_bytes, void *given,
                 size_t given_bytes)
{
    const struct node *node = find_by_mib(mib, mib_count);
    return node != NULL ? answer(node, old, old_bytes, given, given_bytes) : ENOENT;
}
COMMON_ALIAS(je_mallctlbymib, mallctlbymib);
