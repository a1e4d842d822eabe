/* What the control group of this process may use of memory, and does; versions 1 and 2.
 *
 * A limit may stand at the process's own group or at any above it, so there are levels: 0 is its
 * own, and so on up to the one that is mounted.
 *
 * Thread: one at a time.
 * Fails:  without control groups there is no level. */
#ifndef HPM_REPORT_CGROUP_H
#define HPM_REPORT_CGROUP_H

#include "base/base.h"

#define CGROUP_NO_LIMIT UINT64_MAX

struct cgroup_memory {
    uint64_t limit_bytes; // CGROUP_NO_LIMIT: none, or not to be read
    uint64_t used_bytes;  // without file pages that the kernel takes back before anything else
};

/* Finds this process's group. `root` is put before each path: a test's folder, or empty. */
void cgroup_init(const char *root);

/* As of now. False: there is no such level. */
bool cgroup_read(unsigned level, struct cgroup_memory *memory);

#endif
