/* A moment as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`. */
#ifndef HPM_REPORT_HTTPDATE_H
#define HPM_REPORT_HTTPDATE_H

#include "base/base.h"

enum { HTTPDATE_BYTES = 30 };

void httpdate_print(char text[HTTPDATE_BYTES], uint64_t wall_clock_ns);

#endif
