#include <math.h>
#include <stdlib.h>

#include "prof/lifetimes.h"
#include "tap.h"

#define MS ((uint64_t)1000000)

TEST(lifetimes, buckets_double_and_meet)
{
    CHECK_EQUAL(lifetimes_bucket_of(0), 0);
    CHECK_EQUAL(lifetimes_bucket_of(MS - 1), 0);
    CHECK_EQUAL(lifetimes_bucket_of(MS), 1);
    for (unsigned i = 0; i + 1 < LIFETIME_BUCKETS; i++) {
        CHECK_EQUAL(lifetimes_bucket_of(lifetimes_bucket_limit_ns(i) - 1), i);
        CHECK_EQUAL(lifetimes_bucket_of(lifetimes_bucket_limit_ns(i)), i + 1);
    }
    CHECK_EQUAL(lifetimes_bucket_of(UINT64_MAX), LIFETIME_BUCKETS - 1);
    CHECK_EQUAL(lifetimes_bucket_limit_ns(LIFETIME_BUCKETS - 1), UINT64_MAX);
}

TEST(lifetimes, the_mean_weighs_each_sample_by_what_it_stands_for)
{
    struct lifetimes l = {.samples = 0};
    double variance;
    CHECK(lifetimes_mean(&l, &variance) == 0 && variance == 0);
    lifetimes_count(&l, 3, 1000 * MS);
    lifetimes_count(&l, 1, 5000 * MS);
    CHECK(fabs(lifetimes_mean(&l, &variance) - 2) < 1e-9);
    /* A weight of 1 has no error: 3 * 2 * (1 - 2)^2 / 4^2. */
    CHECK(fabs(variance - 6.0 / 16) < 1e-9);
    CHECK_EQUAL(l.samples, 2);
}

TEST(lifetimes, sums_of_sites_are_as_if_counted_in_one)
{
    struct lifetimes a = {.samples = 0}, b = {.samples = 0}, both = {.samples = 0};
    double variance, variance_of_both;
    for (uint64_t i = 1; i < 200; i++) {
        lifetimes_count(i % 3 == 0 ? &a : &b, (double)i / 7 + 1, i * i * MS);
        lifetimes_count(&both, (double)i / 7 + 1, i * i * MS);
    }
    lifetimes_add(&a, &b);
    CHECK(fabs(lifetimes_mean(&a, &variance) - lifetimes_mean(&both, &variance_of_both)) < 1e-9);
    CHECK(fabs(variance / variance_of_both - 1) < 1e-9);
    CHECK_EQUAL(a.samples, both.samples);
    CHECK_EQUAL(lifetimes_quantile_ns(&a, 0.5), lifetimes_quantile_ns(&both, 0.5));
}

/* The interval of the mean covers the truth about as often as it says, over all that could have
 * been sampled. */
TEST(lifetimes, the_interval_of_the_mean_holds_the_true_mean_95_times_in_100)
{
    enum { RUNS = 2000, OBJECTS = 4000 };
    unsigned covered = 0;
    srand48(7);
    for (int run = 0; run < RUNS; run++) {
        struct lifetimes l = {.samples = 0};
        double sum = 0, variance, p = 0.05;
        for (int i = 0; i < OBJECTS; i++) {
            double seconds = -log(1 - drand48()) * 3;
            sum += seconds;
            if (drand48() < p)
                lifetimes_count(&l, 1 / p, (uint64_t)(seconds * 1e9));
        }
        double mean = lifetimes_mean(&l, &variance);
        covered += fabs(mean - sum / OBJECTS) <= 1.96 * sqrt(lifetimes_mean_spread(&l, variance));
    }
    printf("# covered %u of %d\n", covered, RUNS);
    CHECK(covered >= RUNS * 93 / 100 && covered <= RUNS * 97 / 100);
}

/* Student's 97.5 % quantile is 2.571 with 5 degrees of freedom, 2.045 with 29. */
TEST(lifetimes, the_interval_of_few_samples_is_as_wide_as_students)
{
    struct lifetimes l = {.samples = 6};
    CHECK(fabs(1.96 * sqrt(lifetimes_mean_spread(&l, 5)) - 2.571 * sqrt(6)) < 0.05);
    l.samples = 30;
    CHECK(fabs(1.96 * sqrt(lifetimes_mean_spread(&l, 29)) - 2.045 * sqrt(30)) < 0.01);
    l.samples = 1;
    CHECK(lifetimes_mean_spread(&l, 1) == 0);
}

TEST(lifetimes, the_quantile_is_the_end_of_its_bucket)
{
    struct lifetimes l = {.samples = 0};
    CHECK_EQUAL(lifetimes_quantile_ns(&l, 0.99), 0);
    for (int i = 0; i < 99; i++)
        lifetimes_count(&l, 1, 3 * MS);
    lifetimes_count(&l, 1, 100 * MS);
    CHECK_EQUAL(lifetimes_quantile_ns(&l, 0.5), 4 * MS);
    CHECK_EQUAL(lifetimes_quantile_ns(&l, 0.99), 4 * MS);
    CHECK_EQUAL(lifetimes_quantile_ns(&l, 1), 128 * MS);
}

TEST(lifetimes, the_median_takes_into_account_what_still_lives)
{
    struct lifetimes l = {.samples = 0};
    float alive[LIFETIME_BUCKETS] = {0};
    for (int i = 0; i < 100; i++)
        lifetimes_count(&l, 1, 6 * MS);
    CHECK_EQUAL(lifetimes_median_ns(&l, alive), 6 * MS);
    alive[20] = 99;
    CHECK(lifetimes_median_ns(&l, alive) > 7 * MS && lifetimes_median_ns(&l, alive) <= 8 * MS);
    alive[20] = 101;
    CHECK_EQUAL(lifetimes_median_ns(&l, alive), UINT64_MAX);
    /* Younger than all that was freed: they say nothing yet. */
    alive[20] = 0;
    alive[1] = 1000000;
    CHECK_EQUAL(lifetimes_median_ns(&l, alive), 6 * MS);
}

/* Objects of which half live 20 ms and are looked at long before most were freed. */
TEST(lifetimes, the_median_of_a_growing_population_is_not_that_of_its_dead)
{
    struct lifetimes l = {.samples = 0};
    float alive[LIFETIME_BUCKETS] = {0};
    srand48(11);
    for (int i = 0; i < 200000; i++) {
        double lives = -log(1 - drand48()) * 20 / log(2), age = drand48() * 40;
        if (lives < age)
            lifetimes_count(&l, 1, (uint64_t)(lives * MS));
        else
            alive[lifetimes_bucket_of((uint64_t)(age * MS))] += 1;
    }
    double median = (double)lifetimes_median_ns(&l, alive) / MS;
    printf("# median %.1f ms\n", median);
    CHECK(median > 17 && median < 23);
    CHECK(lifetimes_quantile_ns(&l, 0.5) <= 16 * MS);
}
