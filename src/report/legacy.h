/* A snapshot as `heap profile:` text, which `go tool pprof`, `google-pprof` and `jeprof` read.
 *
 *   dump  --snapshot, symbols-->  legacy  --text-->  output
 *
 * `heap_v2/INTERVAL` promises raw values, samples and their bytes, from which readers work out
 * estimates with p = 1 - exp(-s / INTERVAL). Where this would not lead to our own estimates, for
 * the interval was changed on the way, the values are those estimates, and the form is
 * `heapprofile`. Raw values cannot be calibrated to the exact count: a line says how far they are
 * off.
 *
 * Lock:   none of its own: callers serialize (the dump does).
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_LEGACY_H
#define HPM_REPORT_LEGACY_H

#include "base/base.h"
#include "prof/profile.h"
#include "prof/symbols.h"

/* `profile` (DUMP_PROFILE_) decides which rows come first. False: a write failed, or no memory;
 * errno says which. */
bool legacy_write(int fd, const struct snapshot *snapshot, const struct symbol_table *table,
                  unsigned profile);

#endif
