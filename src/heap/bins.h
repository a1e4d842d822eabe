/* Free spans by length: up to 63 pages a list for each, beyond four for each doubling.
 *
 * Lock: the caller's. */
#ifndef HPM_HEAP_BINS_H
#define HPM_HEAP_BINS_H

#include "base/base.h"

struct span;

enum {
    BINS_EXACT = 64, // bin n holds spans of n pages
    BINS_PER_DOUBLING = 4,
    BINS_COUNT = BINS_EXACT + 26 * BINS_PER_DOUBLING,
    BINS_WORDS = (BINS_COUNT + 63) / 64,
};

struct bins {
    struct list lists[BINS_COUNT];
    uint64_t used[BINS_WORDS]; // bit: the list is not empty
};

void bins_init(struct bins *bins);
void bins_put(struct bins *bins, struct span *span);
void bins_take(struct bins *bins, struct span *span);

/* One of at least `pages`, of the shortest some; it stays where it is. NULL: none. */
struct span *bins_find(const struct bins *bins, size_t pages);

/* One of the longest, or NULL. */
struct span *bins_longest(const struct bins *bins);

#endif
