/* Runs of pages ("spans"), the heap's wholesale store.
 *
 *   central, large  --pages-->  pageheap  --regions-->  os
 *
 * Memory comes from the kernel in 2 MiB-aligned regions and stays mapped. A freed span joins its
 * free neighbours, found through pagemap, so two free spans never touch. Pages of free spans are
 * dirty (resident) or fresh (with the kernel: they read as zeroes), a bit each; spans with dirty
 * pages are used first. What is kept dirty is bounded by RETAIN_BYTES and an eighth of the memory
 * in use, at once, and decays: of what stayed unused through a period, half is given back. A program
 * that wants again at once what had to go back is left more: as much, but a quarter of what is in use,
 * and each period an eighth less of it.
 * Huge blocks that were freed count as kept, and go first.
 *
 * Lock:  one, rank LOCK_PAGEHEAP; not held while the kernel takes pages back.
 * Fails: alloc returns NULL when the kernel gives no more, or past the limit. */
#ifndef HPM_HEAP_PAGEHEAP_H
#define HPM_HEAP_PAGEHEAP_H

#include "base/base.h"
#include "heap/span.h"
#include "heap/thp.h"

/* `kind` is what the span is to be. *is_fresh (may be NULL) tells whether it reads as zeroes. */
struct span *pageheap_alloc(size_t pages, enum span_kind kind, bool *is_fresh);

/* The first page's address is a multiple of `alignment`, a power of two above a page. */
struct span *pageheap_alloc_aligned(size_t pages, size_t alignment, enum span_kind kind,
                                    bool *is_fresh);

/* The caller has cleared the span's size class code. Of a span freed in part, only the first
 * `written` pages have been written to since it was allocated. */
void pageheap_free(struct span *span);
void pageheap_free_part(struct span *span, size_t written);

/* Changes a large span's length where it lies. Grows into free space behind it only. */
bool pageheap_resize(struct span *span, size_t pages);

/* Gives up to `bytes` of free dirty memory back now; returns bytes given. */
size_t pageheap_release(size_t bytes);

/* How kept memory goes back: decay time in nanoseconds, 0 at once, UINT64_MAX never. */
void pageheap_set_release(uint64_t decay_ns);

/* Where the kernel is asked for huge pages. */
void pageheap_set_thp(enum thp_mode mode);

/* The most that may be in use, in spans and claimed; 0: no bound. To stay below it with what is kept
 * for later too, free dirty memory goes back first. Past it alloc and claim refuse. */
void pageheap_set_limit(size_t bytes);

/* Memory in use that the caller maps itself (huge blocks): counted, and refused past the limit. */
bool pageheap_claim(size_t bytes);
void pageheap_disclaim(size_t bytes);

/* A huge block that is free and no longer claimed: kept for the next one or given back, all or a
 * part. */
void pageheap_free_huge(struct span *span);

/* A kept one, of any length, for a block of so many bytes. NULL: none. */
struct span *pageheap_take_huge(size_t bytes);

/* What is in use by that count. */
size_t pageheap_used_bytes(void);

/* A span record for memory that is not the page heap's (huge blocks). */
struct span *pageheap_span_alloc(void);
void pageheap_span_free(struct span *span);

struct pageheap_stats {
    size_t mapped_bytes, dirty_bytes, fresh_bytes;
    uint64_t release_calls;
};
void pageheap_stats_get(struct pageheap_stats *stats);
size_t pageheap_mapped_bytes(void); // as of a moment ago, without the lock

void pageheap_fork_prepare(void);
void pageheap_fork_parent(void);
void pageheap_fork_child(void);

#endif
