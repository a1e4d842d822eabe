/* Memory for the commands that read profiles: there is some, or the program ends with one line.
 *
 * What a profile is made of lives in a pool and goes away with it; arrays that grow are doubled.
 */
#ifndef HPPROF_MEMORY_H
#define HPPROF_MEMORY_H

#include "base/base.h"

void *memory_alloc(size_t count, size_t item_bytes); // zeroed
void memory_free(void *memory);

/* Room for one more item behind `count` of them. */
void *memory_grow(void *items, size_t count, size_t *capacity, size_t item_bytes);
#define memory_push(items, count, capacity)                                                        \
    ((items) = memory_grow((items), (count), &(capacity), sizeof(*(items))), &(items)[(count)++])

/* Many small things that are freed at once; not zeroed. */
struct pool {
    struct pool_block *blocks;
    char *next, *limit;
};

void *pool_alloc(struct pool *pool, size_t bytes, size_t alignment);
void pool_drain(struct pool *pool);

/* Numbers to indices, both free to choose but for INDEX_NONE. */
#define INDEX_NONE UINT32_MAX
struct index {
    struct index_entry *entries;
    size_t count, size; // size: 0 or a power of two
};

/* A key for a text: FNV-1a. */
uint64_t index_hash(const char *text);

/* The value of a key, which is `value` when there was none. */
uint32_t index_add(struct index *index, uint64_t key, uint32_t value);
uint32_t index_find(const struct index *index, uint64_t key);
void index_drain(struct index *index);

#endif
