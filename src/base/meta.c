#include "base/meta.h"

#include "base/os.h"

enum { CHUNK_BYTES = 1 << 20 };

struct meta_free {
    struct meta_free *next;
};

/* A mapping: a chunk has its own at its head. They stay for ever. */
struct extent {
    struct extent *next;
    void *start;
    size_t bytes;
};

static struct {
    struct lock lock;
    char *at, *limit; // what is left of the newest chunk
    size_t allocated_bytes;
    struct extent *_Atomic extents;
    struct extent sparse[4];
    size_t sparse_count;
} meta = {.lock = LOCK_INITIAL(LOCK_META)};

static void add_extent_locked(struct extent *extent, void *start, size_t bytes)
{
    extent->next = atomic_load_explicit(&meta.extents, memory_order_relaxed);
    extent->start = start;
    extent->bytes = bytes;
    /* Release: pairs with the acquire in meta_resident_bytes. */
    atomic_store_explicit(&meta.extents, extent, memory_order_release);
}

static bool refill_locked(size_t bytes)
{
    size_t head_bytes = round_up(sizeof(struct extent), CACHE_LINE_BYTES);
    if (bytes > SIZE_MAX / 2)
        return false;
    bytes += head_bytes;
    size_t chunk_bytes = max_size(CHUNK_BYTES, bytes);
    char *chunk = os_map(chunk_bytes);
    if (chunk == NULL && chunk_bytes > bytes)
        chunk = os_map(chunk_bytes = bytes);
    if (chunk == NULL)
        return false;
    meta.at = chunk + head_bytes;
    meta.limit = chunk + round_up(chunk_bytes, os_page_bytes());
    add_extent_locked((struct extent *)(void *)chunk, chunk, (size_t)(meta.limit - chunk));
    return true;
}

static void *alloc_locked(size_t bytes)
{
    lock_assert_held(&meta.lock);
    size_t alignment = bytes >= CACHE_LINE_BYTES ? CACHE_LINE_BYTES : 16;
    bytes = round_up(bytes, 16);
    char *start = (char *)round_up((uintptr_t)meta.at, alignment);
    if (meta.at == NULL || start > meta.limit || (size_t)(meta.limit - start) < bytes) {
        if (!refill_locked(bytes))
            return NULL;
        start = meta.at;
    }
    meta.at = start + bytes;
    owner_store(&meta.allocated_bytes, meta.allocated_bytes + bytes);
    return start;
}

void *meta_alloc(size_t bytes)
{
    lock_acquire(&meta.lock);
    void *start = alloc_locked(bytes);
    lock_release(&meta.lock);
    return start;
}

void *meta_alloc_sparse(size_t bytes)
{
    void *start = os_reserve(bytes);
    lock_acquire(&meta.lock);
    if (start != NULL && meta.sparse_count < array_count(meta.sparse))
        add_extent_locked(&meta.sparse[meta.sparse_count++], start, bytes);
    lock_release(&meta.lock);
    return start;
}

void *meta_reserve(size_t bytes)
{
    return os_reserve_closed(bytes);
}

/* Without memory for its record the part is open all the same, and not counted as resident. */
static bool open_locked(void *start, size_t bytes)
{
    lock_assert_held(&meta.lock);
    if (!os_open(start, bytes))
        return false;
    struct extent *extent = alloc_locked(sizeof(*extent));
    if (extent != NULL)
        add_extent_locked(extent, start, bytes);
    return true;
}

bool meta_open(void *start, size_t bytes, _Atomic bool *is_open)
{
    /* Acquire: pairs with the release below, which follows the kernel's consent. */
    if (likely(atomic_load_explicit(is_open, memory_order_acquire)))
        return true;
    lock_acquire(&meta.lock);
    bool done = atomic_load_explicit(is_open, memory_order_relaxed) || open_locked(start, bytes);
    atomic_store_explicit(is_open, done, memory_order_release);
    lock_release(&meta.lock);
    return done;
}

void *meta_pool_alloc(struct meta_pool *pool)
{
    lock_acquire(&meta.lock);
    struct meta_free *object = pool->free;
    if (object != NULL)
        pool->free = object->next;
    else
        object = alloc_locked(pool->object_bytes);
    lock_release(&meta.lock);
    return object;
}

void meta_pool_free(struct meta_pool *pool, void *object)
{
    struct meta_free *node = object;
    lock_acquire(&meta.lock);
    owner_store(&node->next, pool->free); // records may be peeked at, see pagemap
    pool->free = node;
    lock_release(&meta.lock);
}

size_t meta_bytes(void)
{
    return peek_load(&meta.allocated_bytes);
}

bool meta_resident_bytes(size_t *resident)
{
    *resident = 0;
    /* Acquire: pairs with the release in add_extent_locked. */
    const struct extent *extent = atomic_load_explicit(&meta.extents, memory_order_acquire);
    for (; extent != NULL; extent = extent->next) {
        size_t bytes;
        if (!os_resident_bytes(extent->start, extent->bytes, &bytes))
            return false;
        *resident += bytes;
    }
    return true;
}

void meta_fork_prepare(void)
{
    lock_acquire(&meta.lock);
}

void meta_fork_parent(void)
{
    lock_release(&meta.lock);
}

void meta_fork_child(void)
{
    lock_reset(&meta.lock);
}
