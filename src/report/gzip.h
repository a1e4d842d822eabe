/* gzip without a library: repeats of the last 32 KiB become references, all in the fixed code of
 * deflate. A profile shrinks to about 0.4 of its size, a tenth larger than gzip -1 makes it.
 *
 * One stream at a time: callers serialize (the dump does). All state is static.
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_GZIP_H
#define HPM_REPORT_GZIP_H

#include "base/base.h"

void gzip_begin(int fd);
void gzip_write(const void *data, size_t bytes);

/* Ends the stream. False when a write failed; errno says how. */
bool gzip_finish(void);

#endif
