#include "runreport.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folder.h"
#include "hpprof.h"
#include "memory.h"
#include "runlive.h"

/* As shells say that a program could not be started. */
enum { NOT_RUN = 127 };

/* Everything the program and its children leave goes to a folder of its own. */
static bool set_dumps(const char *folder)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/%%p.%%n", folder);
    return setenv("HPMALLOC_DUMP_PATH", path, 1) == 0 &&
           setenv("HPMALLOC_DUMP_FORMAT", "pprof", 1) == 0 &&
           setenv("HPMALLOC_DUMP_AT_EXIT", "1", 1) == 0;
}

/* What is typed to end the program is for the program. */
static int wait_for(const struct runlive *live, pid_t child)
{
    struct sigaction ignored = {.sa_handler = SIG_IGN}, interrupt, quit;
    int status;
    sigaction(SIGINT, &ignored, &interrupt);
    sigaction(SIGQUIT, &ignored, &quit);
    bool has_ended = runlive_wait(live, child, &status);
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGQUIT, &quit, NULL);
    if (!has_ended)
        return failed("the program was waited for in vain: %s", strerror(errno));
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The command moves its arguments about; the list is not the one that is freed. */
static int report_found(const glob_t *found, const char *output)
{
    const char *const words[] = {"report", "-o", output, "--"};
    size_t count = array_count(words) + found->gl_pathc;
    char **arguments = memory_alloc(count + 1, sizeof(*arguments));
    memcpy(arguments, words, sizeof(words));
    memcpy(arguments + array_count(words), found->gl_pathv, found->gl_pathc * sizeof(*arguments));
    int status = command_report((int)count, arguments);
    memory_free(arguments);
    return status;
}

/* Not those of the program's children. */
static int report_files(const char *folder, pid_t child, const char *output, int child_status)
{
    char pattern[PATH_MAX + 32];
    glob_t found;
    int status = STATUS_FAILED;
    snprintf(pattern, sizeof(pattern), "%s/%d.*.pb.gz", folder, (int)child);
    if (glob(pattern, 0, NULL, &found) == 0) {
        status = report_found(&found, output);
        globfree(&found);
    } else if (child_status != NOT_RUN) {
        failed("the program left no profile: it was killed, or does not run under the library");
    }
    return status;
}

/* `folder`: NULL, or where dumps go. */
static int run(char **program, const char *library, const char *folder, pid_t *child,
               run_become *become)
{
    struct runlive live;
    runlive_open(&live);
    *child = fork();
    if (*child == 0) {
        if ((folder == NULL || set_dumps(folder)) && runlive_prepare(&live))
            become(program, library);
        _exit(NOT_RUN);
    }
    int status =
        *child > 0 ? wait_for(&live, *child) : failed("%s: %s", program[0], strerror(errno));
    runlive_close(&live);
    return status;
}

int runreport(char **program, const char *library, const char *output, run_become *become)
{
    char folder[PATH_MAX];
    pid_t child;
    if (output == NULL)
        return run(program, library, NULL, &child, become);
    if (!folder_make(folder, NULL))
        return failed("there is no folder for profiles: %s", strerror(errno));
    int status = run(program, library, folder, &child, become);
    int reported = child > 0 ? report_files(folder, child, output, status) : STATUS_FAILED;
    folder_remove(folder);
    return reported != STATUS_DONE && status != NOT_RUN ? reported : status;
}
