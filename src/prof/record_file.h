/* The file that a record is kept in: its name, and what was there before.
 *
 *   record  --pattern-->  record_file  --descriptor, path-->  record
 *
 * It is created anew (mode 0600, no link followed), never over something else. A record of ours
 * whose process is gone is set aside first: it may be what is left of a crash, and gets `.old`
 * behind its name, in the place of an older one.
 *
 * Signal: async-signal-safe.
 * Fails:  a negative errno; -EBUSY while the process whose record it is runs, -EEXIST where there
 * is something that is no record of ours. */
#ifndef HPM_PROF_RECORD_FILE_H
#define HPM_PROF_RECORD_FILE_H

#include "base/base.h"

enum { RECORD_PATH_MAX = 4096 };

/* %e program, %p pid, %% a percent sign; what is relative is so to the folder of now. Empty: it
 * does not fit. */
void record_file_name(char path[static RECORD_PATH_MAX], const char *pattern);

/* Returns a descriptor. On -EBUSY *owner is the process. */
int record_file_create(const char *path, uint32_t *owner);

/* When a process began, in the kernel's own unit; 0: unknown, or there is none. */
uint64_t record_file_process_start(uint32_t pid);

#endif
