#define _GNU_SOURCE
#include "prof/mappings.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "base/os.h"

/* Longer than a line with the longest path there can be. */
enum { READER_BYTES = 8192, FIRST_MAPPINGS = 64 };

/* In pages of its own: too large for a signal handler's stack. */
struct reader {
    int fd;
    size_t begin, end; // what is read and not yet given out
    char bytes[READER_BYTES];
};

static bool refill_reader(struct reader *reader)
{
    memmove(reader->bytes, reader->bytes + reader->begin, reader->end - reader->begin);
    reader->end -= reader->begin;
    reader->begin = 0;
    ssize_t got;
    do {
        got = read(reader->fd, reader->bytes + reader->end, sizeof(reader->bytes) - reader->end);
    } while (got < 0 && errno == EINTR);
    if (got > 0)
        reader->end += (size_t)got;
    return got > 0;
}

/* The next line, without its end; NULL after the last. */
static char *next_line(struct reader *reader)
{
    for (;;) {
        char *line = reader->bytes + reader->begin;
        char *end = memchr(line, '\n', reader->end - reader->begin);
        if (end != NULL) {
            *end = '\0';
            reader->begin += (size_t)(end - line) + 1;
            return line;
        }
        if (!refill_reader(reader))
            return NULL;
    }
}

static unsigned hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 16;
}

static uint64_t take_hex(const char **text)
{
    uint64_t number = 0;
    for (unsigned digit; (digit = hex_digit(**text)) < 16; (*text)++)
        number = number << 4 | digit;
    return number;
}

static void skip_field(const char **text)
{
    *text += strcspn(*text, " ");
    *text += strspn(*text, " ");
}

/* A line reads `start-limit perms offset device inode   path`. False: not one of ours. */
static bool parse_line(const char *line, struct mapping *mapping)
{
    mapping->start = take_hex(&line);
    if (*line++ != '-')
        return false;
    mapping->limit = take_hex(&line);
    skip_field(&line);
    if (strnlen(line, 4) < 4 || line[2] != 'x')
        return false;
    skip_field(&line);
    mapping->file_offset = take_hex(&line);
    skip_field(&line);
    skip_field(&line);
    skip_field(&line);
    if (mapping->limit <= mapping->start || (line[0] != '/' && strcmp(line, "[vdso]") != 0))
        return false;
    size_t length = min_size(strlen(line), sizeof(mapping->path) - 1);
    memcpy(mapping->path, line, length);
    mapping->path[length] = '\0';
    return true;
}

static bool reserve(struct mapping_list *list, size_t count)
{
    if (count * sizeof(struct mapping) <= list->mapped_bytes)
        return true;
    size_t bytes = max_size(2 * list->mapped_bytes, FIRST_MAPPINGS * sizeof(struct mapping));
    struct mapping *larger = os_map(bytes);
    if (larger == NULL)
        return false;
    if (list->mappings != NULL) {
        memcpy(larger, list->mappings, list->count * sizeof(struct mapping));
        os_unmap(list->mappings, list->mapped_bytes);
    }
    list->mappings = larger;
    list->mapped_bytes = bytes;
    return true;
}

static bool read_lines(struct reader *reader, struct mapping_list *list)
{
    for (const char *line; (line = next_line(reader)) != NULL;) {
        if (!reserve(list, list->count + 1))
            return false;
        list->count += parse_line(line, &list->mappings[list->count]);
    }
    return true;
}

/* Readers of profiles take the first mapping for the main program: it is the one in which the
 * kernel started it. */
static void put_main_first(struct mapping_list *list)
{
    uintptr_t entry = getauxval(AT_ENTRY);
    size_t at = 0;
    while (at < list->count &&
           (entry < list->mappings[at].start || entry >= list->mappings[at].limit))
        at++;
    if (at == 0 || at >= list->count || !reserve(list, list->count + 1))
        return;
    struct mapping *spare = &list->mappings[list->count];
    *spare = list->mappings[at];
    memmove(list->mappings + 1, list->mappings, at * sizeof(struct mapping));
    list->mappings[0] = *spare;
}

bool mappings_read(struct mapping_list *list, const char *maps_path)
{
    memset(list, 0, sizeof(*list));
    struct reader *reader = os_map(sizeof(*reader));
    if (reader == NULL)
        return false;
    bool done = true;
    int cancel = os_put_cancel_off();
    reader->fd = open(maps_path, O_RDONLY | O_CLOEXEC);
    if (reader->fd >= 0) {
        done = read_lines(reader, list);
        close(reader->fd);
    }
    os_allow_cancel(cancel);
    os_unmap(reader, sizeof(*reader));
    put_main_first(list);
    return done;
}

void mappings_free(struct mapping_list *list)
{
    if (list->mappings != NULL)
        os_unmap(list->mappings, list->mapped_bytes);
    memset(list, 0, sizeof(*list));
}
