/* The age of what lives and the lifetime of what was freed, as text.
 *
 *   text  --stacks, ages-->  lives  --lines-->  output
 *
 * Signal: async-signal-safe. Lock: as report/text. */
#ifndef HPM_REPORT_LIVES_H
#define HPM_REPORT_LIVES_H

#include "base/base.h"
#include "prof/profile.h"
#include "report/output.h"
#include "report/rows.h"

/* As "850 ms", "12.3 s", "4.5 min", "7.0 h", "3.2 d". */
void lives_put_duration(struct output *output, uint64_t ns);

/* Behind a row: the median age and the oldest. Nothing when the stack has no live sample. */
void lives_put_age(struct output *output, const struct snapshot *snapshot,
                   const struct profile_row *row);

/* The histogram of the ages of all live bytes, then the leak suspects, by their numbers among the
 * rows as they are ordered. */
void lives_put_summary(struct output *output, const struct snapshot *snapshot,
                       const struct row_set *set, const struct row_order *order);

/* A row of the lifetime profile: how many were freed, their mean with its 95 % interval, the lifetime
 * within which 99 of 100 were, the median of all. */
void lives_put_lifetimes(struct output *output, const struct snapshot *snapshot,
                         const struct profile_row *row);

#endif
