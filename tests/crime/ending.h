/* A crime in a process of its own, and what became of it. */
#ifndef HPM_TESTS_CRIME_ENDING_H
#define HPM_TESTS_CRIME_ENDING_H

#include <fcntl.h>

#include "dies.h"
#include "tap.h"

/* What a program printed, and how it ended. */
struct ending {
    char address[64], said[16384];
    int status;
};

/* `variables` are names and values in turn. */
static inline void exec_crime(const char *name, const char *const *variables, const int *out,
                              const int *errors)
{
    dup2(out[1], STDOUT_FILENO);
    dup2(errors[1], STDERR_FILENO);
    close(out[0]);
    close(errors[0]);
    for (; *variables != NULL; variables += 2)
        setenv(variables[0], variables[1], 1);
    alarm(60);
    execl(CRIME_PATH, CRIME_PATH, name, (char *)NULL);
    _exit(127);
}

static inline struct ending commit(const char *name, const char *const *variables)
{
    struct ending ending;
    int out[2], errors[2];
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0)
        abort();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        exec_crime(name, variables, out, errors);
    close(out[1]);
    close(errors[1]);
    tap_read_all(out[0], ending.address, sizeof(ending.address));
    tap_read_all(errors[0], ending.said, sizeof(ending.said));
    close(out[0]);
    close(errors[0]);
    tap_cut_emulator(ending.said);
    waitpid(child, &ending.status, 0);
    ending.address[strcspn(ending.address, "\n")] = '\0';
    return ending;
}

#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static inline bool says(const struct ending *ending, const char *line)
{
    char body[300], should_say[320];
    snprintf(body, sizeof(body), line, ending->address);
    snprintf(should_say, sizeof(should_say), "hpmalloc: %s\n", body);
    return strcmp(ending->said, should_say) == 0;
}

/* The lines have the address as %s; `other` may be said as well. */
static inline void ending_check(const char *name, const char *const *variables, const char *line,
                                const char *other)
{
    struct ending ending = commit(name, variables);
    if (!WIFSIGNALED(ending.status) || WTERMSIG(ending.status) != SIGABRT)
        tap_fail(__FILE__, __LINE__, "%s: wait status %#x, not SIGABRT", name, ending.status);
    if (!says(&ending, line) && !says(&ending, other))
        tap_fail(__FILE__, __LINE__, "%s of %s said: %s", name, ending.address, ending.said);
}

#endif
