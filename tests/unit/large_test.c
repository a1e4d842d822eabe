#include "base/os.h"
#include "heap/large.h"
#include "heap/pagemap.h"
#include "heap/pageheap.h"
#include "tap.h"

__attribute__((constructor(1000))) static void prepare(void)
{
    if (!pagemap_init())
        abort();
    pageheap_set_release(UINT64_MAX);
}

static struct span *alloc(size_t bytes)
{
    bool is_zeroed;
    return large_alloc(bytes, OBJECT_ALIGNMENT, &is_zeroed);
}

static bool is_filled(const char *start, size_t bytes, char with)
{
    for (size_t i = 0; i < bytes; i += 61) {
        if (start[i] != with)
            return false;
    }
    return start[bytes - 1] == with;
}

TEST(large, a_block_is_found_by_its_first_address_and_holds_what_was_asked)
{
    size_t sizes[] = {SMALL_MAX_BYTES + 1, 100000, 5 * MiB, HUGE_MIN_BYTES - 1, HUGE_MIN_BYTES,
                      HUGE_MIN_BYTES + 12345};
    for (size_t i = 0; i < array_count(sizes); i++) {
        struct span *span = alloc(sizes[i]);
        CHECK(pagemap_find(span->start) == span);
        CHECK_EQUAL(pagemap_code_of(span->start), 0);
        CHECK_EQUAL(span->tag, 0);
        CHECK(large_usable_bytes(span) >= sizes[i]);
        CHECK_EQUAL(large_usable_bytes(span), large_charged_bytes(sizes[i]));
        memset(span->start, 0x77, sizes[i]);
        large_free(span);
    }
}

TEST(large, from_32_mib_a_block_has_a_mapping_of_its_own)
{
    struct span *below = alloc(HUGE_MIN_BYTES - 1), *from = alloc(HUGE_MIN_BYTES);
    CHECK_EQUAL(below->kind, SPAN_LARGE);
    CHECK_EQUAL(from->kind, SPAN_HUGE);
    large_free(below);
    large_free(from);
}

TEST(large, a_dropped_huge_block_is_known_no_more)
{
    struct span *span = alloc(HUGE_MIN_BYTES);
    char *start = span->start;
    large_drop(span);
    CHECK(pagemap_find(start) == NULL);
}

static struct span *alloc_any(size_t bytes)
{
    return large_alloc(bytes, OBJECT_ALIGNMENT, NULL);
}

static size_t idle_bytes(void)
{
    struct pageheap_stats stats;
    pageheap_stats_get(&stats);
    return stats.dirty_bytes;
}

TEST(large, a_freed_huge_block_is_taken_again_at_any_length_with_its_pages)
{
    static const size_t lengths[] = {48, 48, 40, 56, 120, 33};
    struct span *span = alloc_any(lengths[0] * MiB);
    memset(span->start, 7, lengths[0] * MiB);
    for (size_t i = 1; i < array_count(lengths); i++) {
        size_t there = lengths[i - 1] * MiB, bytes = lengths[i] * MiB;
        large_free(span);
        CHECK(idle_bytes() >= there);
        span = alloc_any(bytes);
        CHECK_EQUAL(span->kind, SPAN_HUGE);
        CHECK_EQUAL(large_usable_bytes(span), bytes);
        CHECK(pagemap_find(span->start) == span);
        CHECK_EQUAL(span->start[0], 7);
        CHECK_EQUAL(span->start[(there < bytes ? there : bytes) - 1], 7);
        memset(span->start, 7, bytes);
    }
    large_free(span);
    pageheap_release(SIZE_MAX);
    CHECK_EQUAL(idle_bytes(), 0);
}

TEST(large, of_kept_huge_blocks_the_shortest_that_is_long_enough_is_taken)
{
    struct span *spans[] = {alloc_any(90 * MiB), alloc_any(40 * MiB), alloc_any(60 * MiB)};
    for (int i = 0; i < 3; i++)
        large_free(spans[i]);
    CHECK(alloc_any(50 * MiB) == spans[2]);
    CHECK(alloc_any(100 * MiB) == spans[0]);
    CHECK(alloc_any(100 * MiB) == spans[1]);
    for (int i = 0; i < 3; i++)
        large_drop(spans[i]);
}

TEST(large, a_huge_block_that_is_to_read_as_zeroes_does)
{
    struct span *span = alloc_any(40 * MiB);
    memset(span->start, 7, 40 * MiB);
    large_free(span);
    bool is_zeroed = false;
    span = large_alloc(48 * MiB, OBJECT_ALIGNMENT, &is_zeroed);
    CHECK(is_zeroed);
    size_t resident;
    CHECK(os_resident_bytes(span->start, 48 * MiB, &resident) && resident < MiB);
    CHECK_EQUAL(span->start[0] + span->start[40 * MiB - 1], 0);
    large_free(span);
    pageheap_release(SIZE_MAX);
}

/* Of a free block, too, no more than 64 MiB and a share of what lives. */
TEST(large, what_is_kept_of_huge_blocks_is_bounded)
{
    pageheap_set_release((uint64_t)3600 * 1000000000);
    struct span *span = alloc_any(1 * GiB);
    large_free(span);
    CHECK(idle_bytes() <= 64 * MiB + 2 * REGION_BYTES && idle_bytes() >= 32 * MiB);
    pageheap_release(SIZE_MAX);
    pageheap_set_release(0);
    large_free(alloc_any(40 * MiB));
    CHECK_EQUAL(idle_bytes(), 0);
    pageheap_set_release(UINT64_MAX);
}

TEST(large, kept_huge_blocks_make_way_for_other_memory)
{
    struct span *spans[30], *kept = alloc_any(40 * MiB);
    pageheap_release(SIZE_MAX);
    large_free(kept);
    size_t idle = idle_bytes();
    for (int i = 0; i < 30; i++)
        spans[i] = alloc_any(1 * MiB);
    CHECK(idle_bytes() <= idle - 28 * MiB && idle_bytes() >= idle - 32 * MiB);
    for (int i = 0; i < 30; i++)
        large_free(spans[i]);
    pageheap_release(SIZE_MAX);
    CHECK_EQUAL(idle_bytes(), 0);
}

TEST(large, every_alignment_is_met)
{
    for (size_t alignment = 16; alignment <= 256 * MiB; alignment *= 4) {
        size_t sizes[] = {0, 1, 40000, HUGE_MIN_BYTES};
        for (size_t i = 0; i < array_count(sizes); i++) {
            bool is_zeroed;
            struct span *span = large_alloc(sizes[i], alignment, &is_zeroed);
            CHECK_EQUAL((uintptr_t)span->start % alignment, 0);
            CHECK(large_usable_bytes(span) >= sizes[i]);
            span->start[0] = 1;
            large_free(span);
        }
    }
}

TEST(large, a_block_called_zeroed_is)
{
    bool is_zeroed = false;
    struct span *span = large_alloc(3 * MiB, 16, &is_zeroed);
    memset(span->start, 0x33, 3 * MiB);
    large_free(span);
    span = large_alloc(2 * MiB, 16, &is_zeroed);
    CHECK(!is_zeroed);
    large_free(span);
    span = large_alloc(HUGE_MIN_BYTES, 16, &is_zeroed);
    CHECK(is_zeroed && is_filled(span->start, HUGE_MIN_BYTES, 0));
    large_free(span);
}

TEST(large, impossible_requests_yield_null)
{
    bool is_zeroed;
    CHECK(large_alloc(SIZE_MAX, 16, &is_zeroed) == NULL);
    CHECK(large_alloc(SIZE_MAX / 2, 16, &is_zeroed) == NULL);
    CHECK(large_alloc((size_t)1 << 47, 16, &is_zeroed) == NULL);
    CHECK(large_alloc(1, (size_t)1 << 63, &is_zeroed) == NULL);
    CHECK(large_charged_bytes(SIZE_MAX) == SIZE_MAX);
}

TEST(large, a_huge_block_keeps_its_contents_when_it_grows_and_shrinks)
{
    struct span *span = alloc(HUGE_MIN_BYTES), *in_the_way = alloc(HUGE_MIN_BYTES);
    memset(span->start, 0x21, HUGE_MIN_BYTES);
    CHECK(large_resize(span, 3 * HUGE_MIN_BYTES));
    CHECK(is_filled(span->start, HUGE_MIN_BYTES, 0x21));
    CHECK(is_filled(span->start + HUGE_MIN_BYTES, 2 * HUGE_MIN_BYTES, 0));
    CHECK(pagemap_find(span->start) == span);
    CHECK_EQUAL((uintptr_t)span->start % REGION_BYTES, 0);
    CHECK(large_resize(span, HUGE_MIN_BYTES + 1));
    CHECK(is_filled(span->start, HUGE_MIN_BYTES, 0x21));
    CHECK_EQUAL(large_usable_bytes(span), HUGE_MIN_BYTES + os_page_bytes());
    large_free(span);
    large_free(in_the_way);
}

TEST(large, a_block_does_not_change_between_the_kinds_without_a_copy)
{
    struct span *span = alloc(HUGE_MIN_BYTES);
    CHECK(!large_resize(span, HUGE_MIN_BYTES - 1));
    large_free(span);
    span = alloc(5 * MiB);
    CHECK(!large_resize(span, HUGE_MIN_BYTES));
    CHECK(large_resize(span, 4 * MiB));
    CHECK_EQUAL(large_usable_bytes(span), 4 * MiB);
    large_free(span);
}

TEST(large, live_blocks_are_counted_exactly)
{
    struct large_stats before, now;
    large_stats_get(&before);
    struct span *a = alloc(100000), *b = alloc(HUGE_MIN_BYTES);
    large_resize(b, 2 * HUGE_MIN_BYTES);
    large_stats_get(&now);
    CHECK_EQUAL(now.live_blocks - before.live_blocks, 2);
    CHECK_EQUAL(now.live_bytes - before.live_bytes,
                large_charged_bytes(100000) + 2 * HUGE_MIN_BYTES);
    CHECK_EQUAL(now.huge_bytes - before.huge_bytes, 2 * HUGE_MIN_BYTES);
    large_free(a);
    large_free(b);
    large_stats_get(&now);
    CHECK_EQUAL(now.live_bytes, before.live_bytes);
    CHECK_EQUAL(now.live_blocks, before.live_blocks);
    CHECK_EQUAL(now.huge_bytes, before.huge_bytes);
}

TEST(large, a_limit_holds_for_blocks_with_a_mapping_of_their_own)
{
    size_t used = pageheap_used_bytes();
    pageheap_set_limit(used + 100 * MiB);
    struct span *one = alloc(60 * MiB);
    CHECK(one != NULL);
    CHECK(alloc(41 * MiB) == NULL);
    CHECK(!large_resize(one, 101 * MiB));
    CHECK(large_resize(one, 100 * MiB));
    CHECK_EQUAL(pageheap_used_bytes(), used + 100 * MiB);
    CHECK(large_resize(one, 50 * MiB));
    CHECK_EQUAL(pageheap_used_bytes(), used + 50 * MiB);
    large_free(one);
    CHECK_EQUAL(pageheap_used_bytes(), used);
    pageheap_set_limit(0);
}

/* As programs do that ask for the most they may ever need. The kernel refuses where it counts what
 * could be written. */
static size_t allocated_of(size_t blocks, size_t bytes)
{
    struct span **spans = calloc(blocks, sizeof(*spans));
    size_t count = 0;
    while (count < blocks && (spans[count] = alloc(bytes)) != NULL)
        count++;
    for (size_t i = 0; i < count; i++)
        large_free(spans[i]);
    free(spans);
    return count;
}

static bool may_ask_for_more(void)
{
    int policy = 0;
    FILE *file = fopen("/proc/sys/vm/overcommit_memory", "re");
    bool is_told = file != NULL && fscanf(file, "%d", &policy) == 1;
    if (file != NULL)
        fclose(file);
    return is_told && policy != 2 && os_space_limit_bytes() == 0;
}

TEST(large, far_more_can_be_asked_for_than_the_machine_has)
{
    if (tap_is_emulated())
        SKIP("qemu notes each page of a mapping, which takes hours");
    if (!may_ask_for_more())
        SKIP("RLIMIT_AS is set, or the kernel gives no more than there is");
    CHECK_EQUAL(allocated_of(2000, GiB), 2000);
    CHECK_EQUAL(allocated_of(8000, 30 * MiB), 8000);
}
