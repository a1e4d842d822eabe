/* What hpprof's trend says of courses of known truth, hundreds of each, in no time:
 *
 *   courses RUNS SEED  --a line for each kind, number of snapshots and interval-->  courses.py
 *
 * A course is what one stack allocates and frees, as the library's sampler would see it: objects of
 * so many bytes are drawn with p = 1 - exp(-bytes/interval), and stand for 1/p each. Snapshots are
 * ten seconds apart. Lifetimes and such are told as parts of the time that was watched. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hpprof.h"
#include "trend.h"

enum { MOMENTS_MAX = 30, WAITING_MAX = 1000 };

#define STEP_SECONDS 10.0
#define TICK_SECONDS 0.4        // the same number in each step
#define GROWTH_BYTES (12 << 20) // of what is kept, in the time watched, more or less
#define OBJECT_BYTES 1000.0
#define FOREVER      INFINITY
#define LONG_AGO     20.0 // times as long as was watched

struct course {
    size_t count; // of moments
    double watched, interval;
    double begin; // of the process: before the first moment, at 0
    double born[MOMENTS_MAX], live[MOMENTS_MAX], variance[MOMENTS_MAX], grain;
};

int failed(const char *format, ...)
{
    fprintf(stderr, "%s\n", format);
    return STATUS_FAILED;
}

static double uniform(void)
{
    return (rand() + 0.5) / (RAND_MAX + 1.0);
}

static double normal(void)
{
    return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform());
}

static long poisson(double mean)
{
    long count = 0;
    if (mean > 500)
        return lround(fmax(0, mean + sqrt(mean) * normal()));
    for (double left = exp(-mean), product = uniform(); product > left; product *= uniform())
        count++;
    return count;
}

static double exponential(double mean)
{
    return -mean * log(uniform());
}

static double lognormal(double middle, double sigma)
{
    return middle * exp(sigma * normal());
}

/* One that was drawn. */
static void record(struct course *course, double birth, double death, double bytes)
{
    double p = -expm1(-bytes / course->interval);
    double weight = 1 / p;
    for (size_t i = 0; i < course->count; i++) {
        double now = (double)i * STEP_SECONDS;
        if (birth > now)
            continue;
        course->born[i] += weight * bytes;
        if (death <= now)
            continue;
        course->live[i] += weight * bytes;
        course->variance[i] += weight * bytes * bytes * (1 - p) / p;
    }
    course->grain = fmax(course->grain, bytes * sqrt(1 - p) / p);
}

static bool is_drawn(const struct course *course, double bytes)
{
    return uniform() < -expm1(-bytes / course->interval);
}

/* How many of so many bytes in small objects are drawn. */
static long drawn(const struct course *course, double bytes)
{
    return poisson(bytes / OBJECT_BYTES * -expm1(-OBJECT_BYTES / course->interval));
}

static void allocate(struct course *course, double seconds, double bytes, double lifetime)
{
    for (long i = drawn(course, bytes); i > 0; i--)
        record(course, seconds, seconds + lifetime, OBJECT_BYTES);
}

/* The time from the beginning to the last moment, in small parts. */
#define EACH_TICK(course, at, width)                                                               \
    for (double width = TICK_SECONDS, at = (course)->begin + width / 2; at < (course)->watched;    \
         at += width)

/* So many bytes a time watched, each of which lives as long as the expression says. */
#define STREAM(course, bytes_a_watch, lifetime)                                                    \
    EACH_TICK(course, at, width)                                                                   \
    {                                                                                              \
        double bytes = (bytes_a_watch)*width / (course)->watched;                                  \
        for (long i = drawn(course, bytes); i > 0; i--)                                            \
            record(course, at, at + (lifetime), OBJECT_BYTES);                                     \
    }

static void leak(struct course *course, double rate)
{
    STREAM(course, rate * GROWTH_BYTES, FOREVER)
}

static void ttl(struct course *course, double lifetime)
{
    STREAM(course, GROWTH_BYTES, lifetime * course->watched)
}

static void sessions(struct course *course, double least)
{
    STREAM(course, GROWTH_BYTES, course->watched * least * (1 + uniform()))
}

static void spread(struct course *course, double mean)
{
    STREAM(course, fmax(1, 1 / mean) * GROWTH_BYTES, exponential(mean * course->watched))
}

static void skewed(struct course *course, double middle)
{
    STREAM(course, fmax(1, 0.6 / middle) * GROWTH_BYTES, lognormal(middle * course->watched, 1))
}

/* The cache misses less and less. */
static void warm_up(struct course *course, double time)
{
    EACH_TICK(course, at, width)
    {
        double now = (at - course->begin) / course->watched / time;
        allocate(course, at, GROWTH_BYTES / time * exp(-now) * width / course->watched, FOREVER);
    }
}

static void fill(struct course *course, double time)
{
    EACH_TICK(course, at, width)
    {
        if (at - course->begin < time * course->watched)
            allocate(course, at, GROWTH_BYTES * width / course->watched, FOREVER);
    }
}

/* Requests live for `lifetime`; there are four times as many in the end as at first. */
static void load(struct course *course, double lifetime)
{
    STREAM(course, fmax(1, 0.5 / lifetime) * GROWTH_BYTES * (0.4 + 1.2 * at / course->watched),
           exponential(lifetime * course->watched))
}

static void load_then_flat(struct course *course, double lifetime)
{
    STREAM(course,
           fmax(1, 0.5 / lifetime) * GROWTH_BYTES * fmin(1.6, 0.4 + 2.4 * at / course->watched),
           exponential(lifetime * course->watched))
}

/* All of a period is freed at its end. */
static void batch(struct course *course, double period)
{
    double seconds = period * course->watched, phase = uniform() * seconds;
    STREAM(course, GROWTH_BYTES / period, seconds - fmod(at - course->begin + phase, seconds))
}

static void steady(struct course *course, double lifetime)
{
    STREAM(course, GROWTH_BYTES / lifetime, exponential(lifetime * course->watched))
}

/* A queue of jobs whose length wanders about. */
static void wander(struct course *course, double amount)
{
    double waiting[WAITING_MAX];
    long count = 0;
    EACH_TICK(course, at, width)
    {
        if (count < WAITING_MAX && (count < 3 || uniform() < 0.5))
            waiting[count++] = at;
        else
            count--;
        if (count > 0 && waiting[count - 1] < at)
            for (long k = drawn(course, amount * GROWTH_BYTES / 20); k > 0; k--)
                record(course, waiting[count - 1], at, OBJECT_BYTES);
    }
    for (; count > 0; count--)
        allocate(course, waiting[count - 1], amount * GROWTH_BYTES / 20, FOREVER);
}

/* One in `in` is never freed, and the others soon are. */
static void trickle(struct course *course, double in)
{
    STREAM(course, in * GROWTH_BYTES,
           uniform() < 1 / in ? FOREVER : exponential(0.01 * course->watched))
}

/* The load falls to a fifth, and with it the leak. */
static void ebb(struct course *course, double in)
{
    STREAM(course, in * GROWTH_BYTES * (1.5 - 1.2 * at / course->watched),
           uniform() < 1 / in ? FOREVER : exponential(0.01 * course->watched))
}

/* One in three, and the others live for a good while. */
static void trickle_slowly(struct course *course, double lifetime)
{
    STREAM(course, 3 * GROWTH_BYTES,
           uniform() < 1.0 / 3 ? FOREVER : exponential(lifetime * course->watched))
}

/* By chance, many at once. */
static void burst(struct course *course, double bursts)
{
    EACH_TICK(course, at, width)
    {
        if (uniform() < bursts * width / course->watched)
            allocate(course, at, GROWTH_BYTES / bursts * 2 * uniform(), FOREVER);
    }
}

static void rare(struct course *course, double blocks)
{
    double apart = course->watched / blocks;
    for (double at = course->begin + uniform() * apart; at < course->watched; at += apart) {
        if (is_drawn(course, GROWTH_BYTES / blocks))
            record(course, at, FOREVER, GROWTH_BYTES / blocks);
    }
}

/* The rate goes up and down by a third. */
static void tide(struct course *course, double period)
{
    double phase = uniform();
    STREAM(course,
           GROWTH_BYTES * (1 + 0.33 * sin(2 * M_PI * (at / course->watched / period + phase))),
           FOREVER)
}

/* Work that comes and goes, of which a part stays each time. */
static void sawtooth(struct course *course, double period)
{
    double seconds = period * course->watched, phase = uniform() * seconds;
    STREAM(course, 3 * GROWTH_BYTES,
           uniform() < 1.0 / 3 ? FOREVER : seconds - fmod(at - course->begin + phase, seconds))
}

static void late(struct course *course, double start)
{
    STREAM(course, 2 * GROWTH_BYTES, at < start * course->watched ? 0.001 : FOREVER)
}

/* What may be said of it: L, G, P (plateau), K (peak), N (not enough data), any with `*` but a
 * leak; in the order of what is wanted. `?`: nobody can know, for it is a leak as far as one can
 * see. */
static const struct kind {
    const char *name, *right;
    void (*run)(struct course *course, double parameter);
    double parameter;
    double history; // watched times before the first snapshot; 0: from its start
} kinds[] = {
    {"leak", "L", leak, 1, 0},
    {"leak, begun long ago", "L", leak, 1, LONG_AGO},
    {"leak, twice as fast", "L", leak, 2, 0},
    {"leak, up and down in short", "L", tide, 0.15, 0},
    {"leak, up and down in long", "L", tide, 0.6, 0},
    {"leak of 1 in 3", "L", trickle, 3, 0},
    {"leak of 1 in 10", "L", trickle, 10, 0},
    {"leak of 1 in 10, begun long ago", "L", trickle, 10, LONG_AGO},
    {"leak of 1 in 50", "L", trickle, 50, 0},
    {"leak of 1 in 10, while the load falls", "L", ebb, 10, 0},
    {"leak of 1 in 3, others live 0.1", "L", trickle_slowly, 0.1, 0},
    {"leak of 1 in 3, others live 0.1, begun long ago", "L", trickle_slowly, 0.1, LONG_AGO},
    {"leak in 40 bursts", "L", burst, 40, 0},
    {"leak of 24 large ones", "L", rare, 24, 0},
    {"leak of 12 large ones", "L", rare, 12, 0},
    {"leak of 4 large ones", "LG", rare, 4, 0},
    {"sawtooth that rises, period 0.1", "LG", sawtooth, 0.1, 0},
    {"sawtooth that rises, period 0.2", "LG", sawtooth, 0.2, 0},
    {"leak since 0.3", "LG", late, 0.3, 0},
    {"leak since 0.5", "LG", late, 0.5, 0},
    {"entries live 0.2", "*", ttl, 0.2, 0},
    {"entries live 0.5", "*", ttl, 0.5, 0},
    {"entries live 0.75", "*", ttl, 0.75, 0},
    {"entries live 0.9", "*", ttl, 0.9, 0},
    {"entries live 1", "?", ttl, 1, 0},
    {"entries live 2", "?", ttl, 2, 0},
    {"entries live 2, since long ago", "*", ttl, 2, LONG_AGO},
    {"sessions of 0.25 to 0.5", "*", sessions, 0.25, 0},
    {"sessions of 0.5 to 1", "*", sessions, 0.5, 0},
    {"sessions of 0.7 to 1.4", "*", sessions, 0.7, 0},
    {"sessions of 0.5 to 1, since long ago", "*", sessions, 0.5, LONG_AGO},
    {"exponential lives of 0.1", "*", spread, 0.1, 0},
    {"exponential lives of 0.2", "*", spread, 0.2, 0},
    {"exponential lives of 0.4", "*", spread, 0.4, 0},
    {"exponential lives of 0.7", "*", spread, 0.7, 0},
    {"exponential lives of 1", "*", spread, 1, 0},
    {"exponential lives of 2", "?", spread, 2, 0},
    {"exponential lives of 1, since long ago", "*", spread, 1, LONG_AGO},
    {"skewed lives of 0.1", "*", skewed, 0.1, 0},
    {"skewed lives of 0.3", "*", skewed, 0.3, 0},
    {"skewed lives of 0.7", "*", skewed, 0.7, 0},
    {"warm-up in 0.15", "*", warm_up, 0.15, 0},
    {"warm-up in 0.3", "*", warm_up, 0.3, 0},
    {"warm-up in 0.5", "*", warm_up, 0.5, 0},
    {"warm-up in 1", "?", warm_up, 1, 0},
    {"cache that is full at 0.5", "*", fill, 0.5, 0},
    {"cache that is full at 0.7", "*", fill, 0.7, 0},
    {"cache that is full at 0.85", "*", fill, 0.85, 0},
    {"cache that is full at 0.95", "?", fill, 0.95, 0},
    {"load that grows, lives of 0.02", "*", load, 0.02, 0},
    {"load that grows, lives of 0.1", "*", load, 0.1, 0},
    {"load that grows, then not, lives of 0.05", "*", load_then_flat, 0.05, 0},
    {"load that grows, then not, lives of 0.2", "*", load_then_flat, 0.2, 0},
    {"batch of 0.25", "*", batch, 0.25, 0},
    {"batch of 0.5", "*", batch, 0.5, 0},
    {"batch of 0.8", "*", batch, 0.8, 0},
    {"batch of 1", "?", batch, 1, 0},
    {"steady, lives of 0.05", "*", steady, 0.05, LONG_AGO},
    {"steady, lives of 0.3", "*", steady, 0.3, LONG_AGO},
    {"queue that wanders", "*", wander, 1, 0},
};

static enum verdict judge(const struct course *course)
{
    struct moment moments[MOMENTS_MAX];
    for (size_t i = 0; i < course->count; i++)
        moments[i] = (struct moment){.seconds = (double)i * STEP_SECONDS,
                                     .value = course->live[i],
                                     .variance = course->variance[i],
                                     .grain = course->grain,
                                     .allocated = course->born[i]};
    return trend_judge(moments, course->count).verdict;
}

static void run(const struct kind *kind, size_t snapshots, double interval, int runs)
{
    int counts[VERDICT_COUNT] = {0};
    for (int i = 0; i < runs; i++) {
        struct course course = {.count = snapshots, .interval = interval};
        course.watched = STEP_SECONDS * (double)(snapshots - 1);
        course.begin = -uniform() * STEP_SECONDS - kind->history * course.watched;
        kind->run(&course, kind->parameter);
        counts[judge(&course)]++;
    }
    printf("%s\t%s\t%zu\t%.0f", kind->name, kind->right, snapshots, interval / 1024);
    for (int i = 0; i < VERDICT_COUNT; i++)
        printf("\t%d", counts[i]);
    putchar('\n');
}

int main(int count, char **arguments)
{
    static const size_t snapshots[] = {8, 13, 20};
    static const double intervals[] = {1024, 512, 256, 64, 16};
    if (count != 3) {
        fprintf(stderr, "courses RUNS SEED\n");
        return 2;
    }
    srand((unsigned)atol(arguments[2]));
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        for (size_t k = 0; k < sizeof(snapshots) / sizeof(snapshots[0]); k++) {
            for (size_t n = 0; n < sizeof(intervals) / sizeof(intervals[0]); n++)
                run(&kinds[i], snapshots[k], 1024 * intervals[n], atoi(arguments[1]));
        }
    }
    return 0;
}
