#include "base/os.h"
#include "heap/pageheap.h"
#include "heap/pagemap.h"
#include "tap.h"

enum { PERIODS_PER_DECAY = 100 };

__attribute__((constructor(1000))) static void prepare(void)
{
    if (!pagemap_init())
        abort();
    pageheap_set_release(UINT64_MAX);
}

static struct pageheap_stats stats_now(void)
{
    struct pageheap_stats stats;
    pageheap_stats_get(&stats);
    return stats;
}

/* Takes all free memory, so that what is freed next has no free neighbours. */
static void soak(void)
{
    while (stats_now().dirty_bytes + stats_now().fresh_bytes > 0)
        pageheap_alloc(1, SPAN_LARGE, NULL);
}

/* Three neighbours at the front of a region whose rest is the only free memory. */
struct row {
    struct span *first, *second, *third, *rest;
};

static struct row alloc_row(size_t pages)
{
    soak();
    struct span *region = pageheap_alloc(REGION_PAGES, SPAN_LARGE, NULL);
    pageheap_free(region);
    struct row row;
    row.first = pageheap_alloc(pages, SPAN_LARGE, NULL);
    row.second = pageheap_alloc(pages, SPAN_LARGE, NULL);
    row.third = pageheap_alloc(pages, SPAN_LARGE, NULL);
    row.rest = pagemap_find(span_limit(row.third));
    return row;
}

TEST(pageheap, a_span_is_what_was_asked_for_and_known_by_its_pages)
{
    struct span *span = pageheap_alloc(7, SPAN_SLAB, NULL);
    CHECK_EQUAL(span->pages, 7);
    CHECK_EQUAL(span->kind, SPAN_SLAB);
    CHECK_EQUAL((uintptr_t)span->start % HEAP_PAGE_BYTES, 0);
    CHECK(pagemap_find(span->start) == span);
    CHECK(pagemap_find(span_limit(span) - 1) == span);
    memset(span->start, 1, span_bytes(span));
    pageheap_free(span);
}

TEST(pageheap, pages_not_written_to_stay_what_they_were)
{
    struct row row = alloc_row(8);
    pageheap_free(row.second);
    pageheap_release(SIZE_MAX / 2);
    bool is_fresh;
    struct span *span = pageheap_alloc(8, SPAN_SLAB, &is_fresh);
    CHECK(is_fresh);
    size_t before = stats_now().dirty_bytes;
    pageheap_free_part(span, 3);
    CHECK_EQUAL(stats_now().dirty_bytes, before + bytes_of_pages(3));
    pageheap_release(SIZE_MAX / 2);
    span = pageheap_alloc(8, SPAN_SLAB, &is_fresh);
    CHECK(is_fresh);
    memset(span->start, 1, span_bytes(span));
    pageheap_free(span);
    span = pageheap_alloc(8, SPAN_SLAB, &is_fresh);
    CHECK(!is_fresh);
    before = stats_now().dirty_bytes;
    pageheap_free_part(span, 0);
    CHECK_EQUAL(stats_now().dirty_bytes, before + bytes_of_pages(8));
    pageheap_free(row.first);
    pageheap_free(row.third);
}

TEST(pageheap, two_live_spans_never_overlap)
{
    enum { SPANS = 400 };
    static struct span *spans[SPANS];
    for (size_t i = 0; i < SPANS; i++) {
        spans[i] = pageheap_alloc(1 + i * 7 % 40, SPAN_LARGE, NULL);
        memset(spans[i]->start, (int)(i & 0xff), span_bytes(spans[i]));
    }
    size_t wrong = 0;
    for (size_t i = 0; i < SPANS; i++) {
        for (size_t at = 0; at < span_bytes(spans[i]); at += 512)
            wrong += (unsigned char)spans[i]->start[at] != (i & 0xff);
    }
    CHECK_EQUAL(wrong, 0);
    for (size_t i = 0; i < SPANS; i++)
        pageheap_free(spans[i]);
}

TEST(pageheap, neighbours_taken_one_after_another_lie_side_by_side)
{
    struct row row = alloc_row(4);
    CHECK(span_limit(row.first) == row.second->start);
    CHECK(span_limit(row.second) == row.third->start);
    pageheap_free(row.first);
    pageheap_free(row.second);
    pageheap_free(row.third);
}

TEST(pageheap, freed_span_joins_both_neighbours)
{
    struct row row = alloc_row(4);
    char *start = row.first->start;
    pageheap_free(row.first);
    pageheap_free(row.third);
    CHECK(pagemap_find(start + 8 * HEAP_PAGE_BYTES) != pagemap_find(start));
    pageheap_free(row.second);
    struct span *joined = pagemap_find(start);
    CHECK_EQUAL(joined->kind, SPAN_FREE);
    CHECK(joined->start == start);
    CHECK_EQUAL(joined->pages, REGION_PAGES);
    CHECK(pagemap_find(start + REGION_BYTES - 1) == joined);
}

TEST(pageheap, a_span_joined_of_dirty_and_fresh_pages_knows_how_many_are_dirty)
{
    struct row row = alloc_row(4);
    char *start = row.first->start, *border = span_limit(row.third);
    pageheap_release(SIZE_MAX / 2);
    CHECK_EQUAL(pagemap_find(border)->dirty_pages, 0);
    pageheap_free(row.third);
    struct span *joined = pagemap_find(start + 8 * HEAP_PAGE_BYTES);
    CHECK(joined != NULL && joined->pages == REGION_PAGES - 8 && joined->dirty_pages == 4);
    pageheap_free(row.first);
    pageheap_free(row.second);
    CHECK_EQUAL(pagemap_find(start)->dirty_pages, 12);
    CHECK_EQUAL(stats_now().dirty_bytes, bytes_of_pages(12));
    CHECK_EQUAL(stats_now().fresh_bytes, bytes_of_pages(REGION_PAGES - 12));
}

TEST(pageheap, the_end_of_a_longer_span_is_kept_for_others)
{
    struct pageheap_stats before = stats_now();
    struct span *long_one = pageheap_alloc(100, SPAN_LARGE, NULL);
    pageheap_free(long_one);
    struct span *a = pageheap_alloc(60, SPAN_LARGE, NULL);
    struct span *b = pageheap_alloc(40, SPAN_LARGE, NULL);
    CHECK(stats_now().mapped_bytes - before.mapped_bytes <= REGION_BYTES);
    pageheap_free(a);
    pageheap_free(b);
}

TEST(pageheap, an_aligned_span_begins_at_a_multiple_of_its_alignment)
{
    for (size_t alignment = HEAP_PAGE_BYTES; alignment <= 16 * MiB; alignment *= 2) {
        struct span *span = pageheap_alloc_aligned(3, alignment, SPAN_LARGE, NULL);
        CHECK_EQUAL((uintptr_t)span->start % alignment, 0);
        CHECK_EQUAL(span->pages, 3);
        memset(span->start, 1, span_bytes(span));
        pageheap_free(span);
    }
}

TEST(pageheap, what_lies_around_an_aligned_span_is_not_lost)
{
    struct pageheap_stats before = stats_now();
    struct span *span = pageheap_alloc_aligned(3, 1 * MiB, SPAN_LARGE, NULL);
    pageheap_free(span);
    struct pageheap_stats after = stats_now();
    CHECK_EQUAL(after.mapped_bytes - before.mapped_bytes,
                after.dirty_bytes + after.fresh_bytes - before.dirty_bytes - before.fresh_bytes);
}

TEST(pageheap, a_span_shrinks_where_it_lies_and_its_end_is_free)
{
    struct span *span = pageheap_alloc(50, SPAN_LARGE, NULL);
    char *start = span->start;
    size_t dirty = stats_now().dirty_bytes;
    CHECK(pageheap_resize(span, 20));
    CHECK(span->start == start && span->pages == 20);
    CHECK(pagemap_find(start + 20 * HEAP_PAGE_BYTES) != span);
    CHECK_EQUAL(stats_now().dirty_bytes - dirty, bytes_of_pages(30));
    pageheap_free(span);
}

TEST(pageheap, a_span_grows_into_free_space_behind_it_and_into_nothing_else)
{
    struct row row = alloc_row(4);
    CHECK(!pageheap_resize(row.first, 8));
    CHECK_EQUAL(row.first->pages, 4);
    pageheap_free(row.second);
    CHECK(pageheap_resize(row.first, 6));
    CHECK(pagemap_find(span_limit(row.first) - 1) == row.first);
    CHECK(!pageheap_resize(row.first, 9));
    CHECK(pageheap_resize(row.first, 8));
    CHECK(span_limit(row.first) == row.third->start);
    pageheap_free(row.first);
    pageheap_free(row.third);
}

TEST(pageheap, released_memory_stays_mapped_and_reads_as_zeroes)
{
    struct span *span = pageheap_alloc(300, SPAN_LARGE, NULL);
    char *start = span->start;
    memset(start, 0x5a, span_bytes(span));
    pageheap_free(span);
    size_t given = pageheap_release(SIZE_MAX / 2);
    CHECK(given >= bytes_of_pages(300));
    CHECK_EQUAL(stats_now().dirty_bytes, 0);
    size_t nonzero = 0;
    for (size_t at = 0; at < bytes_of_pages(300); at++)
        nonzero += start[at] != 0;
    CHECK_EQUAL(nonzero, 0);
}

static bool holds_only(const struct span *span, char value)
{
    const char *bytes = span->start;
    for (size_t i = 0; i < span_bytes(span); i++)
        if (bytes[i] != value)
            return false;
    return true;
}

/* Kernels of arm64 may have pages of 64 KiB, of which they take back whole ones only. */
TEST(pageheap, where_the_systems_pages_are_larger_what_goes_back_spares_its_neighbours)
{
    static const size_t lengths[] = {8, 3, 13, 20, 5};
    struct span *spans[array_count(lengths)];
    soak();
    pageheap_free(pageheap_alloc(REGION_PAGES, SPAN_LARGE, NULL));
    os_act_page_bytes(64 * KiB); // now, for the tables began where the real ones end
    for (size_t i = 0; i < array_count(lengths); i++) {
        spans[i] = pageheap_alloc(lengths[i], SPAN_LARGE, NULL);
        memset(spans[i]->start, (int)i + 1, span_bytes(spans[i]));
    }
    CHECK(!os_close(spans[1]->start, span_bytes(spans[1])));
    char *second = spans[1]->start, *fourth = spans[3]->start;
    pageheap_free(spans[1]);
    pageheap_free(spans[3]);
    pageheap_release(SIZE_MAX / 2);
    for (size_t i = 0; i < array_count(lengths); i += 2)
        CHECK(holds_only(spans[i], (char)(i + 1)));
    for (size_t i = 0; i < lengths[1] * HEAP_PAGE_BYTES; i++)
        CHECK(second[i] == 0);
    for (size_t i = 0; i < lengths[3] * HEAP_PAGE_BYTES; i++)
        CHECK(fourth[i] == 0);
    os_act_page_bytes(0);
}

TEST(pageheap, release_gives_what_it_was_asked_for_and_at_most_a_region_more)
{
    struct span *span = pageheap_alloc(20 * REGION_PAGES, SPAN_LARGE, NULL);
    pageheap_free(span);
    size_t dirty = stats_now().dirty_bytes;
    size_t given = pageheap_release(10 * REGION_BYTES);
    CHECK(given >= 10 * REGION_BYTES && given <= 11 * REGION_BYTES);
    CHECK_EQUAL(dirty - stats_now().dirty_bytes, given);
    CHECK_EQUAL(pageheap_release(0), 0);
}

TEST(pageheap, a_span_that_is_called_fresh_reads_as_zeroes)
{
    size_t fresh_count = 0, dirty_count = 0;
    for (int i = 0; i < 60; i++) {
        bool is_fresh = false;
        struct span *span = pageheap_alloc(1 + (size_t)i % 30, SPAN_LARGE, &is_fresh);
        size_t nonzero = 0;
        for (size_t at = 0; is_fresh && at < span_bytes(span); at++)
            nonzero += span->start[at] != 0;
        CHECK_EQUAL(nonzero, 0);
        fresh_count += is_fresh;
        dirty_count += !is_fresh;
        memset(span->start, 0xee, span_bytes(span));
        pageheap_free(span);
        if (i % 10 == 9)
            pageheap_release(SIZE_MAX / 2);
    }
    CHECK(fresh_count > 0 && dirty_count > 0);
}

TEST(pageheap, dirty_spans_are_used_before_fresh_ones)
{
    soak();
    struct span *a = pageheap_alloc(REGION_PAGES, SPAN_LARGE, NULL);
    struct span *between = pageheap_alloc(REGION_PAGES, SPAN_LARGE, NULL);
    struct span *b = pageheap_alloc(REGION_PAGES, SPAN_LARGE, NULL);
    char *b_start = b->start;
    pageheap_free(a);
    pageheap_release(SIZE_MAX / 2);
    pageheap_free(b);
    bool is_fresh = true;
    struct span *span = pageheap_alloc(REGION_PAGES, SPAN_LARGE, &is_fresh);
    CHECK(!is_fresh && span->start == b_start);
    struct span *other = pageheap_alloc(REGION_PAGES, SPAN_LARGE, &is_fresh);
    CHECK(is_fresh);
    pageheap_free(span);
    pageheap_free(other);
    pageheap_free(between);
}

static size_t dirty_after_freeing(size_t bytes)
{
    struct span *span = pageheap_alloc(pages_for(bytes), SPAN_LARGE, NULL);
    pageheap_free(span);
    return stats_now().dirty_bytes;
}

TEST(pageheap, release_now_keeps_nothing_and_release_never_keeps_all)
{
    pageheap_release(SIZE_MAX / 2);
    pageheap_set_release(0);
    CHECK_EQUAL(dirty_after_freeing(8 * MiB), 0);
    pageheap_set_release(UINT64_MAX);
    CHECK(dirty_after_freeing(200 * MiB) >= 200 * MiB);
    pageheap_release(SIZE_MAX / 2);
}

static void wait_ns(uint64_t ns)
{
    for (uint64_t end = os_clock_ns() + ns; os_clock_ns() < end;)
        os_yield();
}

TEST(pageheap, of_what_stays_unused_for_a_period_half_goes_back)
{
    uint64_t period_ns = 30000000;
    pageheap_release(SIZE_MAX / 2);
    pageheap_set_release(period_ns * PERIODS_PER_DECAY);
    size_t dirty = dirty_after_freeing(32 * MiB);
    struct span *other = pageheap_alloc(1, SPAN_LARGE, NULL);
    wait_ns(2 * period_ns);
    pageheap_free(other);
    wait_ns(2 * period_ns);
    other = pageheap_alloc(1, SPAN_LARGE, NULL);
    pageheap_free(other);
    size_t kept = stats_now().dirty_bytes;
    CHECK(kept <= dirty / 2 + 64 * KiB);
    CHECK(kept >= dirty / 8);
    pageheap_set_release(UINT64_MAX);
}

static size_t live_bytes(void)
{
    struct pageheap_stats stats = stats_now();
    return stats.mapped_bytes - stats.dirty_bytes - stats.fresh_bytes;
}

/* Many short periods go by, and with them what was wanted again before. */
static void forget_the_past(void)
{
    pageheap_set_release(1000 * PERIODS_PER_DECAY);
    for (int i = 0; i < 60; i++) {
        wait_ns(5000000);
        pageheap_free(pageheap_alloc(1, SPAN_LARGE, NULL));
    }
    pageheap_release(SIZE_MAX / 2);
    pageheap_set_release(3600000000000u);
}

/* And what had to go back and is wanted right after lets more be kept, up to a quarter of what
 * lives; where nothing lives, nothing. */
TEST(pageheap, kept_memory_is_bounded_by_64_mib_and_an_eighth_of_what_lives)
{
    forget_the_past();
    struct span *live = pageheap_alloc(pages_for(256 * MiB), SPAN_LARGE, NULL);
    size_t kept = dirty_after_freeing(400 * MiB), bound = 64 * MiB + live_bytes() / 8;
    CHECK(bound >= 96 * MiB);
    CHECK(kept <= bound && kept >= bound - 2 * REGION_BYTES);
    kept = dirty_after_freeing(400 * MiB);
    bound += live_bytes() / 4;
    CHECK(kept <= bound && kept >= bound - 2 * REGION_BYTES);
    uint64_t calls = stats_now().release_calls;
    for (int i = 0; i < 8; i++)
        dirty_after_freeing(bound - 4 * REGION_BYTES);
    CHECK_EQUAL(stats_now().release_calls, calls);
    pageheap_free(live);
    CHECK(stats_now().dirty_bytes <= 64 * MiB + live_bytes() * 3 / 8);
    forget_the_past();
    live = pageheap_alloc(pages_for(256 * MiB), SPAN_LARGE, NULL);
    CHECK(dirty_after_freeing(400 * MiB) <= 64 * MiB + live_bytes() / 8);
    pageheap_free(live);
    pageheap_set_release(UINT64_MAX);
}

TEST(pageheap, senseless_lengths_are_refused)
{
    CHECK(pageheap_alloc(0, SPAN_LARGE, NULL) == NULL);
    CHECK(pageheap_alloc(SIZE_MAX >> HEAP_PAGE_SHIFT, SPAN_LARGE, NULL) == NULL);
    struct span *span = pageheap_alloc(1, SPAN_LARGE, NULL);
    CHECK(!pageheap_resize(span, 0));
    CHECK(!pageheap_resize(span, SIZE_MAX));
    pageheap_free(span);
}

TEST(pageheap, nothing_is_lost_over_random_work)
{
    enum { SPANS = 200, STEPS = 20000 };
    static struct span *spans[SPANS];
    size_t live_before = live_bytes();
    unsigned seed = 12345;
    for (int step = 0; step < STEPS; step++) {
        struct span **span = &spans[rand_r(&seed) % SPANS];
        if (*span == NULL)
            *span = pageheap_alloc(1 + (size_t)rand_r(&seed) % 60, SPAN_LARGE, NULL);
        else if (rand_r(&seed) % 4 != 0 ||
                 !pageheap_resize(*span, 1 + (size_t)rand_r(&seed) % 60)) {
            pageheap_free(*span);
            *span = NULL;
        }
        if (step % 1000 == 0)
            pageheap_release((size_t)rand_r(&seed) % (4 * MiB));
    }
    for (int i = 0; i < SPANS; i++) {
        if (spans[i] != NULL)
            pageheap_free(spans[i]);
    }
    CHECK_EQUAL(live_bytes(), live_before);
}

TEST(pageheap, past_the_limit_nothing_is_handed_out_and_below_it_all_goes_on)
{
    size_t used = pageheap_used_bytes();
    pageheap_set_limit(used + 10 * MiB);
    struct span *most = pageheap_alloc(pages_for(8 * MiB), SPAN_LARGE, NULL);
    CHECK(most != NULL);
    CHECK_EQUAL(pageheap_used_bytes(), used + 8 * MiB);
    CHECK(pageheap_alloc(pages_for(3 * MiB), SPAN_LARGE, NULL) == NULL);
    CHECK(!pageheap_claim(2 * MiB + 1));
    CHECK(pageheap_claim(2 * MiB));
    CHECK(pageheap_alloc(1, SPAN_LARGE, NULL) == NULL);
    pageheap_disclaim(2 * MiB);
    struct span *rest = pageheap_alloc(pages_for(2 * MiB), SPAN_LARGE, NULL);
    CHECK(rest != NULL);
    CHECK(!pageheap_resize(rest, rest->pages + 1));
    pageheap_free(rest);
    pageheap_free(most);
    CHECK_EQUAL(pageheap_used_bytes(), used);
    pageheap_set_limit(0);
}

TEST(pageheap, below_a_limit_what_is_kept_goes_back_before_more_is_taken)
{
    pageheap_release(SIZE_MAX);
    size_t used = pageheap_used_bytes();
    pageheap_set_limit(used + 10 * MiB);
    struct span *span = pageheap_alloc(pages_for(8 * MiB), SPAN_LARGE, NULL);
    pageheap_free(span);
    CHECK_EQUAL(stats_now().dirty_bytes, 8 * MiB);
    CHECK(pageheap_claim(7 * MiB));
    CHECK(stats_now().dirty_bytes <= 3 * MiB);
    pageheap_disclaim(7 * MiB);
    pageheap_set_limit(0);
}
