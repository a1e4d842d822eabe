/* A snapshot as text for people: first where the resident memory is, in rows that add up to the
 * byte, then the stacks, the heaviest first, each with its estimate and how far it can be trusted.
 *
 * Lock:   none of its own: callers serialize (the dump does).
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_TEXT_H
#define HPM_REPORT_TEXT_H

#include "base/base.h"
#include "prof/profile.h"
#include "prof/symbols.h"
#include "report/stats.h"

/* `profile` (DUMP_PROFILE_) decides whether live or all allocated bytes are shown. The table holds
 * the snapshot's call addresses. `stats` NULL: there is no account, for nobody counted. False: a
 * write failed, or no memory; errno says which. */
bool text_write(int fd, const struct snapshot *snapshot, const struct symbol_table *table,
                const struct hpm_stats *stats, unsigned profile);

#endif
