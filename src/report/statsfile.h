/* The library's own numbers, written out: for people, as JSON, for Prometheus.
 *
 * Lock:   one, rank LOCK_STATS: the output's buffer is static.
 * Fails:  a negative errno; -EDEADLK to a handler that interrupted this library itself.
 * Signal: async-signal-safe, under 1 KiB of stack. */
#ifndef HPM_REPORT_STATSFILE_H
#define HPM_REPORT_STATSFILE_H

#include "report/output.h"
#include "report/stats.h"

/* Gathers them and writes them. */
int statsfile_write(int fd, enum hpm_stats_format format);

/* One format into an output that its owner begins and finishes; no lock is taken here. */
void statsfile_print(struct output *output, const struct hpm_stats *stats,
                     enum hpm_stats_format format);

void statsfile_fork_prepare(void);
void statsfile_fork_parent(void);
void statsfile_fork_child(void);

#endif
