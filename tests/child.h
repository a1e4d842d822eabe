/* A test in a child, for what a process begins only once. */
#ifndef HPM_TESTS_CHILD_H
#define HPM_TESTS_CHILD_H

#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

/* What `work` checks there counts here; without a beginning it has failed. */
static inline void child_run(bool (*begin)(void), void (*work)(void))
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!begin())
            _exit(2);
        work();
        fflush(stdout);
        _exit(tap.has_failed);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}

#endif
