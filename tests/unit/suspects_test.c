#include "report/suspects.h"
#include "tap.h"

#define SECOND ((uint64_t)1000000000u)

enum { MOST = 1000 };
static struct age ages[MOST];

/* `count` samples of a kilobyte, the n-th `from + n * step` old. */
static struct age_list make_ages(size_t count, uint64_t from, uint64_t step)
{
    for (size_t i = 0; i < count; i++)
        ages[i] = (struct age){.ns = from + i * step, .objects = 1, .bytes = 1024};
    return (struct age_list){ages, count};
}

static struct lifetimes make_lifetimes(size_t count, uint64_t ns)
{
    struct lifetimes lifetimes = {.samples = 0};
    for (size_t i = 0; i < count; i++)
        lifetimes_count(&lifetimes, 2, ns);
    return lifetimes;
}

TEST(suspects, what_is_much_older_than_the_freed_became_is_suspected_and_no_more)
{
    struct suspect suspect;
    struct lifetimes short_lives = make_lifetimes(100, 3 * SECOND);
    /* 99 of 100 lived less than 4.1 s: older than 16.4 s are 83 of 100 from 0 to 99 s. */
    CHECK(suspects_judge(&suspect, make_ages(100, 0, SECOND), &short_lives));
    CHECK(suspect.bytes == 83 * 1024 && suspect.oldest_ns == 99 * SECOND);
    CHECK(suspect.usual_ns > 3 * SECOND && suspect.freed_objects == 200);
    CHECK(!suspects_judge(&suspect, make_ages(17, 0, SECOND), &short_lives));
    /* Two are no evidence. */
    CHECK(!suspects_judge(&suspect, make_ages(19, 0, SECOND), &short_lives));
    CHECK(suspects_judge(&suspect, make_ages(20, 0, SECOND), &short_lives));
}

TEST(suspects, few_frees_tell_no_usual_lifetime)
{
    struct suspect suspect;
    struct lifetimes few = make_lifetimes(LIFETIMES_NEEDED - 1, SECOND),
                     enough = make_lifetimes(LIFETIMES_NEEDED, SECOND);
    CHECK(!suspects_judge(&suspect, make_ages(100, 0, SECOND), &few));
    CHECK(suspects_judge(&suspect, make_ages(100, 0, SECOND), &enough));
}

TEST(suspects, what_is_never_freed_is_suspected_while_more_keep_coming)
{
    struct suspect suspect;
    struct lifetimes none = {.samples = 0};
    CHECK(suspects_judge(&suspect, make_ages(100, 0, SECOND), &none));
    CHECK(suspect.bytes == 100 * 1024 && suspect.usual_ns == 0);
    /* Built up in a minute, an hour ago; or within this second; or too few. */
    CHECK(!suspects_judge(&suspect, make_ages(60, 3600 * SECOND, SECOND), &none));
    CHECK(!suspects_judge(&suspect, make_ages(100, 0, SECOND / 1000), &none));
    CHECK(!suspects_judge(&suspect, make_ages(GROWTH_SAMPLES - 1, 0, SECOND), &none));
}

TEST(suspects, those_with_the_most_bytes_are_kept_in_order)
{
    struct suspects suspects = {.count = 0};
    for (size_t i = 0; i < 100; i++) {
        struct suspect suspect = {.row = i, .bytes = (double)(i * 37 % 100)};
        suspects_offer(&suspects, &suspect);
    }
    CHECK_EQUAL(suspects.count, SUSPECTS_MAX);
    for (size_t i = 0; i < SUSPECTS_MAX; i++)
        CHECK(suspects.first[i].bytes == (double)(99 - i));
}
