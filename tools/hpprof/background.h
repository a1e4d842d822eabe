/* Work that a child does, so that who waits for it can do other things, and can stop waiting. What
 * the child says on stderr comes back as text; it ends with its parent. */
#ifndef HPPROF_BACKGROUND_H
#define HPPROF_BACKGROUND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { BACKGROUND_TEXT_MAX = 1024 };

struct background {
    pid_t child; // 0: none
    int fd;      // to poll for reading
    char said[BACKGROUND_TEXT_MAX];
    size_t said_bytes;
};

/* Its exit status is what `work` returns. False: errno says why. */
bool background_start(struct background *background, int (*work)(const void *argument),
                      const void *argument);

/* Takes what has come, once fd is ready. True: it is over, with *status, or a negative one when it
 * was killed; `said` is the last line it said, without our name before it. */
bool background_step(struct background *background, int *status);

void background_kill(struct background *background);

#endif
