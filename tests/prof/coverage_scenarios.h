/* Programs that know exactly what they hold, for coverage.c: each scenario allocates from functions
 * of its own and states the truth about them, and about everything, as facts. The clock is theirs.
 */
#ifndef HPM_TESTS_COVERAGE_SCENARIOS_H
#define HPM_TESTS_COVERAGE_SCENARIOS_H

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "api/lifecycle.h"
#include "hpmalloc.h"
#include "prof/sampler.h"

enum { INTERVAL = 16384, BLOCKS_MAX = 60000, FACTS_MAX = 12, THREADS = 4 };

enum measure {
    LIVE_BYTES,
    LIVE_OBJECTS,
    ALLOC_BYTES,
    ALLOC_OBJECTS,
    PEAK_BYTES,
    LIFETIME,
    MEASURES
};

/* Of one function, exact; what is asked of it. */
struct fact {
    const char *name;
    const char *start, *limit; // its code; NULL: all rows
    double truth[MEASURES];
    bool asks[MEASURES];
};
static struct fact facts[FACTS_MAX];
static size_t fact_count;

static uint64_t clock_ns = 1000000000;

uint64_t __wrap_os_clock_coarse_ns(void);
uint64_t __wrap_os_clock_coarse_ns(void)
{
    return clock_ns;
}

static void *blocks[BLOCKS_MAX];
static size_t used;

/* A function that makes `count` blocks of a size, in a section of its own: the linker says where it
 * begins and ends. */
#define MAKER(name)                                                                                \
    extern const char start_##name[] __asm__("__start_truth_" #name);                              \
    extern const char limit_##name[] __asm__("__stop_truth_" #name);                               \
    __attribute__((noinline, noclone, section("truth_" #name))) static void name(size_t bytes,     \
                                                                                 size_t count)     \
    {                                                                                              \
        for (size_t i = 0; i < count; i++) {                                                       \
            blocks[used++] = hpm_malloc(bytes);                                                    \
            __asm__ volatile("" ::: "memory");                                                     \
        }                                                                                          \
    }

MAKER(tiny)
MAKER(small)
MAKER(middle)
MAKER(page)
MAKER(large)
MAKER(freed)
MAKER(half_freed)
MAKER(mixed)
MAKER(also_mixed)
MAKER(early)
MAKER(dense)
MAKER(sparse)
MAKER(late)
MAKER(samples_4)
MAKER(samples_8)
MAKER(samples_12)
MAKER(samples_20)
MAKER(constant)
MAKER(uniform)
MAKER(exponential)
MAKER(short_or_long)

/* The fact of this name, begun when it is new. */
static struct fact *fact_of(const char *name, const char *start, const char *limit)
{
    size_t i = 0;
    while (i < fact_count && strcmp(facts[i].name, name) != 0)
        i++;
    if (i == fact_count)
        facts[fact_count++] = (struct fact){.name = name, .start = start, .limit = limit};
    return &facts[i];
}

#define FACT(name) fact_of(#name, start_##name, limit_##name)

static struct fact *everything(void)
{
    return fact_of("everything", NULL, NULL);
}

static void learn_one(struct fact *fact, enum measure measure, double amount)
{
    fact->truth[measure] += amount;
    fact->asks[measure] = true;
}

static void learn_live(struct fact *fact, size_t bytes, double objects)
{
    learn_one(fact, LIVE_OBJECTS, objects);
    learn_one(fact, LIVE_BYTES, objects * (double)hpm_nallocx(bytes));
    if (fact->start != NULL)
        learn_live(everything(), bytes, objects);
}

static void learn_alloc(struct fact *fact, size_t bytes, double objects)
{
    learn_one(fact, ALLOC_OBJECTS, objects);
    learn_one(fact, ALLOC_BYTES, objects * (double)hpm_nallocx(bytes));
    if (fact->start != NULL)
        learn_alloc(everything(), bytes, objects);
}

static void learn_peak(struct fact *fact, size_t bytes, double objects)
{
    learn_one(fact, PEAK_BYTES, objects * (double)hpm_nallocx(bytes));
    learn_one(everything(), PEAK_BYTES, objects * (double)hpm_nallocx(bytes));
    learn_alloc(fact, bytes, objects);
}

/* Makes blocks that stay. */
#define MAKE(name, bytes, count)                                                                   \
    (name((bytes), (count)), learn_live(FACT(name), (bytes), (count)),                             \
     learn_alloc(FACT(name), (bytes), (count)))

static void free_blocks(size_t from, size_t to, size_t step)
{
    for (size_t i = from; i < to; i += step)
        hpm_free(blocks[i]);
}

static uint64_t seed;

/* Where most of the objects are samples, their number is known but for a few, and as a whole
 * number: how often an interval covers it goes up and down with the truth, which is why that
 * varies. */
static size_t varied(size_t count)
{
    return count + seed % 16;
}

static void sizes(void)
{
    MAKE(tiny, 24, 20000);
    MAKE(small, 200, 8000);
    MAKE(middle, 3000, 200);
    MAKE(page, 30000, varied(60));
    MAKE(large, 40000, varied(40));
    size_t first = used;
    freed(500, 1000);
    free_blocks(first, used, 1);
    learn_alloc(FACT(freed), 500, 1000);
    first = used;
    half_freed(700, 2000);
    free_blocks(first, used, 2);
    learn_alloc(FACT(half_freed), 700, 2000);
    learn_live(FACT(half_freed), 700, 1000);
}

static void mixes(void)
{
    static const size_t lengths[] = {16, 100, 1000, 9000, 33000};
    MAKE(tiny, 16, 10000);
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < array_count(lengths); i++)
            MAKE(mixed, lengths[i], 100000 / (lengths[i] + 200));
        MAKE(also_mixed, 32, 200);
        MAKE(also_mixed, 3000, 4);
    }
}

static void intervals(void)
{
    MAKE(early, 1000, 500);
    hpm_profile_set_interval(2048);
    MAKE(dense, 1000, 300);
    hpm_profile_set_interval(65536);
    MAKE(sparse, 1000, 2000);
    hpm_profile_set_interval(INTERVAL);
    MAKE(late, 1000, 1000);
    size_t first = used;
    freed(1000, 300);
    hpm_profile_set_interval(8192);
    freed(1000, 300);
    free_blocks(first, used, 2);
    learn_alloc(FACT(freed), 1000, 600);
    learn_live(FACT(freed), 1000, 300);
    hpm_profile_set_interval(INTERVAL);
}

extern const char start_grow[] __asm__("__start_truth_grow");
extern const char limit_grow[] __asm__("__stop_truth_grow");
__attribute__((noinline, noclone, section("truth_grow"))) static void grow(size_t index,
                                                                           size_t bytes)
{
    blocks[index] = hpm_realloc(blocks[index], bytes);
    __asm__ volatile("" ::: "memory");
}

extern const char start_grow_large[] __asm__("__start_truth_grow_large");
extern const char limit_grow_large[] __asm__("__stop_truth_grow_large");
__attribute__((noinline, noclone, section("truth_grow_large"))) static void grow_large(size_t index,
                                                                                       size_t bytes)
{
    blocks[index] = hpm_realloc(blocks[index], bytes);
    __asm__ volatile("" ::: "memory");
}

/* Chains in step, so that the next length finds the freed ones of others; only the last length
 * lives. */
static void resizes(void)
{
    enum { CHAINS = 1000 };
    size_t large_chains = varied(60);
    MAKE(tiny, 24, 10000);
    size_t first = used;
    freed(100, CHAINS);
    learn_alloc(FACT(freed), 100, CHAINS);
    for (size_t bytes = 300; bytes <= 900; bytes += 300) {
        for (size_t i = 0; i < CHAINS; i++)
            grow(first + i, bytes);
        learn_alloc(FACT(grow), bytes, CHAINS);
    }
    learn_live(FACT(grow), 900, CHAINS);
    first = used;
    freed(10000, large_chains);
    learn_alloc(FACT(freed), 10000, (double)large_chains);
    for (size_t i = 0; i < large_chains; i++)
        grow_large(first + i, 33000);
    learn_alloc(FACT(grow_large), 33000, (double)large_chains);
    learn_live(FACT(grow_large), 33000, (double)large_chains);
}

static void reseed(uint64_t number)
{
    sampler_init(&lifecycle_thread()->sampler, seed * 1000 + number);
}

enum { ROW = 3000 };
static void *rows[THREADS][ROW];

extern const char start_fill[] __asm__("__start_truth_fill");
extern const char limit_fill[] __asm__("__stop_truth_fill");
__attribute__((noinline, noclone, section("truth_fill"))) static void *fill(void *row)
{
    reseed((uint64_t)((void **)row - &rows[0][0]) + 1);
    for (size_t i = 0; i < ROW; i++)
        ((void **)row)[i] = hpm_malloc(i % 2 ? 100 : 400);
    __asm__ volatile("" ::: "memory");
    return NULL;
}

/* Frees what the thread before it made. */
static void *empty(void *row)
{
    for (size_t i = 0; i < ROW; i++)
        hpm_free(((void **)row)[i]);
    return NULL;
}

static void run_threads(void *(*function)(void *), size_t count)
{
    pthread_t thread[THREADS];
    for (size_t i = 0; i < count; i++)
        pthread_create(&thread[i], NULL, function, rows[i]);
    for (size_t i = 0; i < count; i++)
        pthread_join(thread[i], NULL);
}

static void threads(void)
{
    enum { EMPTIED = THREADS / 2 };
    MAKE(small, 200, 8000);
    run_threads(fill, THREADS);
    run_threads(empty, EMPTIED);
    for (size_t i = 0; i < ROW; i += 4)
        hpm_free(rows[EMPTIED][i]);
    learn_alloc(FACT(fill), 400, THREADS * ROW / 2);
    learn_alloc(FACT(fill), 100, THREADS * ROW / 2);
    learn_live(FACT(fill), 400, (THREADS - EMPTIED) * ROW / 2 - ROW / 4);
    learn_live(FACT(fill), 100, (THREADS - EMPTIED) * ROW / 2);
    MAKE(half_freed, 700, 1000);
}

/* Nearly all of the heap is one function's, the rest is too little to be sampled as a rule. */
static void alone(void)
{
    MAKE(small, 200, 8000);
    tiny(24, 400);
    learn_live(everything(), 24, 400);
    learn_alloc(everything(), 24, 400);
}

/* As many samples as the names say, on average, out of some hundreds. */
static void few(void)
{
    enum { EACH = INTERVAL / 64 };
    MAKE(samples_4, 64, 4 * EACH);
    MAKE(samples_8, 64, 8 * EACH);
    MAKE(samples_12, 64, 12 * EACH);
    MAKE(samples_20, 64, 20 * EACH);
    MAKE(small, 64, 100 * EACH);
}

/* Up to a peak and down again; what comes then is less. */
static void peaks(void)
{
    small(200, 8000);
    learn_peak(FACT(small), 200, 8000);
    size_t pages = varied(60);
    page(30000, pages);
    learn_peak(FACT(page), 30000, (double)pages);
    for (size_t i = 0; i < 8; i++) {
        mixed(64 << i, 4000 >> i);
        learn_peak(FACT(mixed), 64 << i, 4000 >> i);
    }
    free_blocks(0, used, 1);
    used = 0;
    MAKE(late, 200, 4000);
}

/* Frees the block when it is as old as that. All are born at once. */
static void free_at_age(size_t index, uint64_t age_ns)
{
    clock_ns = 1000000000 + age_ns;
    hpm_free(blocks[index]);
    clock_ns = 1000000000;
}

static double unit_of(size_t i, size_t count)
{
    return ((double)(i * 7919 % count) + 0.5) / (double)count;
}

static double seconds_of(const char *kind, double unit)
{
    if (strcmp(kind, "uniform") == 0)
        return 100 * unit;
    if (strcmp(kind, "exponential") == 0)
        return -100 * log(unit);
    return strcmp(kind, "constant") == 0 ? 7 : unit < 0.75 ? 1 : 100;
}

static void live_and_die(struct fact *fact, void (*maker)(size_t, size_t), size_t bytes,
                         size_t count)
{
    double sum = 0;
    size_t first = used;
    maker(bytes, count);
    for (size_t i = 0; i < count; i++) {
        uint64_t ns = (uint64_t)(1e9 * seconds_of(fact->name, unit_of(i, count)));
        sum += (double)ns / 1e9;
        free_at_age(first + i, ns);
    }
    learn_one(fact, LIFETIME, sum / (double)count);
}

static void lives(void)
{
    live_and_die(FACT(constant), constant, 100, 4000);
    live_and_die(FACT(uniform), uniform, 100, 4000);
    live_and_die(FACT(exponential), exponential, 200, 8000);
    live_and_die(FACT(short_or_long), short_or_long, 200, 4000);
}

static const struct scenario {
    const char *name;
    void (*run)(void);
} scenarios[] = {{"sizes", sizes},     {"mixed sizes", mixes}, {"intervals", intervals},
                 {"resizes", resizes}, {"threads", threads},   {"one stack alone", alone},
                 {"few samples", few}, {"peak", peaks},        {"lifetimes", lives}};

#endif
