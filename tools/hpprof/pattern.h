/* File name patterns for glob(3), as long as they fit, of the library's own for names (%p and so
 * on).
 */
#ifndef HPPROF_PATTERN_H
#define HPPROF_PATTERN_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { PATTERN_BYTES = 3 * PATH_MAX };

struct pattern {
    char text[PATTERN_BYTES];
    size_t used;
    bool is_too_long;
};

void pattern_put(struct pattern *pattern, const char *text);
void pattern_put_number(struct pattern *pattern, long number);

/* What stands from `path` to `limit`: the value of HPMALLOC_DUMP_PATH or another such option of the
 * process that knows itself as `own_pid`. */
void pattern_put_path(struct pattern *pattern, const char *path, const char *limit, pid_t own_pid);

#endif
