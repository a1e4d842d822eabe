/* The heap of HPMALLOC_HARDENED: every object in a slab that has nothing of ours in it, with a
 * canary behind it, at a place drawn by lot; freed ones are filled with junk and wait in a
 * quarantine.
 *
 *   api  --object-->  hardened  --slabs-->  pageheap
 *                         \-----blocks-->  large
 *
 * What is known of an object (its bytes, its alignment, whether it lives) lies beside the slab's
 * record, in our own memory, so no overflow reaches it. Its pages have class 0 in the page map:
 * free comes here on the slow way, and the fast path knows nothing of all this. Junk and canaries
 * are looked at when an object is freed, when it leaves the quarantine, when its place is taken
 * again, and as the program ends.
 *
 * A large block has a canary too; freed, its pages are given back and closed for a while.
 *
 * Lock:  one, rank LOCK_HARDENED: this heap is not made to be fast.
 * Fails: alloc returns NULL when the kernel gives no more. */
#ifndef HPM_HEAP_HARDENED_H
#define HPM_HEAP_HARDENED_H

#include "base/base.h"
#include "heap/span.h"

enum { CANARY_MIN_BYTES = 8 };

/* What is beside a slab for each of its objects. */
struct hardened_record {
    uint32_t tag;   // the caller's
    uint16_t bytes; // asked for, now or last
    uint8_t state;
    uint8_t alignment_shift;
};

extern HPM_HIDDEN bool hardened_on;

/* From now on; for good. */
void hardened_start(void);

HPM_INLINE bool hardened_is_on(void)
{
    return unlikely(hardened_on);
}

/* The class of such an object, canary included; SIZECLASS_NONE: it is a large block. */
unsigned hardened_class_of(size_t bytes, size_t alignment);

/* `class` is by hardened_class_of. */
void *hardened_alloc(size_t bytes, size_t alignment, unsigned class, uint32_t tag);

/* An object that begins at the address in a hardened slab; dies of any other. */
struct hardened_record hardened_get(struct span *slab, const void *address);

/* Dies of what is no live object, or was written past its end. */
void hardened_free(struct span *slab, void *address);

/* A block of large_alloc, which has room for a canary of CANARY_MIN_BYTES behind its `bytes`. */
void hardened_seal_large(struct span *span, size_t bytes);
void hardened_free_large(struct span *span);

/* Dies of a canary or of junk that was written to, of all objects there are. */
void hardened_check_all(void);

struct hardened_stats {
    size_t slab_count, live_objects, quarantined_objects;
};
void hardened_stats_get(unsigned class, struct hardened_stats *stats);

void hardened_fork_prepare(void);
void hardened_fork_parent(void);
void hardened_fork_child(void);

#endif
