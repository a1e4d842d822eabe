#include "runreport.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folder.h"
#include "hpprof.h"
#include "memory.h"
#include "model.h"
#include "runlive.h"

enum {
    NOT_RUN = 127,      // as shells say that a program could not be started
    SNAPSHOTS_MAX = 24, // of those by time
};

/* A program under way, and what it leaves. */
struct run {
    pid_t child;
    char folder[PATH_MAX]; // where dumps go; "": nowhere of ours
    unsigned long spacing; // each how many of its snapshots by time are kept
};

/* Everything the program and its children leave goes to a folder of its own. Snapshots on the way
 * tell leaks from peaks; how often, and what else is said of them, is the user's to choose. */
static bool set_dumps(const char *folder)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/%%p.%%n.%%r", folder);
    return setenv("HPMALLOC_DUMP_PATH", path, 1) == 0 &&
           setenv("HPMALLOC_DUMP_FORMAT", "pprof", 1) == 0 &&
           setenv("HPMALLOC_DUMP_PROFILE", "heap", 1) == 0 &&
           setenv("HPMALLOC_DUMP_AT_EXIT", "1", 1) == 0 &&
           setenv("HPMALLOC_DUMP_EVERY", "1s", 0) == 0 &&
           setenv("HPMALLOC_DUMP_LABELS", "age", 0) == 0 && setenv("HPMALLOC_QUIET", "1", 0) == 0;
}

static unsigned long number_of(const char *path)
{
    const char *dot = strchr(profile_base_name(path), '.');
    return dot != NULL ? strtoul(dot + 1, NULL, 10) : 0;
}

/* A program that runs long leaves no more snapshots than one that runs short, only further apart.
 * The newest stays in any case: it is the last if the program is killed. */
static void thin_out(void *argument)
{
    struct run *run = argument;
    char pattern[PATH_MAX + 64];
    glob_t found;
    unsigned long newest = 0;
    size_t kept = 0;
    snprintf(pattern, sizeof(pattern), "%s/%d.*.every.pb.gz", run->folder, (int)run->child);
    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        unsigned long number = number_of(found.gl_pathv[i]);
        newest = number > newest ? number : newest;
        kept += number % run->spacing == 0;
    }
    if (kept > SNAPSHOTS_MAX)
        run->spacing *= 2;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        unsigned long number = number_of(found.gl_pathv[i]);
        if (number % run->spacing != 0 && number != newest)
            unlink(found.gl_pathv[i]);
    }
    globfree(&found);
}

/* What is typed to end the program is for the program. */
static int wait_for(const struct runlive *live, struct run *run)
{
    struct sigaction ignored = {.sa_handler = SIG_IGN}, interrupt, quit;
    int status;
    sigaction(SIGINT, &ignored, &interrupt);
    sigaction(SIGQUIT, &ignored, &quit);
    bool has_ended = runlive_wait(live, run->child, &status,
                                  run->folder[0] != '\0' ? thin_out : NULL, run);
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGQUIT, &quit, NULL);
    if (!has_ended)
        return failed("the program was waited for in vain: %s", strerror(errno));
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static bool is_of(const char *path, const char *reason)
{
    return strstr(profile_base_name(path), reason) != NULL;
}

/* Programs tear down what they held before they end. Where snapshots on the way show it, that is no
 * fall that would speak against a leak. */
static bool is_end_left_out(const glob_t *found)
{
    enum { ENOUGH = 3 };
    size_t count = 0;
    for (size_t i = 0; i < found->gl_pathc; i++)
        count += is_of(found->gl_pathv[i], ".every.");
    return count >= ENOUGH;
}

/* The command moves its arguments about; the list is not the one that is freed. */
static int report_found(const glob_t *found, const char *output)
{
    const char *const words[] = {"report", "-o", output, "--"};
    size_t count = array_count(words);
    bool is_left_out = is_end_left_out(found);
    char **arguments = memory_alloc(count + found->gl_pathc + 1, sizeof(*arguments));
    memcpy(arguments, words, sizeof(words));
    for (size_t i = 0; i < found->gl_pathc; i++) {
        if (!is_left_out || !is_of(found->gl_pathv[i], ".exit."))
            arguments[count++] = found->gl_pathv[i];
    }
    int status = command_report((int)count, arguments);
    memory_free(arguments);
    return status;
}

/* Not those of the program's children. */
static int report_files(const struct run *run, const char *output, int child_status)
{
    char pattern[PATH_MAX + 32];
    glob_t found;
    int status = STATUS_FAILED;
    snprintf(pattern, sizeof(pattern), "%s/%d.*.pb.gz", run->folder, (int)run->child);
    if (glob(pattern, 0, NULL, &found) == 0) {
        status = report_found(&found, output);
        globfree(&found);
        if (status == STATUS_DONE && strcmp(output, "-") != 0)
            fprintf(stderr, "hpprof: what the program held is in %s, a page for the browser\n",
                    output);
    } else if (child_status != NOT_RUN) {
        failed("the program left no profile: it was killed, or does not run under the library");
    }
    return status;
}

static int start(struct run *run, char **program, const char *library, run_become *become)
{
    struct runlive live;
    runlive_open(&live);
    run->child = fork();
    if (run->child == 0) {
        if ((run->folder[0] == '\0' || set_dumps(run->folder)) && runlive_prepare(&live))
            become(program, library);
        _exit(NOT_RUN);
    }
    int status =
        run->child > 0 ? wait_for(&live, run) : failed("%s: %s", program[0], strerror(errno));
    runlive_close(&live);
    return status;
}

/* Said before the program runs, which may be for hours. */
static bool can_write(const char *output)
{
    struct stat found;
    char folder[PATH_MAX];
    int length = snprintf(folder, sizeof(folder), "%.*s.",
                          (int)(profile_base_name(output) - output), output);
    if (strcmp(output, "-") == 0)
        return true;
    if ((size_t)length >= sizeof(folder))
        errno = ENAMETOOLONG;
    else if (stat(output, &found) == 0 && S_ISDIR(found.st_mode))
        errno = EISDIR;
    else if (access(access(output, F_OK) == 0 ? output : folder, W_OK) == 0)
        return true;
    return false;
}

int runreport(char **program, const char *library, const char *output, run_become *become)
{
    struct run run = {.spacing = 1};
    if (output == NULL)
        return start(&run, program, library, become);
    if (!can_write(output))
        return failed("%s: %s", output, strerror(errno));
    if (!folder_make(run.folder, NULL))
        return failed("there is no folder for profiles: %s", strerror(errno));
    int status = start(&run, program, library, become);
    int reported = run.child > 0 ? report_files(&run, output, status) : STATUS_FAILED;
    folder_remove(run.folder);
    return reported != STATUS_DONE && status != NOT_RUN ? reported : status;
}
