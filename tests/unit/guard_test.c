#include "child.h"
#include "heap/guard.h"
#include "heap/pagemap.h"
#include "heap/span.h"
#include "tap.h"

static bool begin(void)
{
    return pagemap_init() && guard_init();
}

/* Each test in a child: a pool is made once. */
static void in_child(void (*work)(void))
{
    child_run(begin, work);
}

static unsigned class_of(size_t bytes)
{
    return sizeclass_from_code(sizeclass_code_of(bytes));
}

static char *alloc(size_t bytes, bool at_end)
{
    return guard_alloc(bytes, 16, class_of(bytes), 7, at_end);
}

static enum guard_crime release(const char *start)
{
    struct guard_object object;
    size_t distance;
    return guard_free(start, &object, &distance);
}

static void place(void)
{
    char *at_end = alloc(100, true), *at_start = alloc(100, false);
    CHECK_EQUAL((uintptr_t)(at_end + 112) % 4096, 0);
    CHECK_EQUAL((uintptr_t)at_start % 4096, 0);
    CHECK_EQUAL((uintptr_t)guard_alloc(100, 4096, class_of(4096), 0, true) % 4096, 0);
    char *whole = alloc(SMALL_MAX_BYTES, true);
    whole[0] = whole[SMALL_MAX_BYTES - 1] = 1;
    CHECK_EQUAL(release(whole), GUARD_INNOCENT);
    CHECK_EQUAL(pagemap_find(at_end)->kind, SPAN_GUARDED);
    CHECK_EQUAL(pagemap_code_of(at_end), 0);
}

TEST(guard, objects_lie_at_the_end_or_the_start_of_their_pages)
{
    in_child(place);
}

static void reuse(void)
{
    char *first = alloc(64, true);
    CHECK_EQUAL(release(first), GUARD_INNOCENT);
    for (int i = 1; i < GUARD_SLOTS; i++) {
        char *other = alloc(64, true);
        CHECK(other != first);
        CHECK_EQUAL(release(other), GUARD_INNOCENT);
    }
    CHECK(alloc(64, true) == first);
}

TEST(guard, a_slot_is_taken_again_after_all_others)
{
    in_child(reuse);
}

static void fill(void)
{
    struct guard_stats stats;
    char *last = NULL;
    for (int i = 0; i < GUARD_SLOTS; i++)
        CHECK((last = alloc(64, true)) != NULL);
    CHECK(alloc(64, true) == NULL);
    guard_stats_get(&stats);
    CHECK_EQUAL(stats.live_objects, GUARD_SLOTS);
    CHECK_EQUAL(stats.live_bytes, GUARD_SLOTS * 64);
    CHECK_EQUAL(release(last), GUARD_INNOCENT);
    CHECK(alloc(64, true) == last);
}

TEST(guard, a_full_pool_gives_nothing_until_something_is_freed)
{
    in_child(fill);
}

static void find(void)
{
    struct guard_object object;
    char *one = alloc(64, true), *two = alloc(64, false);
    CHECK(guard_find(one + 64, &object) && object.start == one);
    CHECK(guard_find(one + 63 + 4096, &object) && object.start == one);
    CHECK(guard_find(two - 1, &object) && object.start == two);
    CHECK(guard_find(two - 4096, &object) && object.start == two);
    CHECK(guard_find(two, &object) && object.tag == 7 && object.state == GUARD_LIVE);
    CHECK(!guard_find(&object, &object));
    CHECK(guard_accuse(&object) && !guard_accuse(&object));
}

TEST(guard, an_address_in_a_gap_belongs_to_the_nearer_object)
{
    in_child(find);
}

static void judge(void)
{
    struct guard_object object;
    size_t distance;
    char *start = alloc(70, true);
    CHECK_EQUAL(release(start + 16), GUARD_NO_OBJECT);
    start[73] = 1;
    CHECK_EQUAL(guard_free(start, &object, &distance), GUARD_OVERFLOW);
    CHECK_EQUAL(distance, 4);
    start = alloc(70, true);
    start[-3] = 1;
    CHECK_EQUAL(guard_free(start, &object, &distance), GUARD_UNDERFLOW);
    CHECK_EQUAL(distance, 3);
    start = alloc(70, true);
    CHECK_EQUAL(release(start), GUARD_INNOCENT);
    CHECK_EQUAL(release(start), GUARD_FREED_BEFORE);
}

TEST(guard, what_was_written_around_an_object_is_measured)
{
    in_child(judge);
}
