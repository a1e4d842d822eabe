/* The page under / : what is served here, with live figures.
 *
 * Fails: a negative errno. Lock: none: the server's thread only. */
#ifndef HPM_REPORT_HTTPPAGE_H
#define HPM_REPORT_HTTPPAGE_H

#include "base/base.h"

int httppage_write(int fd);

#endif
