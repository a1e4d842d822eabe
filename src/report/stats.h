/* The library's own numbers gathered in one place: struct hpm_stats says what each is.
 *
 * Signal: async-signal-safe on a thread that holds no lock of ours. */
#ifndef HPM_REPORT_STATS_H
#define HPM_REPORT_STATS_H

#include "base/base.h"
#include "hpmalloc.h"

void stats_collect(struct hpm_stats *stats);

/* Only what the allocator has counted itself, and pages of slabs and blocks taken for resident:
 * cheaper, for the kernel is not asked. */
void stats_count(struct hpm_stats *stats);

/* What there is of a size class, by its number from 0. False: no such class. */
bool stats_collect_class(unsigned number, struct hpm_class_stats *stats);

#endif
