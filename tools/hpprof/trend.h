/* Leak, or not? What a series of measurements, each with its standard error, says of itself.
 *
 *   stacks  --series-->  trend  -->  findings
 *                          | is what grows a leak?
 *                         kept
 *
 * The slope is Theil and Sen's: the median of the slopes of all pairs, which a few odd values do
 * not move. Its error is what chance in sampling makes of it, or what the scatter about the line
 * does, whichever is larger. Two snapshots of one process share their samples: only what was born
 * and stayed, or was there and died, can make them differ. A leak has to be shown: a slope of more
 * than TREND_SURE errors, a baseline (what is left after each fall) that rises, growth to the end,
 * and objects that stay (kept). Of what rises and falls again and again, it is what stays after the
 * falls that has to grow so. A false alarm is worse than silence. */
#ifndef HPPROF_TREND_H
#define HPPROF_TREND_H

#include "base/base.h"

#define TREND_SURE 3.0

enum verdict { VERDICT_LEAK, VERDICT_GROWING, VERDICT_PEAK, VERDICT_PLATEAU, VERDICT_UNKNOWN };
enum { VERDICT_COUNT = VERDICT_UNKNOWN + 1, TREND_REASON_MAX = 256 };

struct moment {
    double seconds;
    double value, variance;
    double grain;     // what one sample stands for, or would
    double allocated; // ever, of the same kind; NAN: not known
};

struct trend {
    enum verdict verdict;
    double slope, slope_error; // a second
    double rise;               // of the baseline
    char reason[TREND_REASON_MAX];
};

extern const char *const verdict_names[VERDICT_COUNT];

/* Moments in order of time, three at least to say anything. */
struct trend trend_judge(const struct moment *moments, size_t count);

#endif
