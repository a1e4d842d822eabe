#include "heap/thp.h"

#include "base/os.h"
#include "heap/pagemap.h"

/* From here on what is touched too much is at most a sixteenth of the heap. */
#define AUTO_HEAP_BYTES     (16 * REGION_BYTES)
#define AUTO_SPAN_MAX_BYTES (REGION_BYTES / 8)

/* Advice that differs from region to region costs mappings, of which a process has some 65,000. */
enum { BROKEN_MAX = 8192 };

static struct {
    enum thp_mode mode;
    size_t broken_regions;
} thp;

static void set_pages(char *start, size_t bytes, enum region_pages pages)
{
    os_advise_huge(start, bytes, pages == REGION_HUGE);
    for (size_t offset = 0; offset < bytes; offset += REGION_BYTES)
        pagemap_set_region_pages(start + offset, pages);
}

static void advise_known(enum region_pages pages)
{
    char *start;
    for (struct region *region = pagemap_next_region(NULL, &start); region != NULL;
         region = pagemap_next_region(region, &start))
        set_pages(start, REGION_BYTES, pages);
}

void thp_set_mode(enum thp_mode mode)
{
    thp.mode = mode;
    if (mode != THP_AUTO)
        advise_known(mode == THP_ON ? REGION_HUGE : REGION_SMALL);
}

void thp_advise_new(char *start, size_t bytes, size_t span_bytes, size_t heap_bytes)
{
    bool is_worth = heap_bytes >= AUTO_HEAP_BYTES && span_bytes <= AUTO_SPAN_MAX_BYTES;
    bool is_huge = thp.mode == THP_ON || (thp.mode == THP_AUTO && is_worth);
    set_pages(start, bytes, is_huge ? REGION_HUGE : REGION_SMALL);
}

static void break_region(char *start)
{
    if (pagemap_region_pages(start) != REGION_HUGE || thp.broken_regions >= BROKEN_MAX)
        return;
    set_pages(start, REGION_BYTES, REGION_BROKEN);
    thp.broken_regions++;
}

static void mend_region(char *start)
{
    if (pagemap_region_pages(start) != REGION_BROKEN)
        return;
    set_pages(start, REGION_BYTES, REGION_HUGE);
    thp.broken_regions--;
}

void thp_advise_release(char *start, size_t bytes)
{
    char *limit = start + bytes;
    char *region = (char *)round_down((uintptr_t)start, REGION_BYTES);
    for (; region < limit; region += REGION_BYTES) {
        if (region >= start && region + REGION_BYTES <= limit)
            mend_region(region);
        else
            break_region(region);
    }
}

void thp_advise_block(char *start, size_t bytes)
{
    if (thp.mode != THP_AUTO)
        os_advise_huge(start, bytes, thp.mode == THP_ON);
}
