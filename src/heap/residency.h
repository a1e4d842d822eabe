/* Which of the heap's memory is in memory: what the kernel says of each page, sorted by what the
 * page is used for. Nothing is counted on the way, so nobody pays for it until it is asked for:
 * about 3 ms a GiB.
 *
 *   residency  --pages-->  pagemap, os
 *
 * Counters could not tell it: a large block, or a slab's objects above a page, may be handed out
 * and never written; pages may be swapped out, shared with a parent, or be parts of a huge page.
 *
 * Takes no lock: a span that changes hands meanwhile is counted as one or the other.
 * Signal: async-signal-safe. */
#ifndef HPM_HEAP_RESIDENCY_H
#define HPM_HEAP_RESIDENCY_H

#include "base/base.h"

struct residency {
    size_t slab_bytes, large_bytes, free_bytes;
};

/* False: the kernel does not tell. */
bool residency_get(struct residency *residency);

#endif
