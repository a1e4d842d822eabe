/* Where the library is that came with hpprof. */
#ifndef HPPROF_LIBRARY_H
#define HPPROF_LIBRARY_H

#include <limits.h>

/* `path`, or NULL: it is nowhere. */
const char *library_find(char path[PATH_MAX]);

#endif
