/* Blocks above the small sizes: one span each, or from HUGE_MIN_BYTES a mapping of their own.
 *
 *   api  --block-->  large  --pages-->  pageheap
 *                      \----mappings-->  os
 *
 * A block's span carries a tag, a word that means something to the caller only (0 at first).
 * Lock:  none of its own: a block's holder owns its span.
 * Fails: NULL when the kernel gives no more. */
#ifndef HPM_HEAP_LARGE_H
#define HPM_HEAP_LARGE_H

#include "base/base.h"
#include "heap/span.h"

#define HUGE_MIN_BYTES (32 * MiB)

/* `alignment` is a power of two. *is_zeroed tells whether the block reads as zeroes; NULL: nobody
 * needs them. */
struct span *large_alloc(size_t bytes, size_t alignment, bool *is_zeroed);
void large_free(struct span *span);

/* The same, but a huge block is gone at once: whoever still uses it faults. */
void large_drop(struct span *span);

/* Free and closed, its pages given back, until it is buried: then it may be used again. Not for huge
 * blocks. False: it is as it was. */
bool large_retire(struct span *span);
void large_bury(struct span *span);

/* Changes a block's length, moving pages but not copying. False: it must be copied. The block may
 * lie elsewhere afterwards: see span->start. */
bool large_resize(struct span *span, size_t bytes);

/* Bytes a request will be charged. SIZE_MAX when it can never be met. */
size_t large_charged_bytes(size_t bytes);

HPM_INLINE size_t large_usable_bytes(const struct span *span)
{
    return span->kind == SPAN_HUGE ? span->mapped_bytes : span_bytes(span);
}

struct large_stats {
    size_t live_bytes, live_blocks; // all
    size_t huge_bytes, huge_blocks; // of those, in mappings of their own
};
void large_stats_get(struct large_stats *stats);

#endif
