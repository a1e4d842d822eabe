/* Does what a stack allocates stay, or does it only live long? A leak keeps the same share of what
 * is allocated for ever. Where everything is freed in the end, the share that is kept falls from
 * the first frees on; where a cache fills, allocation itself slows down and ends; where the load
 * grows, more is in use because more is allocated.
 *
 *   moments  -->  kept  --why it is no leak, or not yet-->  trend
 *
 * What lives longer than was watched cannot be told from a leak by anyone: nothing of it was freed.
 * The numbers in here were chosen with tests/tools/courses.c, where their rates of error are known.
 */
#ifndef HPPROF_KEPT_H
#define HPPROF_KEPT_H

#include "trend.h"

/* What was freed since the first moment, as a share of what was allocated; NAN: not known. */
double kept_share_freed(const struct moment *moments, size_t count);

/* How much more there should be since a moment (not the first) if growth went on at its pace until
 * then. Where some is freed, less is expected in the measure that less is allocated, though not
 * much less. */
double kept_expected(const struct moment *moments, size_t count, size_t since);

/* Of a stack that grows: whether something else than a leak makes it, or may. The reason then says
 * so. Moments as for trend_judge. */
bool kept_is_doubtful(const struct moment *moments, size_t count, char reason[TREND_REASON_MAX]);

#endif
