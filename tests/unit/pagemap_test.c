#include "base/os.h"
#include "heap/pagemap.h"
#include "heap/span.h"
#include "tap.h"

__attribute__((constructor(1000))) static void prepare(void)
{
    if (!pagemap_init())
        abort();
}

static char *map_regions(size_t count)
{
    char *start = os_map_aligned(count * REGION_BYTES, REGION_BYTES, NULL);
    if (start == NULL || !pagemap_add_regions(start, count * REGION_BYTES))
        abort();
    return start;
}

static struct span span_at(char *start, uint32_t pages)
{
    return (struct span){.start = start, .pages = pages, .kind = SPAN_LARGE};
}

TEST(pagemap, an_address_that_is_not_ours_has_class_0_and_no_span)
{
    int local;
    static int global;
    const void *addresses[] = {NULL, &local, &global, (void *)1, (void *)UINTPTR_MAX,
                               (void *)(uintptr_t)0x7fffffffe000};
    for (size_t i = 0; i < array_count(addresses); i++) {
        CHECK_EQUAL(pagemap_code_of(addresses[i]), 0);
        CHECK(pagemap_find(addresses[i]) == NULL);
    }
}

TEST(pagemap, every_address_of_a_span_finds_it_and_its_neighbours_do_not)
{
    char *start = map_regions(2);
    struct span span = span_at(start + 5 * HEAP_PAGE_BYTES, REGION_PAGES);
    pagemap_set_span(&span);
    for (char *at = span.start; at < span_limit(&span); at += 4096)
        CHECK(pagemap_find(at) == &span);
    CHECK(pagemap_find(span_limit(&span) - 1) == &span);
    CHECK(pagemap_find(span.start - 1) == NULL);
    CHECK(pagemap_find(span_limit(&span)) == NULL);
}

TEST(pagemap, a_free_span_is_found_by_its_first_and_last_page)
{
    char *start = map_regions(1);
    struct span span = span_at(start, 10);
    pagemap_set_ends(&span);
    CHECK(pagemap_find(start) == &span);
    CHECK(pagemap_find(span_limit(&span) - 1) == &span);
    CHECK(pagemap_find(start + 5 * HEAP_PAGE_BYTES) == NULL);
}

TEST(pagemap, an_entry_left_behind_by_a_span_that_shrank_finds_nothing)
{
    char *start = map_regions(1);
    struct span span = span_at(start, 10);
    pagemap_set_span(&span);
    span.pages = 4;
    CHECK(pagemap_find(start + 3 * HEAP_PAGE_BYTES) == &span);
    CHECK(pagemap_find(start + 4 * HEAP_PAGE_BYTES) == NULL);
}

TEST(pagemap, codes_cover_the_pages_of_their_span_only)
{
    char *start = map_regions(1);
    struct span span = span_at(start + 3 * HEAP_PAGE_BYTES, 2);
    pagemap_set_code(&span, 20);
    CHECK_EQUAL(pagemap_code_of(span.start), 20);
    CHECK_EQUAL(pagemap_code_of(span_limit(&span) - 1), 20);
    CHECK_EQUAL(pagemap_code_of(span.start - 1), 0);
    CHECK_EQUAL(pagemap_code_of(span_limit(&span)), 0);
    pagemap_set_code(&span, 0);
    CHECK_EQUAL(pagemap_code_of(span.start), 0);
}

TEST(pagemap, two_regions_that_would_share_an_entry_are_not_both_taken)
{
    char *start = map_regions(1);
    size_t window = (pagemap_page_mask + 1) << HEAP_PAGE_SHIFT;
    char *same_entry = start + window;
    CHECK_EQUAL(pagemap_code_of(same_entry), pagemap_code_of(start));
    CHECK(!pagemap_add_regions(same_entry, REGION_BYTES));
    struct span span = span_at(start, 1);
    pagemap_set_span(&span);
    CHECK(pagemap_find(start) == &span);
}

TEST(pagemap, regions_refused_midway_leave_none_behind)
{
    char *start = map_regions(4);
    char *same_entries = start + ((pagemap_page_mask + 1) << HEAP_PAGE_SHIFT);
    pagemap_drop_regions(start, 3 * REGION_BYTES);
    CHECK(!pagemap_add_regions(same_entries, 4 * REGION_BYTES));
    CHECK(pagemap_add_regions(start, 3 * REGION_BYTES));
}

TEST(pagemap, a_dropped_region_finds_nothing_until_it_is_added_again)
{
    char *start = map_regions(1);
    struct span span = span_at(start, 1);
    pagemap_set_span(&span);
    pagemap_drop_regions(start, REGION_BYTES);
    CHECK(pagemap_find(start) == NULL);
    CHECK(pagemap_add_regions(start, REGION_BYTES));
    CHECK(pagemap_find(start) == NULL);
}
