#define _GNU_SOURCE
#include "api/malloc.h"

#include <errno.h>
#include <string.h>

#include "api/guarding.h"
#include "api/hardening.h"
#include "api/lifecycle.h"
#include "api/probes.h"
#include "api/sampling.h"
#include "base/print.h"
#include "heap/hardened.h"
#include "heap/large.h"
#include "hpmalloc.h"

HPM_EXPORT HPM_API void *hpm_malloc(size_t bytes)
{
    return malloc_fast(bytes);
}

HPM_EXPORT HPM_API void hpm_free(void *address)
{
    free_fast(address);
}

HPM_EXPORT HPM_API void hpm_free_sized(void *address, size_t bytes)
{
    free_fast_sized(address, bytes, HARDENING_NO_ALIGNMENT);
}

void *malloc_none(void)
{
    errno = ENOMEM;
    return NULL;
}

/* One object without a cache: for a thread that has ended, or that there is no memory for. */
HPM_API static void *alloc_single(unsigned class)
{
    struct batch batch = central_take(tcache_self->shard, class, 1);
    if (batch.count == 0)
        return malloc_none();
    struct batch rest = {batch.head->next, batch.count - 1};
    central_put(class, rest);
    batch.head->mark = 0;
    return batch.head;
}

/* Fills a list that the thread's own frees cannot fill. */
HPM_API_SLOW static void *fill(size_t bytes, unsigned class, size_t alignment)
{
    struct thread *thread = lifecycle_thread();
    if (hardened_is_on())
        return hardening_alloc(thread, bytes, alignment);
    if (unlikely(thread == NULL))
        return alloc_single(class);
    if (thread->cache.lists[class].allowance <= 0 || sampling_is_void(&thread->cache)) {
        void *sample = sampling_renew(thread, class, bytes, alignment);
        if (sample != NULL)
            return sample;
    }
    void *object = tcache_refill(&thread->cache, class);
    return likely(object != NULL) ? object : malloc_none();
}

/* The list ran dry: that is when a sample may be due, and when the list is filled again. */
HPM_API static inline void *refill(size_t bytes, unsigned code, size_t alignment)
{
    struct tcache *cache = tcache_self;
    if (likely(!sampling_is_void(cache))) {
        void *object = tcache_swap(cache, tcache_list_of(cache, code), code);
        if (likely(object != NULL))
            return object;
    }
    return fill(bytes, sizeclass_from_code(code), alignment);
}

HPM_API_SLOW void *malloc_slow(size_t bytes)
{
    return refill(bytes, sizeclass_code_of(bytes), OBJECT_ALIGNMENT);
}

HPM_API_SLOW static void *refill_aligned(size_t bytes, unsigned code, size_t alignment)
{
    return refill(bytes, code, alignment);
}

HPM_API static sample_tag sample_large(struct thread *thread, const struct span *span, size_t bytes)
{
    return thread != NULL ? sampling_toss(thread, span->start, bytes, large_usable_bytes(span)) : 0;
}

HPM_API static struct span *alloc_large(size_t bytes, size_t alignment, bool *is_zeroed)
{
    struct thread *thread = lifecycle_thread();
    size_t canary_bytes = hardened_is_on() ? CANARY_MIN_BYTES : 0;
    if (bytes > SIZE_MAX / 2)
        return malloc_none();
    struct span *span = large_alloc(bytes + canary_bytes, alignment, is_zeroed);
    if (span == NULL)
        return malloc_none();
    if (canary_bytes != 0)
        hardened_seal_large(span, bytes);
    span->tag = sample_large(thread, span, bytes);
    return span;
}

HPM_API_SLOW void *malloc_large(size_t bytes)
{
    struct span *span = alloc_large(bytes, OBJECT_ALIGNMENT, NULL);
    return span != NULL ? span->start : NULL;
}

HPM_API_SLOW void *malloc_large_aligned(size_t bytes, size_t alignment)
{
    struct span *span = alloc_large(bytes, alignment, NULL);
    return span != NULL ? span->start : NULL;
}

HPM_API_SLOW static void *calloc_large(size_t bytes)
{
    bool is_zeroed;
    struct span *span = alloc_large(bytes, OBJECT_ALIGNMENT, &is_zeroed);
    if (span == NULL)
        return NULL;
    if (!is_zeroed)
        memset(span->start, 0, bytes);
    return span->start;
}

HPM_EXPORT HPM_API void *hpm_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (unlikely(__builtin_mul_overflow(count, size, &bytes)))
        return malloc_none();
    if (unlikely(bytes > SMALL_MAX_BYTES))
        return calloc_large(bytes);
    void *object = malloc_fast(bytes);
    return likely(object != NULL) ? memset(object, 0, bytes) : NULL;
}

static bool is_large(const struct span *span)
{
    return span->kind == SPAN_LARGE || span->kind == SPAN_HUGE;
}

/* What the program may use of it: all, but for a canary. */
static size_t block_bytes(const struct span *span)
{
    return large_usable_bytes(span) - span->canary_bytes;
}

static HPM_COLD void die_of_pointer(const void *address, const struct span *span)
{
    if (span == NULL)
        die("free of %p: not allocated by hpmalloc, or freed and gone", address);
    if (is_large(span))
        die("free of %p: it points %zu bytes into a block of %zu bytes", address,
            (size_t)((const char *)address - span->start), block_bytes(span));
    die("double free of %p: its memory is free already", address);
}

/* The span of a large block that begins at the address, or of a sampled, guarded or hardened
 * object; whether one begins there its own room has to see. Dies of any other. */
static struct span *get_special(const void *address)
{
    struct span *span = pagemap_find(address);
    if (likely(span != NULL)) {
        if (span->kind == SPAN_TAGGED_SLAB || span->kind == SPAN_GUARDED ||
            span->kind == SPAN_HARDENED)
            return span;
        if (is_large(span) && address == span->start)
            return span;
    }
    die_of_pointer(address, span);
    return NULL;
}

/* While it is still there: the next moment it may be another's. */
static void tell_of_free(const void *address, sample_tag tag)
{
    if (tag != 0)
        probe_free(address);
}

static void free_block(struct span *span)
{
    tell_of_free(span->start, span->tag);
    profile_forget(span->tag);
    if (hardened_is_on())
        hardened_free_large(span);
    else
        large_free(span);
}

static void free_special(void *address)
{
    if (address == NULL)
        return;
    struct span *span = get_special(address);
    if (span->kind == SPAN_TAGGED_SLAB) {
        sample_tag tag = central_tag_get(span, address);
        tell_of_free(address, tag);
        central_put_tagged(span, address);
        profile_forget(tag);
    } else if (span->kind == SPAN_GUARDED) {
        profile_forget(guarding_free(address));
    } else if (span->kind == SPAN_HARDENED) {
        hardening_free(span, address);
    } else {
        free_block(span);
    }
}

static bool is_freed(const void *address, unsigned class)
{
    struct span *span = pagemap_find(address);
    return span == NULL || span->kind != SPAN_SLAB || central_holds(span, address) ||
           tcache_holds(class, address);
}

static bool is_marked(const void *address)
{
    return ((const struct object *)address)->mark == OBJECT_FREED_MARK;
}

static void check_mark(const void *address, unsigned class)
{
    if (is_marked(address) && is_freed(address, class))
        slab_die_of_double_free(address, class);
}

/* The mark alone proves nothing, a program may write what it likes: the lists are searched. */
HPM_COLD void free_marked(void *address, unsigned code)
{
    check_mark(address, sizeclass_from_code(code));
    tcache_push(tcache_list_of(tcache_self, code), address);
}

HPM_API_SLOW void free_slow(void *address, unsigned code)
{
    unsigned class = sizeclass_from_code(code);
    struct tcache *before = tcache_self;
    if (class == 0 || before == &tcache_none)
        owner_store(&before->lists[class].room, 0);
    if (class == 0) {
        free_special(address);
        return;
    }
    check_mark(address, class);
    struct thread *thread = lifecycle_thread();
    if (unlikely(thread == NULL)) {
        struct object *object = address;
        object->next = NULL;
        object->mark = OBJECT_FREED_MARK;
        central_put(class, (struct batch){object, 1});
    } else if (unlikely(before == &tcache_none)) {
        free_fast(address);
    } else {
        tcache_push_slow(&thread->cache, class, address);
    }
}

HPM_API_SLOW void free_slow_sized(void *address, unsigned code, size_t bytes, size_t alignment)
{
    if (code == 0)
        hardening_check_sized(address, bytes, alignment);
    free_slow(address, code);
}

size_t malloc_usable_bytes(const void *address)
{
    unsigned code = pagemap_code_of(address);
    if (likely(code != 0))
        return sizeclass_bytes(sizeclass_from_code(code));
    struct span *span = get_special(address);
    if (is_large(span))
        return block_bytes(span);
    if (span->kind == SPAN_HARDENED)
        return hardened_get(span, address).bytes;
    if (span->kind == SPAN_GUARDED)
        return guarding_usable_bytes(address);
    if (unlikely(central_holds(span, address)))
        slab_die_of_double_free(address, span->class);
    return sizeclass_bytes(span->class);
}

HPM_EXPORT size_t hpm_usable_size(const void *address)
{
    return address != NULL ? malloc_usable_bytes(address) : 0;
}

HPM_EXPORT size_t hpm_nallocx(size_t bytes)
{
    if (hardened_is_on())
        return bytes <= PTRDIFF_MAX ? bytes : 0;
    if (bytes <= SMALL_MAX_BYTES)
        return sizeclass_bytes(sizeclass_from_code(sizeclass_code_of(bytes)));
    size_t charged = large_charged_bytes(bytes);
    return charged == SIZE_MAX ? 0 : charged;
}

/* A resized large block counts as a new allocation, so that a sample's size is the block's. */
HPM_API static void *resize_large(struct span *span, size_t bytes)
{
    const void *before = span->start;
    if (!large_resize(span, bytes))
        return NULL;
    struct thread *thread = lifecycle_thread();
    tell_of_free(before, span->tag);
    profile_forget(span->tag);
    span->tag = sample_large(thread, span, bytes);
    return span->start;
}

/* A block stays where it is while it fits and at least half of it is used, or it is tiny. */
static bool fits(size_t bytes, size_t usable)
{
    return bytes <= usable && (bytes >= usable / 2 || usable <= 128);
}

/* A large block stays as it is while it fills its last page. */
static bool fills(const struct span *span, size_t bytes)
{
    return span->kind == SPAN_LARGE && pages_for(bytes) == span->pages;
}

/* NULL: it has to be moved. */
HPM_API static void *resize_special(struct span *span, void *address, size_t usable, size_t bytes)
{
    if (is_large(span)) {
        if (fills(span, bytes))
            return address;
        return bytes > SMALL_MAX_BYTES ? resize_large(span, bytes) : NULL;
    }
    return span->kind == SPAN_TAGGED_SLAB && fits(bytes, usable) ? address : NULL;
}

HPM_API_SLOW static void *realloc_slow(void *address, size_t bytes)
{
    if (bytes == 0) {
        free_fast(address);
        return NULL;
    }
    size_t usable = malloc_usable_bytes(address);
    unsigned code = pagemap_code_of(address);
    if (code != 0) {
        central_check(address, sizeclass_from_code(code));
        check_mark(address, sizeclass_from_code(code));
    } else if (!hardened_is_on()) {
        void *resized = resize_special(get_special(address), address, usable, bytes);
        if (resized != NULL)
            return resized;
    }
    void *moved = hpm_malloc(bytes);
    if (moved == NULL)
        return NULL;
    memcpy(moved, address, min_size(usable, bytes));
    free_fast(address);
    return moved;
}

HPM_EXPORT HPM_API void *hpm_realloc(void *address, size_t bytes)
{
    if (unlikely(address == NULL))
        return malloc_fast(bytes);
    unsigned code = pagemap_code_of(address);
    if (likely(code != 0 && bytes != 0 && !is_marked(address)) &&
        fits(bytes, sizeclass_bytes(sizeclass_from_code(code))))
        return address;
    return realloc_slow(address, bytes);
}

HPM_API_SLOW void *malloc_aligned(size_t bytes, size_t alignment)
{
    if (alignment <= OBJECT_ALIGNMENT)
        return malloc_fast(bytes);
    unsigned code = sizeclass_code_aligned(bytes, alignment);
    if (code == 0)
        return malloc_large_aligned(bytes, alignment);
    void *object = tcache_pop(tcache_list_of(tcache_self, code));
    return likely(object != NULL) ? object : refill_aligned(bytes, code, alignment);
}

HPM_EXPORT HPM_API void *hpm_aligned_alloc(size_t alignment, size_t bytes)
{
    if (unlikely(!is_power_of_two(alignment))) {
        errno = EINVAL;
        return NULL;
    }
    return malloc_aligned(bytes, alignment);
}
