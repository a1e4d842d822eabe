/* The library's own memory: apart from the user's, never handed out to anyone, counted.
 *
 *   every room  --bytes-->  meta  --chunks-->  os
 *
 * Lock:  one, rank LOCK_META (the highest: any holder may come here).
 * Fails: calls return NULL when the kernel gives no more. */
#ifndef HPM_BASE_META_H
#define HPM_BASE_META_H

#include "base/base.h"
#include "base/lock.h"

/* Zeroed memory that stays for the life of the process, aligned to 16, or to a cache line when it
 * is one or longer. */
void *meta_alloc(size_t bytes);

/* Zeroed address space for a sparse table of which only the written part counts. */
void *meta_alloc_sparse(size_t bytes);

/* The same, to be read only until it is opened, by whole system pages. Each part has a word of its own,
 * false at first, that says whether it is. Fails: open is false when the kernel refuses. */
void *meta_reserve(size_t bytes);
bool meta_open(void *start, size_t bytes, _Atomic bool *is_open);

/* Records of one size, taken and given back. Memory once in a pool stays in it, so a stale pointer
 * always points at a record of the same type. */
struct meta_pool {
    size_t object_bytes;
    struct meta_free *free;
};

#define META_POOL_INITIAL(type)                                                                    \
    {                                                                                              \
        .object_bytes = sizeof(type), .free = NULL                                                 \
    }

void *meta_pool_alloc(struct meta_pool *pool); // contents are undefined
void meta_pool_free(struct meta_pool *pool, void *object);

/* Bytes handed out by meta_alloc and the pools (sparse tables not counted). */
size_t meta_bytes(void);

/* Bytes of all of it that are in memory, tables included. False: the kernel does not tell. */
bool meta_resident_bytes(size_t *resident);

/* Around fork: holds the room still. */
void meta_fork_prepare(void);
void meta_fork_parent(void);
void meta_fork_child(void);

#endif
