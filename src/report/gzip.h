/* gzip without a library: repeats of the last 32 KiB become references (gzip), and each 32 KiB get
 * a code of their own (huffman). Files are within a fiftieth of what gzip -9 makes: a profile of
 * thousands of frames shrinks to a quarter, one of a hundred, whose names hardly repeat, to a half.
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
