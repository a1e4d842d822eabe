#include <math.h>

#include "prof/sampler.h"
#include "tap.h"

/* Libm is for tests only. */
static double exact_probability(double bytes, double interval)
{
    return -expm1(-bytes / interval);
}

TEST(sampler, the_probability_is_1_minus_exp_of_minus_s_over_t)
{
    size_t intervals[] = {1, 1000, 4096, 65536, 524288, 100000000, TiB};
    for (size_t i = 0; i < array_count(intervals); i++) {
        sampler_set_interval(intervals[i]);
        for (size_t bytes = 16; bytes < 64 * GiB; bytes += bytes / 3) {
            double should_be = exact_probability((double)bytes, (double)intervals[i]);
            double is = sampler_probability(sampler_interval(), bytes);
            if (fabs(is - should_be) > 1e-9 * should_be)
                printf("# %zu bytes at %zu: %.15g, not %.15g\n", bytes, intervals[i], is,
                       should_be);
            CHECK(fabs(is - should_be) <= 1e-9 * should_be);
            CHECK(is > 0 && is <= 1);
        }
    }
}

/* The mean of geometric numbers: (1-p)/p, with variance (1-p)/p^2. */
static void check_draws(size_t bytes, size_t interval, int draws)
{
    struct sampler sampler;
    sampler_init(&sampler, 0x1234567 + bytes);
    sampler_set_interval(interval);
    double sum = 0, none = 0, p = exact_probability((double)bytes, (double)interval);
    for (int i = 0; i < draws; i++) {
        int64_t objects = sampler_draw(&sampler, sampler_interval(), bytes);
        CHECK(objects >= 0);
        sum += (double)objects;
        none += objects == 0;
    }
    double mean = (1 - p) / p, mean_error = sqrt((1 - p) / (p * p) / draws);
    double share_error = sqrt(p * (1 - p) / draws);
    if (fabs(sum / draws - mean) > 4 * mean_error || fabs(none / draws - p) > 4 * share_error)
        tap_fail(__FILE__, __LINE__, "%zu bytes at %zu: mean %g, not %g; p %g, not %g", bytes,
                 interval, sum / draws, mean, none / draws, p);
}

TEST(sampler, objects_between_samples_are_geometric)
{
    size_t sizes[] = {16, 48, 256, 1024, 8192, 32768, 100000};
    for (size_t i = 0; i < array_count(sizes); i++) {
        check_draws(sizes[i], 4096, 200000);
        check_draws(sizes[i], 65536, 200000);
        check_draws(sizes[i], 524288, 200000);
    }
}

TEST(sampler, a_block_is_sampled_with_the_probability_that_is_stated)
{
    enum { TOSSES = 200000 };
    size_t sizes[] = {33000, 100000, 524288, 1000000, 3000000};
    struct sampler sampler;
    sampler_init(&sampler, 99);
    sampler_set_interval(524288);
    for (size_t i = 0; i < array_count(sizes); i++) {
        double hits = 0, p = sampler_probability(sampler_interval(), sizes[i]);
        for (int n = 0; n < TOSSES; n++)
            hits += sampler_toss(&sampler, p);
        if (fabs(hits / TOSSES - p) > 4 * sqrt(p * (1 - p) / TOSSES))
            tap_fail(__FILE__, __LINE__, "%zu bytes: %g, not %g", sizes[i], hits / TOSSES, p);
    }
}

TEST(sampler, a_huge_block_is_always_sampled)
{
    struct sampler sampler;
    sampler_init(&sampler, 5);
    sampler_set_interval(65536);
    for (int i = 0; i < 10000; i++)
        CHECK(sampler_toss(&sampler, sampler_probability(sampler_interval(), 64 * MiB)));
}

TEST(sampler, at_interval_0_nothing_is_sampled)
{
    struct sampler sampler;
    sampler_init(&sampler, 5);
    sampler_set_interval(0);
    CHECK(sampler_draw(&sampler, sampler_interval(), 100) < 0);
    CHECK(sampler_probability(sampler_interval(), 100) == 0);
    CHECK(!sampler_toss(&sampler, sampler_probability(sampler_interval(), GiB)));
    CHECK_EQUAL(sampler_interval(), 0);
}

TEST(sampler, at_interval_1_every_object_is_a_sample)
{
    struct sampler sampler;
    sampler_init(&sampler, 5);
    sampler_set_interval(1);
    int64_t passed = 0;
    for (int i = 0; i < 1000; i++)
        passed += sampler_draw(&sampler, sampler_interval(), 64);
    CHECK_EQUAL(passed, 0);
}

TEST(sampler, each_change_of_the_interval_begins_an_epoch)
{
    uint32_t epoch = sampler_epoch();
    sampler_set_interval(1000);
    CHECK(sampler_epoch() != epoch);
    CHECK_EQUAL(sampler_interval(), 1000);
    epoch = sampler_epoch();
    sampler_set_interval(2000);
    CHECK(sampler_epoch() != epoch);
    CHECK(sampler_epoch() != 0);
}

TEST(sampler, different_seeds_draw_different_numbers_and_0_is_a_seed)
{
    struct sampler a, b, zero;
    sampler_init(&a, 1);
    sampler_init(&b, 2);
    sampler_init(&zero, 0);
    sampler_set_interval(524288);
    int same = 0;
    int64_t largest = 0;
    for (int i = 0; i < 1000; i++) {
        same +=
            sampler_draw(&a, sampler_interval(), 16) == sampler_draw(&b, sampler_interval(), 16);
        largest = sampler_draw(&zero, sampler_interval(), 16) > largest ? 1 : largest;
    }
    CHECK(same < 10);
    CHECK(largest > 0);
}

/* With s bytes charged and weights 1/p the estimate of bytes is unbiased: over an experiment that
 * is repeated, its mean is the truth within four of its standard errors. */
TEST(sampler, weights_of_1_over_p_make_estimates_unbiased)
{
    enum { ROUNDS = 400, OBJECTS = 20000 };
    size_t bytes = 208;
    struct sampler sampler;
    sampler_init(&sampler, 77);
    sampler_set_interval(65536);
    double p = sampler_probability(sampler_interval(), bytes), sum = 0, squares = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double estimate = 0;
        for (int64_t at = sampler_draw(&sampler, sampler_interval(), bytes); at < OBJECTS;
             at += 1 + sampler_draw(&sampler, sampler_interval(), bytes))
            estimate += 1 / p;
        sum += estimate;
        squares += estimate * estimate;
    }
    double mean = sum / ROUNDS, spread = sqrt(squares / ROUNDS - mean * mean);
    CHECK(fabs(mean - OBJECTS) < 4 * spread / sqrt(ROUNDS));
    double stated = sqrt(OBJECTS * (1 - p) / p);
    CHECK(fabs(spread / stated - 1) < 0.2);
}
