#include <math.h>
#include <pthread.h>

#include "prof/profile.h"
#include "prof/sampler.h"
#include "prof/spread.h"
#include "tap.h"

#define FRAME __attribute__((noinline, noclone))

__attribute__((constructor(1000))) static void prepare(void)
{
    if (!profile_init())
        abort();
    sampler_set_interval(65536);
}

FRAME static sample_tag record_here(size_t bytes, double probability)
{
    sample_tag tag = profile_record(bytes - 8, bytes, probability);
    __asm__ volatile("" ::: "memory");
    return tag;
}

FRAME static sample_tag record_there(size_t bytes, double probability)
{
    sample_tag tag = profile_record(bytes, bytes, probability);
    __asm__ volatile("" ::: "memory");
    return tag;
}

/* The row of one size, each test having a size of its own. */
static struct profile_row row_of(size_t object_bytes)
{
    struct snapshot snapshot;
    struct profile_row found = {.object_bytes = 0};
    CHECK(snapshot_take(&snapshot));
    for (size_t i = 0; i < snapshot.row_count; i++) {
        if (snapshot.rows[i].object_bytes == object_bytes)
            found = snapshot.rows[i];
    }
    snapshot_free(&snapshot);
    return found;
}

TEST(profile, a_sample_counts_one_over_its_probability)
{
    sample_tag tag = record_here(1000, 0.25);
    CHECK(tag != 0);
    struct profile_row row = row_of(1000);
    CHECK(row.alloc.objects == 4 && row.inuse.objects == 4);
    CHECK(row.alloc.bytes == 4000 && row.inuse.bytes == 4000);
    CHECK(row.inuse.requested_bytes == 4 * 992);
    CHECK(row.inuse.objects_variance == 0.75 / (0.25 * 0.25));
    CHECK(row.inuse.bytes_variance == 1e6 * 0.75 / (0.25 * 0.25));
    CHECK_EQUAL(row.alloc.samples, 1);
    profile_forget(tag);
}

TEST(profile, a_freed_sample_is_gone_from_what_lives_and_stays_in_what_was_allocated)
{
    sample_tag tag = record_here(1100, 0.5);
    profile_forget(tag);
    struct profile_row row = row_of(1100);
    CHECK(row.inuse.objects == 0 && row.inuse.bytes == 0 && row.inuse.requested_bytes == 0);
    CHECK(row.inuse.bytes_variance == 0);
    CHECK_EQUAL(row.inuse.samples, 0);
    CHECK(row.alloc.objects == 2 && row.alloc.bytes == 2200);
}

TEST(profile, sums_that_do_not_divide_evenly_still_end_at_nothing)
{
    enum { SAMPLES = 1000 };
    sample_tag tags[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        tags[i] = record_here(1200, 1 / (3.0 + i * 0.7));
    for (int i = SAMPLES - 1; i >= 0; i--)
        profile_forget(tags[(i * 37) % SAMPLES]);
    CHECK(row_of(1200).inuse.bytes == 0);
    CHECK(row_of(1200).inuse.objects == 0);
    CHECK(row_of(1200).inuse.requested_bytes == 0);
}

TEST(profile, forgetting_no_sample_is_nothing)
{
    size_t live = profile_live_count();
    profile_forget(0);
    CHECK_EQUAL(profile_live_count(), live);
}

static bool is_in(uintptr_t address, const void *function)
{
    return address - (uintptr_t)function < 100;
}

TEST(profile, stacks_are_told_apart_and_begin_with_the_caller)
{
    struct snapshot snapshot;
    profile_forget(record_here(1300, 1));
    profile_forget(record_there(1300, 1));
    CHECK(snapshot_take(&snapshot));
    size_t rows = 0, callers = 0;
    for (size_t i = 0; i < snapshot.row_count; i++) {
        const struct profile_row *row = &snapshot.rows[i];
        if (row->object_bytes != 1300)
            continue;
        rows++;
        for (size_t at = 0; at < row->stack->depth && at < 3; at++) {
            callers += is_in(row->stack->frames[at], (void *)record_here) ||
                       is_in(row->stack->frames[at], (void *)record_there);
        }
    }
    CHECK_EQUAL(rows, 2);
    CHECK_EQUAL(callers, 2);
    snapshot_free(&snapshot);
}

TEST(profile, the_total_is_the_sum_of_the_rows)
{
    struct snapshot snapshot;
    sample_tag a = record_here(1400, 0.1), b = record_there(1500, 0.2);
    CHECK(snapshot_take(&snapshot));
    double bytes = 0, variance = 0;
    uint64_t samples = 0;
    for (size_t i = 0; i < snapshot.row_count; i++) {
        bytes += snapshot.rows[i].inuse.bytes;
        variance += snapshot.rows[i].inuse.bytes_variance;
        samples += snapshot.rows[i].inuse.samples;
    }
    CHECK(fabs(snapshot.total.inuse.bytes - bytes) < 1e-6);
    CHECK(fabs(snapshot.total.inuse.bytes_variance - variance) < 1);
    CHECK_EQUAL(snapshot.total.inuse.samples, samples);
    CHECK_EQUAL(snapshot.interval_bytes, 65536);
    CHECK(snapshot.wall_clock_ns > 1600000000000000000u);
    snapshot_free(&snapshot);
    profile_forget(a);
    profile_forget(b);
}

TEST(profile, live_samples_are_counted)
{
    size_t live = profile_live_count();
    sample_tag a = record_here(1600, 1), b = record_here(1600, 1);
    CHECK_EQUAL(profile_live_count() - live, 2);
    profile_forget(a);
    profile_forget(b);
    CHECK_EQUAL(profile_live_count(), live);
    CHECK_EQUAL(profile_lost_count(), 0);
}

TEST(profile, running_totals_follow_every_sample_and_end_where_they_began)
{
    uint64_t live = profile_live_bytes(), all = profile_alloc_bytes();
    sample_tag a = record_here(1650, 0.3), b = record_here(1650, 0.7);
    uint64_t added = profile_live_bytes() - live;
    CHECK(added == 5500 + 2357 && profile_alloc_bytes() - all == added);
    profile_forget(a);
    profile_forget(b);
    CHECK_EQUAL(profile_live_bytes(), live);
    CHECK_EQUAL(profile_alloc_bytes() - all, added);
}

TEST(profile, the_peak_is_what_was_live_when_most_was)
{
    /* More than any other test of this file keeps. */
    enum { GREAT = 1 << 30 };
    sample_tag early = record_here(GREAT, 1), late = record_there(GREAT + 16, 1);
    profile_forget(early);
    sample_tag after = record_here(GREAT - 16, 1);
    CHECK(row_of(GREAT).peak.objects == 1 && row_of(GREAT).inuse.objects == 0);
    CHECK(row_of(GREAT + 16).peak.bytes == GREAT + 16);
    CHECK(row_of(GREAT - 16).peak.objects == 0 && row_of(GREAT - 16).inuse.objects == 1);
    /* A new peak leaves out what is gone. */
    sample_tag again = record_there(GREAT + 32, 1);
    CHECK(row_of(GREAT).peak.samples == 0 && row_of(GREAT - 16).peak.objects == 1);
    CHECK(row_of(GREAT + 32).peak.objects == 1);
    profile_forget(late);
    profile_forget(after);
    profile_forget(again);
    CHECK(row_of(GREAT + 16).peak.objects == 1 && row_of(GREAT + 16).inuse.objects == 0);
}

enum { THREADS = 4, SNAPSHOTS = 200 };
static _Atomic bool is_over;

/* Each thread has one sample live, or none. */
static void *record_and_forget(void *unused)
{
    (void)unused;
    while (!is_over) {
        sample_tag tag = record_here(1700, 0.125);
        profile_forget(tag);
    }
    return NULL;
}

static double sum_of_inuse(const struct snapshot *snapshot)
{
    double bytes = 0;
    for (size_t i = 0; i < snapshot->row_count; i++)
        bytes += snapshot->rows[i].inuse.bytes;
    return bytes;
}

TEST(profile, calibrated_rows_add_up_to_the_exact_count)
{
    sample_tag tags[CALIBRATION_SAMPLES];
    for (size_t i = 0; i < array_count(tags); i++)
        tags[i] = i % 2 ? record_here(3000, 0.01) : record_there(5000, 0.02);
    struct snapshot snapshot;
    CHECK(snapshot_take(&snapshot));
    double by_samples = snapshot.total.inuse.bytes, exact = by_samples * 1.1;
    snapshot_calibrate(&snapshot, (size_t)exact);
    CHECK(fabs(sum_of_inuse(&snapshot) - exact) < 2);
    CHECK(fabs(snapshot.calibration - 1.1) < 1e-6);
    CHECK(snapshot.total.inuse.bytes == by_samples);
    snapshot_free(&snapshot);
    for (size_t i = 0; i < array_count(tags); i++)
        profile_forget(tags[i]);
}

TEST(profile, calibration_leaves_alone_what_is_known_for_sure_and_makes_no_error_grow)
{
    enum { SURE_BYTES = 7000, LIKELY_BYTES = 7100, UNLIKELY_BYTES = 7200, EACH = 20 };
    sample_tag tags[3 * EACH];
    for (size_t i = 0; i < EACH; i++) {
        tags[3 * i] = record_here(SURE_BYTES, 1);
        tags[3 * i + 1] = record_here(LIKELY_BYTES, 0.5);
        tags[3 * i + 2] = record_here(UNLIKELY_BYTES, 0.01);
    }
    struct snapshot snapshot, before;
    CHECK(snapshot_take(&before) && snapshot_take(&snapshot));
    snapshot_calibrate(&snapshot, (size_t)(snapshot.total.inuse.bytes * 1.2));
    for (size_t i = 0; i < snapshot.row_count; i++) {
        const struct profile_row *row = &snapshot.rows[i], *was = &before.rows[i];
        double ratio = was->inuse.bytes > 0 ? row->inuse.bytes / was->inuse.bytes : 1;
        if (row->object_bytes == SURE_BYTES)
            CHECK(ratio == 1);
        if (row->object_bytes == LIKELY_BYTES)
            CHECK(ratio > 1 && ratio < 1.01);
        if (row->object_bytes == UNLIKELY_BYTES)
            CHECK(ratio > 1.19);
        CHECK(row->inuse.bytes_variance <= was->inuse.bytes_variance);
    }
    snapshot_free(&snapshot);
    snapshot_free(&before);
    for (size_t i = 0; i < array_count(tags); i++)
        profile_forget(tags[i]);
}

TEST(profile, the_interval_counts_two_samples_more_than_there_are)
{
    CHECK(spread_of(0, 0) == 0);
    CHECK(fabs(spread_of(10 * 512.0, 10 * 512.0 * 512) - 12 * 512.0 * 512) < 1e-3);
    CHECK(spread_of(1000, 0) == 0);
}

/* Of two alike half of the error goes; of one that is all that was sampled two samples are left, for
 * what was not. */
TEST(profile, a_calibrated_row_is_as_sure_as_the_others_make_it)
{
    double each = 1000, v = 100 * each * each;
    struct snapshot snapshot = {.calibration = 1.1};
    snapshot.total.inuse = (struct estimate){.bytes = 200 * each, .bytes_variance = 2 * v};
    struct estimate row = {.bytes = 100 * each, .bytes_variance = v};
    CHECK(fabs(spread_of_inuse(&snapshot, &row) / (v / 2 + each * each) - 1) < 1e-9);
    snapshot.total.inuse = row;
    CHECK(fabs(spread_of_inuse(&snapshot, &row) / (2 * each * each) - 1) < 1e-9);
    snapshot.calibration = 1;
    CHECK(spread_of_inuse(&snapshot, &row) == spread_of(row.bytes, v));
}

TEST(profile, a_count_that_chance_does_not_explain_calibrates_nothing)
{
    sample_tag tags[4 * CALIBRATION_SAMPLES];
    for (size_t i = 0; i < array_count(tags); i++)
        tags[i] = record_here(3000, 0.5);
    struct snapshot snapshot;
    CHECK(snapshot_take(&snapshot));
    double by_samples = snapshot.total.inuse.bytes;
    snapshot_calibrate(&snapshot, (size_t)(3 * by_samples));
    CHECK(sum_of_inuse(&snapshot) == by_samples);
    CHECK(snapshot.calibration == 1);
    snapshot_free(&snapshot);
    for (size_t i = 0; i < array_count(tags); i++)
        profile_forget(tags[i]);
}

TEST(profile, a_snapshot_taken_while_threads_record_is_of_one_moment)
{
    pthread_t threads[THREADS];
    is_over = false;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, record_and_forget, NULL);
    size_t wrong = 0;
    for (int i = 0; i < SNAPSHOTS; i++) {
        struct profile_row row = row_of(1700);
        wrong += row.inuse.samples > THREADS;
        wrong += row.inuse.objects != 8 * (double)row.inuse.samples;
        wrong += row.alloc.objects != 8 * (double)row.alloc.samples;
    }
    is_over = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(wrong, 0);
}

/* Comes last: the pause is remembered. */
TEST(profile, memory_allocated_while_the_profiler_was_off_calibrates_nothing)
{
    sample_tag tags[4 * CALIBRATION_SAMPLES];
    for (size_t i = 0; i < array_count(tags); i++)
        tags[i] = record_here(7300, 0.01);
    sampler_set_interval(0);
    sampler_set_interval(65536);
    struct snapshot snapshot;
    CHECK(snapshot_take(&snapshot));
    snapshot_calibrate(&snapshot, (size_t)(snapshot.total.inuse.bytes * 1.1));
    CHECK(snapshot.calibration == 1);
    CHECK(sum_of_inuse(&snapshot) == snapshot.total.inuse.bytes);
    snapshot_free(&snapshot);
    for (size_t i = 0; i < array_count(tags); i++)
        profile_forget(tags[i]);
}
