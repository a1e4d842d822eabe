/* What the kernel was asked for is in /proc/self/smaps: "hg" for huge pages, "nh" for none. */
#include <inttypes.h>

#include "base/os.h"
#include "heap/large.h"
#include "heap/pageheap.h"
#include "heap/pagemap.h"
#include "tap.h"

enum { SLAB_PAGES = 2, LARGE_PAGES = REGION_PAGES };

__attribute__((constructor(1000))) static void prepare(void)
{
    if (!pagemap_init())
        abort();
    pageheap_set_release(UINT64_MAX);
}

/* Whether the mapping that holds the address has the flag. */
static bool has_flag(const void *address, const char *flag)
{
    FILE *smaps = fopen("/proc/self/smaps", "r");
    char line[512];
    uintptr_t from, to;
    bool is_inside = false, found = false;
    while (smaps != NULL && !found && fgets(line, sizeof(line), smaps) != NULL) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            is_inside = from <= (uintptr_t)address && (uintptr_t)address < to;
        found = is_inside && strncmp(line, "VmFlags:", 8) == 0 && strstr(line, flag) != NULL;
    }
    if (smaps != NULL)
        fclose(smaps);
    return found;
}

static bool is_huge(const void *address)
{
    return has_flag(address, " hg");
}

static bool is_small(const void *address)
{
    return has_flag(address, " nh");
}

static bool system_has_thp(void)
{
    char *region = os_map_aligned(REGION_BYTES, REGION_BYTES, NULL);
    os_advise_huge(region, REGION_BYTES, true);
    bool works = is_huge(region);
    os_unmap(region, REGION_BYTES);
    return works;
}

#define SKIP_WITHOUT_THP()                                                                         \
    do {                                                                                           \
        if (!system_has_thp())                                                                     \
            SKIP("this system has no transparent huge pages, or does not tell of them");           \
    } while (0)

/* The first span of a region that was mapped for spans of so many pages. */
static struct span *alloc_in_new_region(size_t pages)
{
    size_t mapped = pageheap_mapped_bytes();
    struct span *span;
    do
        span = pageheap_alloc(pages, SPAN_SLAB, NULL);
    while (pageheap_mapped_bytes() == mapped);
    return span;
}

static void grow_to(size_t bytes)
{
    while (pageheap_mapped_bytes() < bytes)
        alloc_in_new_region(SLAB_PAGES);
}

static char *region_of(const struct span *span)
{
    return (char *)round_down((uintptr_t)span->start, REGION_BYTES);
}

TEST(thp, a_small_heap_has_small_pages)
{
    SKIP_WITHOUT_THP();
    CHECK(is_small(alloc_in_new_region(SLAB_PAGES)->start));
    grow_to(30 * MiB);
    CHECK(is_small(alloc_in_new_region(SLAB_PAGES)->start));
}

TEST(thp, a_large_heap_has_huge_pages_for_small_spans_only)
{
    SKIP_WITHOUT_THP();
    grow_to(32 * MiB);
    CHECK(is_huge(alloc_in_new_region(SLAB_PAGES)->start));
    CHECK(is_small(alloc_in_new_region(LARGE_PAGES)->start));
}

/* All spans of one new huge region. */
static size_t fill_region(struct span *spans[])
{
    size_t count = 0;
    spans[count++] = alloc_in_new_region(SLAB_PAGES);
    char *region = region_of(spans[0]);
    while (count < REGION_PAGES / SLAB_PAGES) {
        struct span *span = pageheap_alloc(SLAB_PAGES, SPAN_SLAB, NULL);
        if (region_of(span) == region)
            spans[count++] = span;
    }
    return count;
}

TEST(thp, a_region_is_huge_again_when_all_of_it_has_gone_back)
{
    SKIP_WITHOUT_THP();
    grow_to(32 * MiB);
    pageheap_release(SIZE_MAX);
    struct span *spans[REGION_PAGES / SLAB_PAGES];
    size_t count = fill_region(spans);
    char *region = region_of(spans[0]);
    CHECK(is_huge(region));
    memset(region, 1, REGION_BYTES);
    pageheap_free(spans[0]);
    CHECK(is_huge(region));
    pageheap_release(SIZE_MAX);
    CHECK(is_small(region));
    pageheap_free(spans[--count]);
    pageheap_release(SIZE_MAX);
    CHECK(is_small(region));
    for (size_t i = 1; i < count; i++)
        pageheap_free(spans[i]);
    pageheap_release(SIZE_MAX);
    CHECK(is_huge(region));
    CHECK_EQUAL(region[0] + region[REGION_BYTES - 1], 0);
}

TEST(thp, whole_regions_go_back_as_such)
{
    pageheap_release(SIZE_MAX);
    struct span *span = alloc_in_new_region(4 * REGION_PAGES);
    memset(span->start, 1, span_bytes(span));
    CHECK(pageheap_resize(span, REGION_PAGES / 3));
    pageheap_release(REGION_BYTES / 2);
    size_t whole = 0;
    for (size_t at = REGION_BYTES; at < 4 * REGION_BYTES; at += REGION_BYTES) {
        size_t dirty = pagemap_count_dirty(span->start + at, REGION_PAGES);
        CHECK(dirty == 0 || dirty == REGION_PAGES);
        whole += dirty == 0;
    }
    CHECK(whole == 1);
    pageheap_free(span);
}

TEST(thp, on_and_off_hold_for_all_there_is_and_for_huge_blocks)
{
    SKIP_WITHOUT_THP();
    bool is_zeroed;
    struct span *before = alloc_in_new_region(LARGE_PAGES);
    pageheap_set_thp(THP_ON);
    CHECK(is_huge(before->start));
    struct span *block = large_alloc(HUGE_MIN_BYTES, 1, &is_zeroed);
    CHECK(is_huge(block->start) && is_huge(alloc_in_new_region(LARGE_PAGES)->start));
    large_free(block);
    pageheap_set_thp(THP_OFF);
    CHECK(is_small(before->start));
    block = large_alloc(HUGE_MIN_BYTES, 1, &is_zeroed);
    CHECK(is_small(block->start) && is_small(alloc_in_new_region(SLAB_PAGES)->start));
    large_free(block);
    pageheap_set_thp(THP_AUTO);
}
