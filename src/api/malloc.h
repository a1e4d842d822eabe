/* The allocator as the other rooms of this floor use it. */
#ifndef HPM_API_MALLOC_H
#define HPM_API_MALLOC_H

#include "api/thread.h"
#include "heap/pagemap.h"

/* The slow exits of the fast path. NULL and ENOMEM when there is no memory. */
void *malloc_slow(size_t bytes);
void *malloc_large(size_t bytes);
void *malloc_large_aligned(size_t bytes, size_t alignment);

/* Sets errno; returns NULL. */
void *malloc_none(void);

/* The whole of malloc when a thread's list has an object. */
HPM_INLINE void *malloc_fast(size_t bytes)
{
    if (unlikely(bytes > SMALL_MAX_BYTES))
        return malloc_large(bytes);
    void *object = tcache_pop(tcache_list_of(tcache_self, sizeclass_code_of(bytes)));
    return likely(object != NULL) ? object : malloc_slow(bytes);
}

/* The slow exits of free: class 0, a full list, or a mark that says "freed before". */
void free_slow(void *address, unsigned code);
void free_marked(void *address, unsigned code);

/* The same for a free that tells what it believes the block to be (api/hardening). */
void free_slow_sized(void *address, unsigned code, size_t bytes, size_t alignment);

/* The whole of free when a thread's list has room. A pointer that is no plain small object has
 * class 0, whose list never has room. False: it is to go the slow way. */
HPM_INLINE bool free_try(void *address, unsigned code)
{
    struct tcache_list *list = tcache_list_of(tcache_self, code);
    struct object *object = address;
    if (unlikely(!tcache_take_room(list)))
        return false;
    if (unlikely(object->mark == OBJECT_FREED_MARK))
        free_marked(address, code);
    else
        tcache_push(list, object);
    return true;
}

HPM_INLINE void free_fast(void *address)
{
    unsigned code = pagemap_code_of(address);
    if (unlikely(!free_try(address, code)))
        free_slow(address, code);
}

HPM_INLINE void free_fast_sized(void *address, size_t bytes, size_t alignment)
{
    unsigned code = pagemap_code_of(address);
    if (unlikely(!free_try(address, code)))
        free_slow_sized(address, code, bytes, alignment);
}

void *malloc_aligned(size_t bytes, size_t alignment);

/* Dies for a pointer that is no live block, else what it can hold. */
size_t malloc_usable_bytes(const void *address);

#endif
