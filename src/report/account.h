/* Where the resident memory is, in rows that add up to the byte.
 *
 *   stats  -->  account  --rows-->  text, statsfile, pprof (as comments)
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_ACCOUNT_H
#define HPM_REPORT_ACCOUNT_H

#include "report/output.h"
#include "report/stats.h"

/* In their order, the last the sum of those before. Keys are for programs that read the rows in a
 * profile's comments. */
enum account {
    ACCOUNT_REQUESTED,
    ACCOUNT_ROUNDING,
    ACCOUNT_UNTOUCHED,
    ACCOUNT_CACHES,
    ACCOUNT_CENTRAL,
    ACCOUNT_SLABS,
    ACCOUNT_PAGES,
    ACCOUNT_TABLES,
    ACCOUNT_OTHER,
    ACCOUNT_RESIDENT,
    ACCOUNT_ROWS,
};

struct account_row {
    const char *key, *what;
    int64_t bytes;
};

/* `requested` is what the program asked for, of the live bytes. */
struct account_row account_row(const struct hpm_stats *stats, uint64_t requested,
                               enum account which);
void account_print(struct output *output, const struct hpm_stats *stats, uint64_t requested);

#endif
