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

#include "hpprof.h"
#include "memory.h"
#include "model.h"

enum {
    NOT_RUN = 127,      // as shells say that a program could not be started
    SNAPSHOTS_MAX = 24, // of those by time
};

/* A program under way, and what it leaves. */
struct run {
    pid_t child;
    char folder[PATH_MAX];
    sigset_t ended;        // SIGCHLD
    unsigned long spacing; // each how many of its snapshots by time are kept
};

static bool make_folder(char folder[PATH_MAX])
{
    char above[PATH_MAX];
    const char *place = getenv("TMPDIR");
    return realpath(place != NULL && *place != '\0' ? place : "/tmp", above) != NULL &&
           (size_t)snprintf(folder, PATH_MAX, "%s/hpprof.XXXXXX", above) < PATH_MAX &&
           mkdtemp(folder) != NULL;
}

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
static void thin_out(struct run *run)
{
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

/* What is typed to end the program is for the program. SIGCHLD is blocked, and waited for. */
static int wait_for(struct run *run)
{
    static const struct timespec second = {.tv_sec = 1};
    struct sigaction ignored = {.sa_handler = SIG_IGN}, interrupt, quit;
    int status;
    sigaction(SIGINT, &ignored, &interrupt);
    sigaction(SIGQUIT, &ignored, &quit);
    while (waitpid(run->child, &status, WNOHANG) != run->child) {
        sigtimedwait(&run->ended, NULL, &second);
        thin_out(run);
    }
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGQUIT, &quit, NULL);
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

static void remove_folder(const char *folder)
{
    char pattern[PATH_MAX + 32];
    glob_t found;
    snprintf(pattern, sizeof(pattern), "%s/*", folder);
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            unlink(found.gl_pathv[i]);
        globfree(&found);
    }
    rmdir(folder);
}

static void start(struct run *run, char **program, const char *library, run_become *become)
{
    sigset_t before;
    sigemptyset(&run->ended);
    sigaddset(&run->ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &run->ended, &before);
    run->child = fork();
    if (run->child != 0)
        return;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (set_dumps(run->folder))
        become(program, library);
    _exit(NOT_RUN);
}

int runreport(char **program, const char *library, const char *output, run_become *become)
{
    struct run run = {.spacing = 1};
    if (!make_folder(run.folder))
        return failed("there is no folder for profiles: %s", strerror(errno));
    start(&run, program, library, become);
    bool is_started = run.child > 0;
    int status = is_started ? wait_for(&run) : failed("%s: %s", program[0], strerror(errno));
    int reported = is_started ? report_files(&run, output, status) : STATUS_FAILED;
    remove_folder(run.folder);
    return reported != STATUS_DONE && status != NOT_RUN ? reported : status;
}
