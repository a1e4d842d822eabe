#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hpprof.h"

enum { POOL_BLOCK_BYTES = 1 << 18, FIRST_CAPACITY = 16, INDEX_FIRST_SIZE = 64 };

struct pool_block {
    struct pool_block *next;
};

struct index_entry {
    uint64_t key;
    uint32_t value; // INDEX_NONE: free
};

static void *checked(void *memory)
{
    if (memory == NULL)
        exit(failed("there is not enough memory"));
    return memory;
}

void *memory_alloc(size_t count, size_t item_bytes)
{
    return checked(calloc(count != 0 ? count : 1, item_bytes));
}

void memory_free(void *memory)
{
    free(memory);
}

void *memory_grow(void *items, size_t count, size_t *capacity, size_t item_bytes)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity != 0 ? 2 * *capacity : FIRST_CAPACITY;
    return checked(reallocarray(items, *capacity, item_bytes));
}

static void add_block(struct pool *pool, size_t bytes)
{
    size_t size = max_size(bytes + sizeof(struct pool_block), POOL_BLOCK_BYTES);
    struct pool_block *block = checked(malloc(size));
    block->next = pool->blocks;
    pool->blocks = block;
    pool->next = (char *)(block + 1);
    pool->limit = (char *)block + size;
}

static size_t padding_of(const struct pool *pool, size_t alignment)
{
    return -(uintptr_t)pool->next & (alignment - 1);
}

void *pool_alloc(struct pool *pool, size_t bytes, size_t alignment)
{
    if (pool->next == NULL ||
        (size_t)(pool->limit - pool->next) < bytes + padding_of(pool, alignment))
        add_block(pool, bytes + alignment);
    void *memory = pool->next + padding_of(pool, alignment);
    pool->next = (char *)memory + bytes;
    return memory;
}

void pool_drain(struct pool *pool)
{
    while (pool->blocks != NULL) {
        struct pool_block *next = pool->blocks->next;
        free(pool->blocks);
        pool->blocks = next;
    }
    pool->next = pool->limit = NULL;
}

static struct index_entry *find_entry(const struct index *index, uint64_t key)
{
    size_t at = mix_bits(key) & (index->size - 1);
    while (index->entries[at].value != INDEX_NONE && index->entries[at].key != key)
        at = (at + 1) & (index->size - 1);
    return &index->entries[at];
}

static void resize(struct index *index)
{
    struct index old = *index;
    index->size = old.size != 0 ? 2 * old.size : INDEX_FIRST_SIZE;
    index->entries = checked(reallocarray(NULL, index->size, sizeof(*index->entries)));
    memset(index->entries, 0xff, index->size * sizeof(*index->entries));
    for (size_t i = 0; i < old.size; i++) {
        if (old.entries[i].value != INDEX_NONE)
            *find_entry(index, old.entries[i].key) = old.entries[i];
    }
    free(old.entries);
}

uint64_t index_hash(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

uint32_t index_add(struct index *index, uint64_t key, uint32_t value)
{
    if (index->count * 2 >= index->size)
        resize(index);
    struct index_entry *entry = find_entry(index, key);
    if (entry->value == INDEX_NONE) {
        *entry = (struct index_entry){.key = key, .value = value};
        index->count++;
    }
    return entry->value;
}

uint32_t index_find(const struct index *index, uint64_t key)
{
    return index->size != 0 ? find_entry(index, key)->value : INDEX_NONE;
}

void index_drain(struct index *index)
{
    free(index->entries);
    *index = (struct index){0};
}
