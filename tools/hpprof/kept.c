#include "kept.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "units.h"

#define SAMPLES_LEAST        16 // of growth
#define SAMPLES_BESIDE_FREES 24
#define FREED_LITTLE         0.05 // of what was allocated: no more than a few were freed
#define FREED_MUCH           0.2

/* A share of what was allocated in a part of the time, and its standard error. */
struct share {
    double kept, error;
};

double kept_share_freed(const struct moment *moments, size_t count)
{
    const struct moment *first = moments, *last = &moments[count - 1];
    double allocated = last->allocated - first->allocated;
    double kept = last->value - first->value;
    return allocated > 0 ? fmax(0, 1 - kept / allocated) : NAN;
}

double kept_expected(const struct moment *moments, size_t count, size_t since)
{
    const struct moment *first = moments, *middle = &moments[since], *last = &moments[count - 1];
    double pace = (middle->value - first->value) / fmax(middle->seconds - first->seconds, 1e-9);
    double by_time = pace * (last->seconds - middle->seconds);
    double share = (middle->value - first->value) / (middle->allocated - first->allocated);
    double by_share = share * (last->allocated - middle->allocated);
    if (!(kept_share_freed(moments, count) > FREED_MUCH) || !isfinite(by_share))
        return by_time;
    return fmin(by_time, fmax(by_share, 0.3 * by_time));
}

/* What one sample stands for, on average. */
static double sample_bytes(const struct moment *moments, size_t count)
{
    double variance = 0, value = 0;
    for (size_t i = 0; i < count; i++) {
        variance += moments[i].variance;
        value += moments[i].value;
    }
    return value > 0 ? variance / value : 0;
}

/* How far what is in use strays from its share of what was allocated, from one moment to the next:
 * the variance that is left where neither steady growth nor a bend in it counts. */
static double stray(const struct moment *moments, size_t count)
{
    double allocated = moments[count - 1].allocated - moments[0].allocated;
    double share = (moments[count - 1].value - moments[0].value) / allocated, sum = 0;
    for (size_t i = 1; i + 1 < count; i++) {
        const struct moment *a = &moments[i - 1], *b = &moments[i], *c = &moments[i + 1];
        double bend = a->value + c->value - 2 * b->value -
                      share * (a->allocated + c->allocated - 2 * b->allocated);
        sum += bend * bend / 6;
    }
    return sum / (double)(count - 2);
}

/* Each new one is kept or not, and each of those from before as well: p (1 - p) is a quarter at
 * most. */
static struct share share_between(const struct moment *from, const struct moment *to, double grain,
                                  double strayed)
{
    double allocated = to->allocated - from->allocated;
    if (!(allocated > 0))
        return (struct share){.kept = 0, .error = INFINITY};
    double kept = (to->value - from->value) / allocated;
    double inside = fmax(0, fmin(1, kept));
    double from_before = fmin((1 - inside) * allocated, from->value) / 4;
    double variance = grain * (inside * (1 - inside) * allocated + from_before) + 2 * strayed;
    return (struct share){.kept = kept, .error = sqrt(variance) / allocated};
}

/* The moment by which this part of what was allocated while it was watched had been. */
static size_t find_part(const struct moment *moments, size_t count, double part)
{
    double begin = moments[0].allocated, all = moments[count - 1].allocated - begin;
    size_t at = 1;
    while (at + 2 < count && moments[at].allocated - begin < part * all)
        at++;
    return at;
}

/* Late against early. Where almost all is kept at first, a little less is a sign that it is freed
 * in the end; where most is freed at once, what is left is spread over so much longer a time that
 * it would have to become far less. */
static bool keeps_its_share(const struct moment *moments, size_t count, double part, double errors)
{
    const struct moment *middle = &moments[find_part(moments, count, part)];
    const struct moment *last = &moments[count - 1];
    double grain = sample_bytes(moments, count), strayed = stray(moments, count);
    struct share early = share_between(moments, middle, grain, strayed);
    struct share late = share_between(middle, last, grain, strayed);
    if (!(early.kept > 0))
        return late.kept > 0;
    double ratio = late.kept / early.kept;
    double error = hypot(late.error, ratio * early.error) / early.kept;
    double wanted = 0.45 + 0.5 * fmin(1, early.kept * early.kept);
    bool has_begun = early.kept > 0.85 && ratio < 0.92 && 1 - ratio > 2 * error;
    return ratio - wanted > errors * error && !has_begun;
}

/* What grew in `length` intervals up to a moment. */
static double growth_until(const struct moment *moments, size_t end, size_t length)
{
    return moments[end].value - moments[end - length].value;
}

/* Whether the last intervals fall behind their pace until then, and behind as many at any time
 * before: what comes in lumps pauses now and then. */
static bool pauses(const struct moment *moments, size_t count, size_t length, double share)
{
    if (length == 0)
        return false;
    size_t before = count - 1 - length;
    double late = growth_until(moments, count - 1, length), least = INFINITY;
    for (size_t end = length; end <= before; end++)
        least = fmin(least, growth_until(moments, end, length));
    double expected = kept_expected(moments, count, before);
    return late < share * expected && late < 0.8 * least &&
           expected - late > 1.6 * sqrt(sample_bytes(moments, count) * expected);
}

/* When it grew, on average: 0.5 if it did so steadily, less the sooner it did. */
static double middle_of_growth(const struct moment *moments, size_t count)
{
    const struct moment *first = moments, *last = &moments[count - 1];
    double area = 0;
    for (size_t i = 1; i < count; i++)
        area += ((moments[i].value + moments[i - 1].value) / 2 - first->value) *
                (moments[i].seconds - moments[i - 1].seconds);
    return 1 - area / (last->value - first->value) / (last->seconds - first->seconds);
}

/* The error of that middle which lumps larger than a sample make. */
static double lump_error(const struct moment *moments, size_t count)
{
    double growth = moments[count - 1].value - moments[0].value, squares = 0;
    for (size_t i = 2; i < count; i++) {
        double change = moments[i].value + moments[i - 2].value - 2 * moments[i - 1].value;
        squares += change * change / 2;
    }
    double lump = squares / (double)(count - 2) * (double)(count - 1) / growth;
    return sqrt(fmax(0, lump - sample_bytes(moments, count)) / 12 / growth);
}

static bool slows_down(const struct moment *moments, size_t count)
{
    double freed = kept_share_freed(moments, count);
    size_t intervals = count - 1;
    bool is_kept = !(freed > FREED_MUCH);
    double growth = moments[intervals].value - moments[0].value;
    double error = sqrt(sample_bytes(moments, count) / 12 / growth);
    double early = 0.5 - fmax(0.06, 2 * error) - 2 * lump_error(moments, count);
    if (is_kept && middle_of_growth(moments, count) < early)
        return true;
    return pauses(moments, count, intervals / 3, 0.5) ||
           pauses(moments, count, intervals / 4, 0.45) ||
           pauses(moments, count, max_size(1, intervals / 6), 0.35);
}

/* Whether a fall took more than half of all there was, and it has not been reached again since. */
static bool was_emptied(const struct moment *moments, size_t count)
{
    double most = moments[0].value;
    for (size_t i = 1; i < count; i++) {
        double fall = most - moments[i].value;
        double error = sqrt(moments[i].variance + 9 * moments[i].grain * moments[i].grain);
        if (fall > 0.5 * most && fall > error)
            return true;
        most = fmax(most, moments[i].value);
    }
    return false;
}

/* Where things come and go, chance alone makes their number wander. Steady growth shows in each of
 * the intervals, and is more than three times what it strays by, or more yet if they are few. */
static bool wanders(const struct moment *moments, size_t count)
{
    double intervals = (double)(count - 1), squares = 0;
    double mean = (moments[count - 1].value - moments[0].value) / intervals;
    for (size_t i = 1; i < count; i++) {
        double away = moments[i].value - moments[i - 1].value - mean;
        squares += away * away;
    }
    double error = sqrt(squares / (intervals - 1) / intervals);
    return mean < 3 * (1 + 3 / intervals) * error;
}

/* What a rise of the load alone makes of it: as many more as are allocated in the time that they
 * live, or were watched in each half. */
static bool follows_load(const struct moment *moments, size_t count, char *reason)
{
    size_t half = (count - 1) / 2;
    const struct moment *first = moments, *middle = &moments[half];
    const struct moment *start = &moments[count - 1 - half], *last = &moments[count - 1];
    double seconds = middle->seconds - first->seconds, grain = sample_bytes(moments, count);
    double early = (middle->allocated - first->allocated) / seconds;
    double late = (last->allocated - start->allocated) / (last->seconds - start->seconds);
    double before = 0, after = 0;
    for (size_t i = 0; i <= half; i++) {
        before += moments[i].value / (double)(half + 1);
        after += moments[count - 1 - i].value / (double)(half + 1);
    }
    double life = fmin(before / early, seconds);
    double error = sqrt(grain * (early + late) / seconds);
    char texts[3][UNITS_TEXT_MAX];
    if (!(early > 0) || after - before > 2 * (late - early + error) * life)
        return false;
    if (late < 1.1 * early)
        snprintf(reason, TREND_REASON_MAX,
                 "it grows, but so little beside what comes and goes (it lives %s) that the load "
                 "may be why",
                 units_seconds(texts[2], before / early));
    else
        snprintf(reason, TREND_REASON_MAX,
                 "it follows the load: allocation rose from %s to %s a second, and what is "
                 "allocated lives hardly longer than before (%s)",
                 units_bytes(texts[0], early), units_bytes(texts[1], late),
                 units_seconds(texts[2], after / late));
    return true;
}

static bool is_freed_later(const struct moment *moments, size_t count, char *reason)
{
    char watched[UNITS_TEXT_MAX];
    if (keeps_its_share(moments, count, 0.5, 1.7) && keeps_its_share(moments, count, 0.75, 0.4))
        return false;
    snprintf(reason, TREND_REASON_MAX,
             "it grows, but of what is allocated less and less is kept: it may all be freed in the "
             "end, only later than the %s watched",
             units_seconds(watched, moments[count - 1].seconds - moments[0].seconds));
    return true;
}

bool kept_is_doubtful(const struct moment *moments, size_t count, char reason[TREND_REASON_MAX])
{
    double freed = kept_share_freed(moments, count);
    double growth = moments[count - 1].value - moments[0].value;
    double samples = freed > FREED_LITTLE ? SAMPLES_BESIDE_FREES : SAMPLES_LEAST;
    if (growth < samples * sample_bytes(moments, count))
        strcpy(reason,
               "it grows, but that is from few samples: a denser sampling interval, or longer "
               "would tell");
    else if (count < 4)
        return false;
    else if (slows_down(moments, count))
        strcpy(reason, "it grows, but has slowed down: it may be about to stop; longer would tell");
    else if (was_emptied(moments, count))
        strcpy(reason, "it grows, but was emptied before, so it may be again; longer would tell");
    else if (isfinite(freed) && freed > FREED_LITTLE && wanders(moments, count))
        strcpy(reason, "it grows, but what comes and goes varies as much: longer would tell");
    else
        return isfinite(freed) && ((freed > FREED_MUCH && follows_load(moments, count, reason)) ||
                                   is_freed_later(moments, count, reason));
    return true;
}
