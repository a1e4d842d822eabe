#include "prof/labels.h"

#include <errno.h>
#include <string.h>

#include "base/lock.h"
#include "base/meta.h"
#include "base/os.h"

enum { BUCKETS = 256 };

static HPM_TLS const struct label_set *current;

static struct {
    struct lock lock;

    /* Guarded by lock. */
    struct label_set *buckets[BUCKETS];
    size_t count;
} sets = {.lock = LOCK_INITIAL(LOCK_STACKTAB)};

const struct label_set *labels_current(void)
{
    return current;
}

size_t labels_set_count(void)
{
    return peek_load(&sets.count);
}

static bool is_good(const char *text)
{
    size_t length = 0;
    for (; text != NULL && text[length] != '\0'; length++) {
        if (length == LABEL_TEXT_MAX || (unsigned char)text[length] < ' ')
            return false;
    }
    return length != 0;
}

/* FNV-1a over the texts and their ends. */
static uint32_t hash_of(const struct label *labels, size_t count)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < 2 * count; i++) {
        const char *at = i % 2 == 0 ? labels[i / 2].key : labels[i / 2].value;
        do
            hash = (hash ^ (unsigned char)*at) * 16777619u;
        while (*at++ != '\0');
    }
    return hash;
}

static bool is_same(const struct label_set *set, const struct label *labels, size_t count)
{
    if (set->count != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(set->labels[i].key, labels[i].key) != 0 ||
            strcmp(set->labels[i].value, labels[i].value) != 0)
            return false;
    }
    return true;
}

static const char *copy_text(char **room, const char *text)
{
    char *copy = *room;
    size_t bytes = strlen(text) + 1;
    memcpy(copy, text, bytes);
    *room += bytes;
    return copy;
}

static struct label_set *make_set_locked(const struct label *labels, size_t count, uint32_t hash)
{
    size_t head = sizeof(struct label_set) + count * sizeof(struct label), bytes = head;
    for (size_t i = 0; i < count; i++)
        bytes += strlen(labels[i].key) + strlen(labels[i].value) + 2;
    struct label_set *set = meta_alloc(bytes);
    if (set == NULL)
        return NULL;
    char *room = (char *)set + head;
    for (size_t i = 0; i < count; i++)
        set->labels[i] = (struct label){copy_text(&room, labels[i].key),
                                        copy_text(&room, labels[i].value)};
    set->count = count;
    set->hash = hash;
    set->number = (uint32_t)sets.count;
    set->next = sets.buckets[hash % BUCKETS];
    sets.buckets[hash % BUCKETS] = set;
    owner_store(&sets.count, sets.count + 1);
    return set;
}

static int intern_locked(const struct label *labels, size_t count)
{
    uint32_t hash = hash_of(labels, count);
    struct label_set *set = sets.buckets[hash % BUCKETS];
    while (set != NULL && !is_same(set, labels, count))
        set = set->next;
    if (set == NULL && sets.count == LABEL_SETS_MAX)
        return -ENOSPC;
    if (set == NULL)
        set = make_set_locked(labels, count, hash);
    if (set == NULL)
        return -ENOMEM;
    current = set;
    return 0;
}

static int use(const struct label *labels, size_t count)
{
    if (count == 0) {
        current = NULL;
        return 0;
    }
    lock_acquire(&sets.lock);
    int error = intern_locked(labels, count);
    lock_release(&sets.lock);
    return error;
}

/* This thread's labels without that of the key. Returns how many. */
static size_t others(struct label labels[static LABELS_MAX + 1], const char *key)
{
    size_t count = 0;
    for (size_t i = 0; current != NULL && i < current->count; i++) {
        if (strcmp(current->labels[i].key, key) != 0)
            labels[count++] = current->labels[i];
    }
    return count;
}

int labels_set(const char *key, const char *value)
{
    struct label labels[LABELS_MAX + 1];
    if (!is_good(key) || !is_good(value))
        return -EINVAL;
    if (lock_held_count() != 0)
        return -EDEADLK;
    size_t count = others(labels, key), at = count;
    if (count == LABELS_MAX)
        return -ENOSPC;
    for (; at > 0 && strcmp(labels[at - 1].key, key) > 0; at--)
        labels[at] = labels[at - 1];
    labels[at] = (struct label){key, value};
    return use(labels, count + 1);
}

int labels_clear(const char *key)
{
    struct label labels[LABELS_MAX + 1];
    if (lock_held_count() != 0)
        return -EDEADLK;
    return use(labels, key != NULL ? others(labels, key) : 0);
}

void labels_name_thread(void)
{
    char name[OS_THREAD_NAME_BYTES];
    os_thread_name(name);
    for (size_t i = 0; current != NULL && i < current->count; i++) {
        if (strcmp(current->labels[i].key, "thread") == 0 &&
            strcmp(current->labels[i].value, name) == 0)
            return;
    }
    labels_set("thread", name);
}

void labels_fork_prepare(void)
{
    lock_acquire(&sets.lock);
}

void labels_fork_parent(void)
{
    lock_release(&sets.lock);
}

void labels_fork_child(void)
{
    lock_reset(&sets.lock);
}
