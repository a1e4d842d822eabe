#include "trend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kept.h"
#include "memory.h"
#include "units.h"

const char *const verdict_names[VERDICT_COUNT] = {"LEAK", "GROWING", "PEAK", "PLATEAU",
                                                  "NOT ENOUGH DATA"};

/* The standard error of the change from one moment to a later one. At most what was allocated in
 * between is new, and at most what was freed in between is missing. */
static double change_error(const struct moment *before, const struct moment *after)
{
    double grain = fmax(before->grain, after->grain);
    double born = after->allocated - before->allocated;
    double died = born - (after->value - before->value);
    double new_share = after->value > 0 ? fmax(0, fmin(1, born / after->value)) : 1;
    double missing_share = before->value > 0 ? fmax(0, fmin(1, died / before->value)) : 1;
    if (!isfinite(born))
        return sqrt(before->variance + after->variance + 2 * grain * grain);
    return sqrt(before->variance * missing_share + after->variance * new_share + grain * grain);
}

/* The same from the first to the last, by what it changes from one moment to the next, if that is
 * less: what stays from before the first is no chance, though nobody sees it is the same. */
static double whole_error(const struct moment *moments, size_t count)
{
    enum { INTERVALS_LEAST = 6 };
    double by_samples = change_error(moments, &moments[count - 1]);
    double intervals = (double)(count - 1), squares = 0;
    double mean = (moments[count - 1].value - moments[0].value) / intervals;
    if (count <= INTERVALS_LEAST)
        return by_samples;
    for (size_t i = 1; i < count; i++) {
        double away = moments[i].value - moments[i - 1].value - mean;
        squares += away * away;
    }
    double by_changes = sqrt(squares / (intervals - 1) * intervals) * (1 + 2 / intervals);
    return fmin(by_samples, hypot(by_changes, moments[count - 1].grain));
}

static double span_of(const struct moment *moments, size_t count)
{
    return moments[count - 1].seconds - moments[0].seconds;
}

struct line {
    double slope, error;
};

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

static double median(double *values, size_t count)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof(*values), compare_doubles);
    return count % 2 != 0 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static double median_slope(const struct moment *moments, size_t count)
{
    double *slopes = memory_alloc(count * count / 2 + 1, sizeof(double));
    size_t pairs = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = i + 1; k < count; k++) {
            double seconds = moments[k].seconds - moments[i].seconds;
            if (seconds > 0)
                slopes[pairs++] = (moments[k].value - moments[i].value) / seconds;
        }
    }
    double slope = median(slopes, pairs);
    memory_free(slopes);
    return slope;
}

static double median_level(const struct moment *moments, size_t count, double slope, double middle)
{
    double *levels = memory_alloc(count, sizeof(double));
    for (size_t i = 0; i < count; i++)
        levels[i] = moments[i].value - slope * (moments[i].seconds - middle);
    double level = median(levels, count);
    memory_free(levels);
    return level;
}

/* With few moments the scatter is itself not well known, so it counts for more. */
static struct line fit(const struct moment *moments, size_t count)
{
    double middle = 0, spread = 0, scatter = 0;
    for (size_t i = 0; i < count; i++)
        middle += moments[i].seconds / (double)count;
    struct line line = {.slope = median_slope(moments, count)};
    double level = median_level(moments, count, line.slope, middle);
    for (size_t i = 0; i < count; i++) {
        double offset = moments[i].seconds - middle;
        double away = moments[i].value - level - line.slope * offset;
        spread += offset * offset;
        scatter += away * away;
    }
    double freedom = (double)count - 2;
    double by_scatter = sqrt(scatter / freedom / spread) * (1 + 2 / freedom);
    double by_chance = whole_error(moments, count) / span_of(moments, count);
    line.error = fmax(by_chance, by_scatter);
    return line;
}

/* How far the change is above what chance makes of none; of two moments in any order. */
static double sure_above(const struct moment *high, const struct moment *low, double errors)
{
    double error = high->seconds > low->seconds ? change_error(low, high) : change_error(high, low);
    return high->value - low->value - errors * error;
}

static const struct moment *least_of(const struct moment *moments, size_t count)
{
    const struct moment *least = moments;
    for (size_t i = 1; i < count; i++)
        least = moments[i].value < least->value ? &moments[i] : least;
    return least;
}

static const struct moment *most_of(const struct moment *moments, size_t count)
{
    const struct moment *most = moments;
    for (size_t i = 1; i < count; i++)
        most = moments[i].value > most->value ? &moments[i] : most;
    return most;
}

#define FALL_SURE 4.0 // for there are many pairs of moments to find one in

/* The deepest fall: the largest sure difference between a value and a later one. */
static double deepest_fall(const struct moment *moments, size_t count)
{
    double deepest = 0;
    const struct moment *most = moments;
    for (size_t i = 1; i < count; i++) {
        if (sure_above(most, &moments[i], FALL_SURE) > 0)
            deepest = fmax(deepest, most->value - moments[i].value);
        if (moments[i].value > most->value)
            most = &moments[i];
    }
    return deepest;
}

/* The least of the last third against the least of the first, and of the middle between them. */
static bool baseline_rises(const struct moment *moments, size_t count, double *rise)
{
    size_t third = count / 3;
    const struct moment *first = least_of(moments, third);
    const struct moment *middle = least_of(moments + third, count - 2 * third);
    const struct moment *last = least_of(moments + count - third, third);
    *rise = last->value - first->value;
    return sure_above(last, first, 2.5) > 0 && last->value > middle->value &&
           middle->value > first->value + 0.1 * *rise;
}

/* The error of growth that is expected, from the error of all growth there was. */
static double expected_error(const struct moment *moments, size_t count, double expected)
{
    double all = moments[count - 1].value - moments[0].value;
    double error = change_error(moments, &moments[count - 1]);
    double grain = moments[count - 1].grain;
    return all > 0 ? sqrt(error * error * fmin(1, expected / all) + grain * grain) : error;
}

/* The most it grew from one moment to the next. */
static double steepest_growth(const struct moment *moments, size_t count)
{
    double most = 0;
    for (size_t i = 1; i < count; i++)
        most = fmax(most, moments[i].value - moments[i - 1].value);
    return most;
}

/* Whether what came last falls behind the pace until then, and not by chance, nor because it comes
 * in lumps. */
static bool has_slowed(const struct moment *moments, size_t count, size_t late_count, double share)
{
    const struct moment *late = moments + count - late_count;
    double expected = kept_expected(moments, count, count - late_count);
    double growth = moments[count - 1].value - late->value;
    double error =
        hypot(expected_error(moments, count, expected), change_error(late, &moments[count - 1]));
    error = fmax(error, 0.4 * steepest_growth(moments, count));
    return expected > 0 && growth < share * expected && expected - growth > 2.8 * error;
}

static bool has_stopped(const struct moment *moments, size_t count)
{
    for (size_t late = max_size(2, count / 3); late <= count / 2 + 1; late++) {
        if (has_slowed(moments, count, late, 0.2))
            return true;
    }
    return false;
}

/* Whether most of what it grew by came in the first half of the time: less sure than has_stopped. */
static bool levels_off(const struct moment *moments, size_t count)
{
    double middle = moments[count / 2].value;
    return moments[count - 1].value - middle < 0.3 * (middle - moments[0].value);
}

/* Whether the second half of the time still grows, at a good part of the pace of the first. */
static bool grows_to_the_end(const struct moment *moments, size_t count, struct line all)
{
    size_t late_count = count - count / 2 + (count < 6);
    const struct moment *late = moments + count - late_count;
    double growth = moments[count - 1].value - late->value;
    return sure_above(&moments[count - 1], late, 1.5) > 0 &&
           growth > 0.4 * all.slope * span_of(late, late_count) &&
           !has_slowed(moments, count, max_size(2, count / 4 + 1), 0.3);
}

static void put_slope(char *text, size_t size, struct line line)
{
    char slope[UNITS_TEXT_MAX], error[UNITS_TEXT_MAX];
    snprintf(text, size, "%s%s a minute \xc2\xb1 %s", line.slope >= 0 ? "+" : "",
             units_bytes(slope, 60 * line.slope), units_bytes(error, 60 * 1.96 * line.error));
}

static void say_leak(struct trend *trend, const struct moment *moments, size_t count,
                     struct line line)
{
    char slope[128], rise[UNITS_TEXT_MAX], watched[UNITS_TEXT_MAX];
    double freed = kept_share_freed(moments, count);
    put_slope(slope, sizeof(slope), line);
    trend->verdict = VERDICT_LEAK;
    int used = snprintf(trend->reason, TREND_REASON_MAX,
                        "%s, to the last snapshot; what stays after each fall rose by %s", slope,
                        units_bytes(rise, trend->rise));
    if (!isfinite(freed) || used < 0 || used >= TREND_REASON_MAX)
        return;
    size_t room = TREND_REASON_MAX - (size_t)used;
    if (freed < 0.005)
        snprintf(trend->reason + used, room, "; nothing of it was freed in the %s watched",
                 units_seconds(watched, span_of(moments, count)));
    else
        snprintf(trend->reason + used, room,
                 "; %.0f %% of what was allocated meanwhile was never freed", 100 * (1 - freed));
}

#define NOT_STEADILY                                                                               \
    "it grows, but not steadily to the end: longer, or more snapshots would tell"

static void say_rising(struct trend *trend, const struct moment *moments, size_t count,
                       struct line line)
{
    bool rises = baseline_rises(moments, count, &trend->rise);
    bool is_fallen = deepest_fall(moments, count) > 0.3 * trend->rise;
    if (!(rises && is_fallen) && has_stopped(moments, count)) {
        trend->verdict = VERDICT_PLATEAU;
        strcpy(trend->reason, "it grew, and has stopped growing");
    } else if (rises && !is_fallen && grows_to_the_end(moments, count, line)) {
        if (kept_is_doubtful(moments, count, trend->reason))
            trend->verdict = VERDICT_GROWING;
        else
            say_leak(trend, moments, count, line);
    } else {
        trend->verdict = VERDICT_GROWING;
        strcpy(trend->reason, is_fallen ? "it grows, but falls in between" : NOT_STEADILY);
    }
}

static void say_steady(struct trend *trend, const struct moment *moments, size_t count)
{
    const struct moment *most = most_of(moments, count), *least = least_of(moments, count);
    double fall = deepest_fall(moments, count);
    double growth = moments[count - 1].value - moments[0].value;
    bool has_grown = sure_above(&moments[count - 1], moments, TREND_SURE) > 0;
    bool may_grow = growth > 0.5 * most->value && !has_stopped(moments, count) &&
                    !(has_grown && levels_off(moments, count));
    char high[UNITS_TEXT_MAX], low[UNITS_TEXT_MAX];
    if (fall > 0.3 * most->value) {
        trend->verdict = VERDICT_PEAK;
        snprintf(trend->reason, TREND_REASON_MAX,
                 "it rises to %s and falls again to %s: the baseline does not rise",
                 units_bytes(high, most->value), units_bytes(low, least->value));
    } else if (may_grow && has_grown) {
        trend->verdict = VERDICT_GROWING;
        strcpy(trend->reason, NOT_STEADILY);
    } else if (may_grow) {
        strcpy(trend->reason, "it may be growing, but that could be chance: a denser sampling "
                              "interval, or more snapshots would tell");
    } else if (most->value < 4 * most->grain) {
        strcpy(trend->reason, "too few samples: a denser sampling interval would tell");
    } else {
        trend->verdict = VERDICT_PLATEAU;
        strcpy(trend->reason, has_grown ? "it grew, and has stopped growing" : "it stays level");
    }
}

static struct trend judge(const struct moment *moments, size_t count)
{
    struct trend trend = {.verdict = VERDICT_UNKNOWN};
    if (count < 3 || !(span_of(moments, count) > 0)) {
        strcpy(trend.reason, "three snapshots of different times are the least");
        return trend;
    }
    struct line line = fit(moments, count);
    trend.slope = line.slope;
    trend.slope_error = line.error;
    baseline_rises(moments, count, &trend.rise);
    bool is_sure =
        line.slope > TREND_SURE * line.error &&
        moments[count - 1].value - moments[0].value > TREND_SURE * whole_error(moments, count);
    bool is_small = line.slope * span_of(moments, count) < 0.02 * moments[count - 1].value;
    if (is_sure && !is_small)
        say_rising(&trend, moments, count, line);
    else
        say_steady(&trend, moments, count);
    return trend;
}

/* What is left after each fall that is sure, and is a good part of the most there was. */
static size_t find_troughs(const struct moment *moments, size_t count, struct moment *troughs)
{
    const struct moment *peak = moments;
    double most = most_of(moments, count)->value;
    size_t found = 0;
    for (size_t i = 1; i < count; i++) {
        bool is_low = i + 1 == count || moments[i + 1].value > moments[i].value;
        if (moments[i].value > peak->value) {
            peak = &moments[i];
        } else if (is_low && peak->value - moments[i].value > 0.1 * most &&
                   sure_above(peak, &moments[i], TREND_SURE) > 0) {
            troughs[found++] = moments[i];
            peak = &moments[i];
        }
    }
    return found;
}

/* Of what rises and falls over and over, what stays after the falls says more than all of it. A
 * snapshot comes up to one interval after the fall, each time a little later it may be: what is
 * left has to rise by more than comes in that time. */
static void judge_troughs(struct trend *trend, const struct moment *moments, size_t count)
{
    enum { TROUGHS_LEAST = 4 };
    struct moment *troughs = memory_alloc(count, sizeof(*troughs));
    size_t found = find_troughs(moments, count, troughs);
    double rise = found > 0 ? troughs[found - 1].value - troughs[0].value : 0;
    if (found >= TROUGHS_LEAST && rise > 1.5 * steepest_growth(moments, count)) {
        struct trend base = judge(troughs, found);
        if (base.verdict == VERDICT_GROWING)
            strcpy(base.reason,
                   "it falls again and again, and what is left then rises, but not yet "
                   "surely as a leak does");
        if (base.verdict < trend->verdict && base.verdict <= VERDICT_GROWING)
            *trend = base;
    }
    memory_free(troughs);
}

struct trend trend_judge(const struct moment *moments, size_t count)
{
    struct trend trend = judge(moments, count);
    if (trend.verdict != VERDICT_LEAK)
        judge_troughs(&trend, moments, count);
    return trend;
}
