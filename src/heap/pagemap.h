/* What every heap page is: its size class, for the fast path of free, and its span.
 *
 *   api  --address-->  pagemap  <--pages--  pageheap, central, large
 *
 * Classes are one flat array of bytes, indexed by the page number modulo the array's length, which
 * is 4 TiB of addresses, or four times what the machine's memory could fill: every address has an
 * entry, mapped or not, ours or not, so free needs one load and no test. Two of our regions never
 * share an entry (the page heap declines such a region); an address that is not ours can, and is then
 * told apart by the exact span when its list is checked. The array can be read all over from the
 * start; it is made writable 8 GiB of addresses at a time, where the heap comes to be.
 *
 * Entries are set before memory is handed out and cleared after it came back, so whoever holds a
 * pointer lawfully sees its entry.
 * Signal: find may be called from a handler. */
#ifndef HPM_HEAP_PAGEMAP_H
#define HPM_HEAP_PAGEMAP_H

#include "base/base.h"
#include "heap/sizeclass.h"

enum { REGION_SHIFT = 21, REGION_PAGES = 1 << (REGION_SHIFT - HEAP_PAGE_SHIFT) };
#define REGION_BYTES ((size_t)1 << REGION_SHIFT)

struct span;
struct region;

extern HPM_HIDDEN uint8_t *pagemap_codes;    // class code of each page, see sizeclass.h
extern HPM_HIDDEN size_t pagemap_page_mask;  // number of entries - 1

/* False: no memory for the tables. Before it, every address has class 0. */
bool pagemap_init(void);

HPM_INLINE unsigned pagemap_code_of(const void *address)
{
    return pagemap_codes[((uintptr_t)address >> HEAP_PAGE_SHIFT) & pagemap_page_mask];
}

/* Makes the 2 MiB-aligned range known. False: an entry is taken by another region, or no memory. */
bool pagemap_add_regions(void *start, size_t bytes);

/* Forgets a range (a huge block given back). */
void pagemap_drop_regions(void *start, size_t bytes);

/* The record of one region, asked for before its block moves away, and forgotten after: meanwhile
 * the kernel may have given the address to another thread, whose own record is then left alone. */
struct region;
struct region *pagemap_region_get(const void *start);
void pagemap_drop_left(struct region *region);

/* Writes the span of all of its pages, or of its first and last (free spans). */
void pagemap_set_span(struct span *span);
void pagemap_set_ends(struct span *span);
void pagemap_set_code(const struct span *span, unsigned code);

/* A bit for each page: set when a free page may be resident, clear when it reads as zeroes. While a
 * span is in use its bits stay what they were. All return how many bits were set before.
 * Lock: the page heap's. */
size_t pagemap_count_dirty(const char *start, size_t pages);
size_t pagemap_set_dirty(const char *start, size_t pages);
size_t pagemap_clear_dirty(const char *start, size_t pages);

/* In which pages a region is to be: room thp's note, small at first. Lock: the page heap's. */
enum region_pages { REGION_SMALL, REGION_HUGE, REGION_BROKEN };
enum region_pages pagemap_region_pages(const char *start);
void pagemap_set_region_pages(const char *start, enum region_pages pages);

/* The span that holds the address, or NULL. */
struct span *pagemap_find(const void *address);

/* The regions one after the other, for statistics: pass NULL first, then what it returned, until it
 * returns NULL. Threads may add and drop regions meanwhile. */
struct region *pagemap_next_region(struct region *region, char **start);

/* The same as pagemap_find for reading beside those who write: the kind is of a moment ago, SPAN_FREE
 * where no span in use holds the address. */
unsigned pagemap_peek_kind(const void *address, struct span **span);

#endif
