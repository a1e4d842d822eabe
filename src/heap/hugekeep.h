/* Huge blocks that were freed and are kept, mapped and resident, for the next one: taken again it
 * is cut or grown to its new length without a page fault for what is there.
 *
 * Lock: the page heap's. */
#ifndef HPM_HEAP_HUGEKEEP_H
#define HPM_HEAP_HUGEKEEP_H

#include "base/base.h"

struct span;

size_t hugekeep_bytes(void);
void hugekeep_put(struct span *span);

/* The shortest of at least so many bytes, else the longest. NULL: nothing is kept. */
struct span *hugekeep_take(size_t bytes);

/* What is to be unmapped: the end of a block, or all of it, and then its span is the caller's. */
struct hugekeep_cut {
    char *start;
    size_t bytes;
    struct span *span; // NULL: the rest stays
};

/* Cuts at least `bytes` off, or all that one block has. False: nothing is kept. */
bool hugekeep_cut(size_t bytes, struct hugekeep_cut *cut);

#endif
