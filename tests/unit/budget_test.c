#include <stdlib.h>

#include "prof/budget.h"
#include "prof/sampler.h"
#include "tap.h"

static struct budget_view cheap(void)
{
    return (struct budget_view){.percent = 5, .spent_ns = 1, .cpu_ns = 1000, .live_bytes = GiB};
}

TEST(budget, the_interval_doubles_while_sampling_takes_more_than_its_share)
{
    struct budget_view view = cheap();
    view.spent_ns = 51;
    CHECK_EQUAL(budget_judge(&view, 0), 1);
    CHECK_EQUAL(budget_judge(&view, 3), 4);
    CHECK_EQUAL(budget_judge(&view, SAMPLER_WIDENED_MAX), SAMPLER_WIDENED_MAX);
    view.spent_ns = 50;
    CHECK_EQUAL(budget_judge(&view, 3), 3);
    view.spent_ns = 13;
    CHECK_EQUAL(budget_judge(&view, 3), 3);
}

TEST(budget, it_halves_again_when_sampling_is_cheap_and_not_below_what_was_asked)
{
    struct budget_view view = cheap();
    CHECK_EQUAL(budget_judge(&view, 3), 2);
    CHECK_EQUAL(budget_judge(&view, 0), 0);
    /* Half of what is below a quarter of the share is below half of it: no swinging. */
    view.spent_ns = 12;
    CHECK_EQUAL(budget_judge(&view, 1), 0);
    view.spent_ns *= 2;
    CHECK_EQUAL(budget_judge(&view, 0), 0);
}

TEST(budget, it_doubles_while_tables_grow_beyond_a_share_of_what_lives)
{
    struct budget_view view = cheap();
    view.meta_bytes = BUDGET_META_BYTES + GiB / BUDGET_META_SHARE + 1;
    CHECK_EQUAL(budget_judge(&view, 0), 0);
    view.grown_bytes = 1;
    CHECK_EQUAL(budget_judge(&view, 0), 1);
    view.meta_bytes--;
    CHECK_EQUAL(budget_judge(&view, 1), 1);
}

TEST(budget, what_is_asked_for_anew_is_not_widened)
{
    sampler_set_interval(4096);
    sampler_widen(3);
    CHECK_EQUAL(sampler_interval(), 32768);
    CHECK_EQUAL(sampler_asked_interval(), 4096);
    CHECK(sampler_probability(sampler_interval(), 100) < 100.0 / 30000);
    sampler_set_interval(8192);
    CHECK_EQUAL(sampler_interval(), 8192);
    CHECK_EQUAL(sampler_widened(), 0);
    sampler_set_interval(0);
    sampler_widen(2);
    CHECK_EQUAL(sampler_interval(), 0);
}
