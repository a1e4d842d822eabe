/* Checks that a call ends the process as die() does: one line on stderr, then abort(). */
#ifndef HPM_TESTS_DIES_H
#define HPM_TESTS_DIES_H

#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

/* `call` is a void (*)(void); the rest is the line without "hpmalloc: ", as printf takes it. */
#define CHECK_DIES(call, ...)                                                                      \
    do {                                                                                           \
        char tap_words[512];                                                                       \
        snprintf(tap_words, sizeof(tap_words), __VA_ARGS__);                                       \
        tap_check_dies(__FILE__, __LINE__, call, tap_words);                                       \
    } while (0)

static inline size_t tap_read_all(int fd, char *text, size_t size)
{
    size_t length = 0;
    ssize_t got;
    while (length < size - 1 && (got = read(fd, text + length, size - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    return length;
}

/* Runs in a child: its stderr is the pipe, its death leaves no core. */
static inline void tap_run_to_death(int fd, void (*call)(void))
{
    dup2(fd, STDERR_FILENO);
    close(fd);
    signal(SIGABRT, SIG_DFL);
    call();
    _exit(0);
}

static inline void tap_check_dies(const char *file, int line, void (*call)(void),
                                  const char *last_words)
{
    int ends[2];
    if (pipe(ends) != 0)
        abort();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        tap_run_to_death(ends[1], call);
    close(ends[1]);
    char said[1024], should_say[600];
    tap_read_all(ends[0], said, sizeof(said));
    close(ends[0]);
    tap_cut_emulator(said);
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        tap_fail(file, line, "it did not abort (wait status %#x), it said: %s", status, said);
    snprintf(should_say, sizeof(should_say), "hpmalloc: %s\n", last_words);
    tap_check_text(file, line, "what it said", said, should_say);
}

#endif
