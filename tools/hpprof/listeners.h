/* Where a process listens: its sockets, as /proc tells of them. */
#ifndef HPPROF_LISTENERS_H
#define HPPROF_LISTENERS_H

#include "process.h"

/* The path, as the process sees it, of the unix socket whose name the pattern of HPMALLOC_HTTP
 * makes. False: there is none. */
bool listeners_find_path(const struct process *process, const char *pattern, char *path,
                         size_t size);

/* The TCP port, if it listens there; of 0, the only one it listens on. 0: there is none. */
unsigned listeners_find_port(const struct process *process, unsigned port);

#endif
