/* The newest dump files of this process: older ones are removed (HPMALLOC_DUMP_KEEP).
 *
 * Only a file that is still what was written is removed: of the same name, number, length and time
 * of change. Another that has taken its name stays.
 *
 * Thread: one at a time, the holder of the dump's lock.
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_RETAIN_H
#define HPM_REPORT_RETAIN_H

#include "report/dumpfile.h"

/* Reads the option, and knows of no file: as the process begins, and in a forked child. */
void retain_init(void);

/* The file has been published. What is one too many is removed. 0, or a negative errno when a file
 * could not be removed; retain_path() names it. */
int retain_file(const struct dumpfile *file);
const char *retain_path(void);

#endif
