/* Where the resident memory is, in rows that add up to the byte.
 *
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_ACCOUNT_H
#define HPM_REPORT_ACCOUNT_H

#include "report/output.h"
#include "report/stats.h"

/* `requested` is what the program asked for, of the live bytes. */
void account_print(struct output *output, const struct hpm_stats *stats, uint64_t requested);

#endif
