/* A file that appears under its final name whole or not at all, and never over another.
 *
 *   dump  --pattern, profile, format-->  dumpfile  --descriptor-->  pprof, text
 *
 * It is written under a temporary name in its folder (mode 0600, O_EXCL, no link followed), then
 * renamed in a way that fails when the name is taken.
 *
 * Fails:  a negative errno; no temporary file stays behind.
 * Signal: async-signal-safe. Keep the struct in static storage. */
#ifndef HPM_REPORT_DUMPFILE_H
#define HPM_REPORT_DUMPFILE_H

#include <sys/stat.h>

#include "base/base.h"

enum { DUMPFILE_PATH_MAX = 4096 };

struct dumpfile {
    /* For the caller to fill in. */
    const char *pattern; // %e program, %p pid, %n sequence, %r reason, %t time, %h host, %%
    const char *ending;  // put behind it (`.txt`) when the pattern does not end so; NULL: none
    const char *profile; // put before the ending; NULL: not needed
    const char *reason;
    uint64_t wall_clock_ns;
    unsigned sequence;   // %n; counted up while the name it makes is taken
    bool is_one_of_many; // one of several formats: another format's ending is no ending for it

    /* The file. */
    int fd;
    struct stat status; // once it is published
    char path[DUMPFILE_PATH_MAX]; // the final name, for lines about it after a failure too
    char temporary[DUMPFILE_PATH_MAX];
};

/* Remembers the program's and the host's name. */
void dumpfile_init(void);

int dumpfile_open(struct dumpfile *file);

/* Closes it and gives it its name, or removes it. */
int dumpfile_publish(struct dumpfile *file);
void dumpfile_discard(struct dumpfile *file);

#endif
