/* Leak suspects of one profile: stacks whose objects live longer than what was freed there did, or
 * of which nothing was ever freed while more keep coming.
 *
 *   ages, lifetimes  -->  suspects  -->  lives (text), pprof (labels)
 *
 * A stack of which LIFETIMES_NEEDED samples were freed has a usual lifetime: that within which 99 of
 * 100 freed objects were freed. What is older than four times that (objects whose lifetimes are
 * spread exponentially would be so once in 100 million) is suspected, if it is SUSPECTS_SAMPLES or more.
 * A stack of which nothing was freed is suspected as a whole when its live objects keep coming: of
 * GROWTH_SAMPLES or more at least a quarter were born in the younger half of the time since the first,
 * and an eighth in the youngest quarter. What was built up once, at a program's start, is not.
 *
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_SUSPECTS_H
#define HPM_REPORT_SUSPECTS_H

#include "base/base.h"
#include "prof/ages.h"

enum { SUSPECTS_MAX = 10, SUSPECTS_SAMPLES = 3, LIFETIMES_NEEDED = 8, GROWTH_SAMPLES = 8 };

struct suspect {
    size_t row;           // the caller's number for its stack
    double bytes;         // live and suspected
    uint64_t oldest_ns;
    uint64_t usual_ns;    // 0: nothing was ever freed
    double freed_objects; // that the usual lifetime is known from
};

/* Of all rows offered, those with the most suspected bytes, most first. */
struct suspects {
    struct suspect first[SUSPECTS_MAX];
    size_t count;
};

/* Whether there is a suspicion; *suspect then says of what, but for its row. */
bool suspects_judge(struct suspect *suspect, struct age_list list,
                    const struct lifetimes *lifetimes);

void suspects_offer(struct suspects *suspects, const struct suspect *suspect);

#endif
