/* Transparent huge pages: which regions the kernel is asked to fill 2 MiB at a time.
 *
 *   pageheap, large  --regions-->  thp  --advice-->  os
 *
 * One page fault instead of hundreds, one entry of the TLB instead of 512: but who touches a byte
 * holds 2 MiB.
 * THP_AUTO asks for them once the heap is so large that a region is a small part of it, and not for
 * what may be touched here and there only (large blocks). A region of which a part goes back to the
 * kernel is asked to stay in small pages: the kernel would fill the holes again (khugepaged). One
 * that goes back as a whole may be huge next time.
 *
 * Lock:  the page heap's. */
#ifndef HPM_HEAP_THP_H
#define HPM_HEAP_THP_H

#include "base/base.h"

enum thp_mode { THP_AUTO, THP_ON, THP_OFF };

/* What is mapped already is asked for anew where the mode says always or never. */
void thp_set_mode(enum thp_mode mode);

/* Regions were mapped for a span of `span_bytes`, beside `heap_bytes` of others. */
void thp_advise_new(char *start, size_t bytes, size_t span_bytes, size_t heap_bytes);

/* Pages are about to go back. */
void thp_advise_release(char *start, size_t bytes);

/* A mapping for one huge block. */
void thp_advise_block(char *start, size_t bytes);

#endif
