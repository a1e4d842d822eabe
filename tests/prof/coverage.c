/* Whether 95 % intervals cover the truth 95 times in 100: the same program under many seeds.
 *
 *   [COVERAGE_SEEDS=100] coverage
 *
 * Each scenario is run by a child a seed, which knows exactly what it holds, takes a snapshot as a
 * dump does, and leaves estimate, interval and truth for each function and measure in shared
 * memory. The parent judges: how often the interval covers, and how far the mean error is from 0,
 * in its own standard errors. The library is linked in, with its hpm_ names only, and the clock is
 * ours.
 *
 * A function whose memory was not sampled at all has no row, and so no interval: that is a miss. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "prof/coverage_scenarios.h"
#include "prof/profile.h"
#include "prof/spread.h"
#include "report/numbers.h"
#include "report/rows.h"
#include "report/stats.h"

enum { SEEDS_MAX = 10000 };

static const char *const measure_names[] = {"live bytes",        "live objects", "allocated bytes",
                                            "allocated objects", "peak bytes",   "lifetime"};

struct result {
    double truth, estimate, half; // half the width of the interval
    bool is_asked, is_known;
};
typedef struct result results[FACTS_MAX][MEASURES];

static bool is_of(const struct fact *fact, const struct stack *stack)
{
    if (stack == NULL)
        return false;
    for (size_t i = 0; i < stack->depth && i < 6; i++) {
        const char *frame = (const char *)stack->frames[i];
        if (frame > fact->start && frame <= fact->limit)
            return true;
    }
    return false;
}

static struct result estimated(double value, double spread)
{
    return (struct result){
        .estimate = value, .half = numbers_error_95(spread), .is_known = value > 0};
}

static struct result of_bytes(const struct estimate *e)
{
    return estimated(e->bytes, spread_of(e->bytes, e->bytes_variance));
}

static struct result of_objects(const struct estimate *e)
{
    return estimated(e->objects, spread_of(e->objects, e->objects_variance));
}

static struct result lifetime_result(const struct stack *stack)
{
    struct lifetimes lifetimes;
    double variance;
    stacktab_lifetimes(stack, &lifetimes);
    double mean = lifetimes_mean(&lifetimes, &variance);
    return estimated(mean, lifetimes_mean_spread(&lifetimes, variance));
}

static struct result result_of(const struct snapshot *snapshot, const struct profile_row *row,
                               enum measure measure)
{
    bool is_total = row == &snapshot->total;
    switch (measure) {
    case LIVE_BYTES:
        return is_total ? of_bytes(&row->inuse)
                        : estimated(row->inuse.bytes, spread_of_inuse(snapshot, &row->inuse));
    case LIVE_OBJECTS:
        return of_objects(&row->inuse);
    case ALLOC_BYTES:
        return of_bytes(&row->alloc);
    case ALLOC_OBJECTS:
        return of_objects(&row->alloc);
    case PEAK_BYTES:
        return of_bytes(&row->peak);
    default:
        return lifetime_result(row->stack);
    }
}

static void gather(const struct snapshot *snapshot, const struct fact *fact,
                   const struct profile_row *row, struct result *to)
{
    for (enum measure m = 0; m < MEASURES; m++) {
        struct result result = result_of(snapshot, row, m);
        result.truth = fact->truth[m];
        result.is_asked = fact->asks[m];
        to[m] = result;
    }
}

/* A function that was called from several places has as many stacks. */
static struct profile_row add_rows(const struct row_set *set, const struct fact *fact)
{
    struct profile_row sum = {.stack = NULL};
    for (size_t i = 0; i < set->count; i++) {
        if (!is_of(fact, set->rows[i].stack))
            continue;
        sum.stack = set->rows[i].stack;
        profile_row_add(&sum, &set->rows[i]);
    }
    return sum;
}

/* As a dump does it, with the rows that text prints: one a stack. */
static bool take_results(results to)
{
    struct hpm_stats stats;
    struct snapshot snapshot;
    struct row_set set;
    stats_collect(&stats);
    if (!snapshot_take(&snapshot))
        return false;
    snapshot_calibrate(&snapshot, stats.live_bytes);
    if (!rows_merge(&set, &snapshot))
        return false;
    for (size_t i = 0; i < fact_count; i++) {
        struct profile_row sum = add_rows(&set, &facts[i]);
        gather(&snapshot, &facts[i], facts[i].start == NULL ? &snapshot.total : &sum, to[i]);
    }
    return true;
}

/* What the children found, and the names of the facts. */
static struct shared {
    results of_seed[SEEDS_MAX];
    char names[FACTS_MAX][32];
} * shared;

static int run_child(const struct scenario *scenario, uint64_t number)
{
    seed = number + 1;
    reseed(0);
    hpm_profile_set_interval(INTERVAL);
    scenario->run();
    for (size_t i = 0; i < fact_count; i++)
        strcpy(shared->names[i], facts[i].name);
    return !take_results(shared->of_seed[number]);
}

static bool run_scenario(const struct scenario *scenario, size_t seeds)
{
    memset(shared, 0, sizeof(*shared));
    for (size_t number = 0; number < seeds; number++) {
        int status;
        pid_t child = fork();
        if (child == 0)
            _exit(run_child(scenario, number));
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
            return false;
    }
    return true;
}

/* Over all seeds. The mean error is in its own standard errors. */
struct verdict {
    double coverage, mean_error;
    size_t unknown; // had no row
    bool is_exact;  // hardly ever off: nothing to cover
};

static struct verdict judge(size_t fact, enum measure measure, size_t seeds)
{
    double sum = 0, squares = 0;
    size_t covered = 0, unknown = 0, exact = 0;
    for (size_t number = 0; number < seeds; number++) {
        const struct result *result = &shared->of_seed[number][fact][measure];
        double error = result->estimate - result->truth;
        covered += result->is_known && fabs(error) <= result->half;
        exact += fabs(error) <= 1e-6 * result->truth;
        unknown += !result->is_known;
        sum += error;
        squares += error * error;
    }
    double n = (double)seeds, mean = sum / n, variance = squares / n - mean * mean;
    if (exact * 100 >= seeds * 99)
        return (struct verdict){.is_exact = true};
    return (struct verdict){.coverage = 100 * (double)covered / n,
                            .mean_error = mean / sqrt(variance / n),
                            .unknown = unknown};
}

/* Limits for a number of seeds. With fewer than a thousand, chance is given room. */
static struct limits {
    double low, high, mean_error;
} limits;

static size_t test_count, fail_count, mean_count, close_mean_count;
static double coverage_sum;

static void report(const char *scenario, const char *what, bool is_right)
{
    test_count++;
    fail_count += !is_right;
    printf("%s %zu - coverage: %s: %s\n", is_right ? "ok" : "not ok", test_count, scenario, what);
}

/* Where the interval is to cover at least as often: fewer samples than it is made for, and the
 * calibrated row of the one stack, which is off by what the others hold, of which nothing is known
 * but that it was too little to be sampled. */
static bool is_bound(const struct scenario *scenario, const char *name)
{
    return scenario->run == alone || strcmp(name, "samples_4") == 0;
}

/* A calibrated row is off by up to a fifteenth of its standard deviation where its samples are nearly
 * certain: its part of the variance, by which it is shifted, is itself known from the samples. */
static bool is_balanced(enum measure measure, double mean_error, size_t seeds)
{
    bool is_calibrated = measure == LIVE_BYTES || measure == LIVE_OBJECTS;
    double deviations = fabs(mean_error) / sqrt((double)seeds);
    return fabs(mean_error) <= limits.mean_error || (is_calibrated && deviations <= 0.075);
}

static void report_measure(const struct scenario *scenario, enum measure measure, size_t seeds)
{
    bool is_asked = false, covers = true, is_unbiased = true;
    char what[100];
    for (size_t fact = 0; fact < FACTS_MAX; fact++) {
        if (!shared->of_seed[0][fact][measure].is_asked)
            continue;
        struct verdict verdict = judge(fact, measure, seeds);
        if (verdict.is_exact)
            continue;
        printf("# %-12s %-13s %-17s covered %5.1f %%, mean error %5.2f, %zu without a row\n",
               scenario->name, shared->names[fact], measure_names[measure], verdict.coverage,
               verdict.mean_error, verdict.unknown);
        is_asked = true;
        covers &= verdict.coverage >= limits.low &&
                  (verdict.coverage <= limits.high || is_bound(scenario, shared->names[fact]));
        is_unbiased &= is_balanced(measure, verdict.mean_error, seeds);
        mean_count++;
        coverage_sum += verdict.coverage;
        close_mean_count += fabs(verdict.mean_error) <= 1;
    }
    if (!is_asked)
        return;
    snprintf(what, sizeof(what), "the intervals of %s cover", measure_names[measure]);
    report(scenario->name, what, covers);
    snprintf(what, sizeof(what), "the errors of %s balance", measure_names[measure]);
    report(scenario->name, what, is_unbiased);
}

int main(void)
{
    const char *wanted = getenv("COVERAGE_SEEDS");
    size_t seeds = wanted != NULL ? (size_t)atol(wanted) : 100;
    if (seeds < 2 || seeds > SEEDS_MAX)
        return 2;
    limits = seeds >= 1000 ? (struct limits){93, 97, 3.5} : (struct limits){86, 100, 4};
    setvbuf(stdout, NULL, _IOLBF, 4096);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 2;
    for (size_t i = 0; i < array_count(scenarios); i++) {
        report(scenarios[i].name, "every run ended well", run_scenario(&scenarios[i], seeds));
        for (enum measure measure = 0; measure < MEASURES; measure++)
            report_measure(&scenarios[i], measure, seeds);
    }
    printf("# %zu of %zu mean errors are within one standard error (by chance %.0f); the mean "
           "coverage is %.1f %%\n",
           close_mean_count, mean_count, 0.683 * (double)mean_count,
           coverage_sum / (double)mean_count);
    printf("1..%zu\n", test_count);
    return fail_count != 0;
}
