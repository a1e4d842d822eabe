/* An allocator that never frees, preloaded to see how little work an allocation can be: each thread
 * adds to a pointer. What it takes is the limit of instructions per allocation, not of time, for
 * memory that nobody used before costs page faults and cache misses.
 *
 * Past an eighth of the machine's memory there is no more: what frees much needs a small SCALE. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT            __attribute__((visibility("default")))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)

enum { ALIGNMENT = 16, CHUNK_BYTES = 1024 * 1024, BLOCK_MAX_SHIFT = 46 };

EXPORT void *malloc(size_t bytes);
EXPORT void free(void *object);
EXPORT void *calloc(size_t count, size_t bytes);
EXPORT void *realloc(void *object, size_t bytes);
EXPORT void *memalign(size_t alignment, size_t bytes);
EXPORT void *aligned_alloc(size_t alignment, size_t bytes);
EXPORT int posix_memalign(void **object, size_t alignment, size_t bytes);
EXPORT void *valloc(size_t bytes);
EXPORT size_t malloc_usable_size(void *object);

static _Thread_local uintptr_t next __attribute__((tls_model("initial-exec")));
static _Thread_local uintptr_t end __attribute__((tls_model("initial-exec")));
static _Atomic size_t mapped_bytes;

/* A block's size stands in the word before it; realloc needs it. */
static size_t *size_of(void *object)
{
    return (size_t *)object - 1;
}

static int chunk_map(size_t bytes)
{
    size_t most = (size_t)sysconf(_SC_PAGESIZE) * (size_t)sysconf(_SC_PHYS_PAGES) / 8;
    if (atomic_fetch_add_explicit(&mapped_bytes, bytes, memory_order_relaxed) + bytes > most) {
        atomic_fetch_sub_explicit(&mapped_bytes, bytes, memory_order_relaxed);
        return 0;
    }
    void *chunk = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (chunk == MAP_FAILED)
        return 0;
    next = (uintptr_t)chunk;
    end = next + bytes;
    return 1;
}

static __attribute__((noinline)) void *alloc_slow(size_t alignment, size_t bytes)
{
    size_t needed = bytes + alignment + sizeof(size_t);
    size_t rounded = (needed + CHUNK_BYTES - 1) & ~(size_t)(CHUNK_BYTES - 1);
    if (bytes >> BLOCK_MAX_SHIFT || alignment >> BLOCK_MAX_SHIFT || !chunk_map(rounded)) {
        errno = ENOMEM;
        return NULL;
    }
    return memalign(alignment, bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
    if (alignment < ALIGNMENT)
        alignment = ALIGNMENT;
    uintptr_t object = (next + sizeof(size_t) + alignment - 1) & -(uintptr_t)alignment;
    if (object > end || bytes > end - object)
        return alloc_slow(alignment, bytes);
    next = object + bytes;
    *size_of((void *)object) = bytes;
    return (void *)object;
}

void *malloc(size_t bytes)
{
    uintptr_t object = (next + sizeof(size_t) + ALIGNMENT - 1) & -(uintptr_t)ALIGNMENT;
    if (LIKELY(object < end && bytes <= end - object)) {
        next = object + bytes;
        *size_of((void *)object) = bytes;
        return (void *)object;
    }
    return alloc_slow(ALIGNMENT, bytes);
}

void free(void *object)
{
    (void)object;
}

/* Memory of a chunk is zero, and is handed out once. */
void *calloc(size_t count, size_t bytes)
{
    size_t all;
    if (__builtin_mul_overflow(count, bytes, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    return malloc(all);
}

void *realloc(void *object, size_t bytes)
{
    if (object && bytes <= *size_of(object))
        return object;
    void *grown = malloc(bytes);
    if (grown && object)
        memcpy(grown, object, *size_of(object));
    return grown;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return memalign(alignment, bytes);
}

int posix_memalign(void **object, size_t alignment, size_t bytes)
{
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0)
        return EINVAL;
    void *memory = memalign(alignment, bytes);
    if (!memory)
        return ENOMEM;
    *object = memory;
    return 0;
}

void *valloc(size_t bytes)
{
    return memalign((size_t)sysconf(_SC_PAGESIZE), bytes);
}

size_t malloc_usable_size(void *object)
{
    return object ? *size_of(object) : 0;
}
