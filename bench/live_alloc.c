/* An allocator that counts, preloaded under bench/workloads: how many bytes the program asked for
 * and has not freed, now and at most. No allocator can hold them in less, so that is the limit of
 * memory. The memory itself is libc's, with a header before each block. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { ALIGNMENT = 16, EARLY_BYTES = 16 * 1024 };

EXPORT void *malloc(size_t bytes);
EXPORT void free(void *object);
EXPORT void *calloc(size_t count, size_t bytes);
EXPORT void *realloc(void *object, size_t bytes);
EXPORT void *memalign(size_t alignment, size_t bytes);
EXPORT void *aligned_alloc(size_t alignment, size_t bytes);
EXPORT int posix_memalign(void **object, size_t alignment, size_t bytes);
EXPORT size_t malloc_usable_size(void *object);
EXPORT size_t bench_live_bytes(void);
EXPORT size_t bench_live_most_bytes(void);

struct header {
    void *block; // what libc gave; NULL: early memory, which nobody gives back
    size_t bytes;
};
_Static_assert(sizeof(struct header) == ALIGNMENT, "objects stay aligned");

static void *(*libc_malloc)(size_t);
static void (*libc_free)(void *);
static _Atomic size_t live_bytes, most_bytes;

/* dlsym itself may allocate while the first malloc looks for libc's. */
static _Alignas(ALIGNMENT) char early[EARLY_BYTES];
static size_t early_used;
static int looking;

static void *early_alloc(size_t bytes)
{
    size_t rounded = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (rounded < bytes || rounded > EARLY_BYTES - early_used)
        return NULL;
    early_used += rounded;
    return early + early_used - rounded;
}

static int find_libc(void)
{
    if (looking)
        return 0;
    looking = 1;
    *(void **)&libc_free = dlsym(RTLD_NEXT, "free");
    *(void **)&libc_malloc = dlsym(RTLD_NEXT, "malloc");
    looking = 0;
    return libc_malloc != NULL;
}

static struct header *header_of(void *object)
{
    return (struct header *)object - 1;
}

static void count(size_t bytes)
{
    size_t live = atomic_fetch_add(&live_bytes, bytes) + bytes;
    size_t most = atomic_load(&most_bytes);
    while (live > most && !atomic_compare_exchange_weak(&most_bytes, &most, live)) {
    }
}

void *memalign(size_t alignment, size_t bytes)
{
    size_t all, padding = alignment > ALIGNMENT ? alignment + ALIGNMENT : 2 * ALIGNMENT;
    if (__builtin_add_overflow(bytes, padding, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    int found = libc_malloc != NULL || find_libc();
    char *block = found ? libc_malloc(all) : early_alloc(all);
    if (!block)
        return NULL;
    uintptr_t start = (uintptr_t)block + sizeof(struct header);
    char *object = block + (((start + alignment - 1) & -(uintptr_t)alignment) - (uintptr_t)block);
    *header_of(object) = (struct header){found ? block : NULL, bytes};
    count(bytes);
    return object;
}

void *malloc(size_t bytes)
{
    return memalign(ALIGNMENT, bytes);
}

void free(void *object)
{
    if (!object)
        return;
    struct header *header = header_of(object);
    atomic_fetch_sub(&live_bytes, header->bytes);
    if (header->block)
        libc_free(header->block);
}

void *calloc(size_t members, size_t bytes)
{
    size_t all;
    if (__builtin_mul_overflow(members, bytes, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    void *object = malloc(all);
    return object ? memset(object, 0, all) : NULL;
}

void *realloc(void *object, size_t bytes)
{
    void *moved = malloc(bytes);
    if (moved && object) {
        size_t old_bytes = header_of(object)->bytes;
        memcpy(moved, object, bytes < old_bytes ? bytes : old_bytes);
        free(object);
    }
    return moved;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return memalign(alignment, bytes);
}

int posix_memalign(void **object, size_t alignment, size_t bytes)
{
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0)
        return EINVAL;
    void *memory = memalign(alignment < ALIGNMENT ? ALIGNMENT : alignment, bytes);
    if (!memory)
        return ENOMEM;
    *object = memory;
    return 0;
}

size_t malloc_usable_size(void *object)
{
    return object ? header_of(object)->bytes : 0;
}

size_t bench_live_bytes(void)
{
    return atomic_load(&live_bytes);
}

size_t bench_live_most_bytes(void)
{
    return atomic_load(&most_bytes);
}
