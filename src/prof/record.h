/* The record: what is live, kept in a file as well, from which `hpprof dump --record` writes a
 * profile after the process was killed, or while it hangs (HPMALLOC_RECORD).
 *
 *   profile  --samples-->  record  --items-->  base/shared
 *   stacktab  --counts of a site (site_mirror)-->  base/shared
 *
 * It is begun with the first sample of a process, so that those which take none leave no file, and
 * gets what was known by then. Behind each sample are some stores to memory and no system call, but
 * when the file must grow. What it has no room for is counted.
 *
 * A child of fork writes nothing into its parent's. It begins one of its own with its first sample
 * when the name has %p, and otherwise only once its parent is gone, as after a daemon's start.
 *
 * Lock:   one, rank LOCK_RECORD, for adding items and for beginning; the profile calls with none
 * held. Fails:  one line, and the program goes on without. */
#ifndef HPM_PROF_RECORD_H
#define HPM_PROF_RECORD_H

#include "base/base.h"
#include "prof/livetab.h"

/* Asks for a record by the pattern (record_file); NULL: none. */
void record_init(const char *pattern);

/* Beside profile_record, once the site is charged, and profile_forget, before the tag is free
 * again. */
void record_sample(uint32_t tag, const struct sample *sample, size_t interval_bytes,
                   uint64_t lost_samples);
void record_forget(uint32_t tag);

/* Beside stacktab_mark_peak. */
void record_mark_peak(uint64_t clock_ns);

void record_fork_prepare(void);
void record_fork_parent(void);
void record_fork_child(void);

#endif
