/* A snapshot as gzip'd profile.proto, in the shape Go's runtime gives its heap profiles.
 *
 * Sample types alloc_objects, alloc_space, inuse_objects, inuse_space, in this order; a sample for
 * each stack and size, the heaviest first, with the numeric label `bytes`. Values are unbiased
 * already and rounded here, at the end. Names are written where the table has them; a mapping of
 * which all are known says so (has_functions), as Go's do, and is not symbolized again by readers
 * unless they are told to (`go tool pprof -symbolize=force` adds lines and inlined calls).
 *
 * Lock:   none of its own: callers serialize (the dump does).
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_PPROF_H
#define HPM_REPORT_PPROF_H

#include "base/base.h"
#include "hpmalloc.h"
#include "prof/profile.h"
#include "prof/symbols.h"

/* Consumers refuse more, by samples or by bytes before compression; the lightest rows beyond are
 * merged into `[other]`. */
enum { PPROF_SAMPLES_MAX = 16000, PPROF_BYTES_MAX = 4 << 20 };

/* `profile` (DUMP_PROFILE_) decides which rows weigh most and what readers show first. The table
 * holds the snapshot's call addresses. `stats` NULL: there is no account among the comments. False:
 * a write failed, or no memory; errno says which. */
bool pprof_write(int fd, const struct snapshot *snapshot, const struct symbol_table *table,
                 const struct hpm_stats *stats, unsigned profile);

#endif
