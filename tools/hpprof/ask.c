#define _GNU_SOURCE
#include "ask.h"

#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "pattern.h"

enum { WAIT_MS = 10000, POLL_MS = 20 };

static unsigned count_of_set(const struct process *process, enum option_id id)
{
    uint64_t set = 0;
    process_option(process, id, &set);
    return (unsigned)__builtin_popcountll(set);
}

/* An ending that the library keeps, see HPMALLOC_DUMP_PATH in hpmalloc(3); else the path's limit.
 */
static const char *find_ending(const char *path)
{
    static const char *const known[] = {".pb.gz", ".pprof", ".prof",  ".gz",
                                        ".txt",   ".heap",  ".folded"};
    size_t length = strlen(path);
    for (size_t i = 0; i < array_count(known); i++) {
        size_t ending_length = strlen(known[i]);
        if (length > ending_length && strcmp(path + length - ending_length, known[i]) == 0)
            return path + length - ending_length;
    }
    return path + length;
}

/* Seen through /proc, so that the process may live in another root. Several profiles put their
 * names before the ending, and formats their endings behind. */
static void make_pattern(struct pattern *pattern, const struct process *process)
{
    uint64_t unused;
    const char *path = process_option(process, OPTION_DUMP_PATH, &unused);
    const char *ending = find_ending(path);
    pattern_put(pattern, "/proc/");
    pattern_put_number(pattern, (long)process->pid);
    pattern_put(pattern, path[0] == '/' ? "/root" : "/cwd/");
    pattern_put_path(pattern, path, ending, process->own_pid);
    if (ending[0] == '\0') {
        pattern_put(pattern, ".*");
        return;
    }
    pattern_put(pattern, count_of_set(process, OPTION_DUMP_PROFILE) > 1 ? "*" : "");
    pattern_put(pattern, ending);
    pattern_put(pattern, count_of_set(process, OPTION_DUMP_FORMAT) > 1 ? "*" : "");
}

static bool holds(const glob_t *files, const char *name)
{
    for (size_t i = 0; i < files->gl_pathc; i++) {
        if (strcmp(files->gl_pathv[i], name) == 0)
            return true;
    }
    return false;
}

/* A file that appears under its name is whole: the library never writes over one. */
static unsigned count_new(const glob_t *before, const glob_t *now)
{
    unsigned count = 0;
    for (size_t i = 0; i < now->gl_pathc; i++)
        count += !holds(before, now->gl_pathv[i]);
    return count;
}

static void take_new(const glob_t *before, const glob_t *now, ask_take *take, void *argument)
{
    for (size_t i = 0; i < now->gl_pathc; i++) {
        if (!holds(before, now->gl_pathv[i]))
            take(now->gl_pathv[i], argument);
    }
}

static void list_files(const struct pattern *pattern, glob_t *files)
{
    if (glob(pattern->text, 0, NULL, files) != 0)
        *files = (glob_t){.gl_pathc = 0};
}

unsigned ask_file_count(const struct process *process)
{
    return count_of_set(process, OPTION_DUMP_PROFILE) * count_of_set(process, OPTION_DUMP_FORMAT);
}

/* Returns how many new files there are in the end; *now are all. */
static unsigned wait_for_files(const struct process *process, const struct pattern *pattern,
                               const glob_t *before, glob_t *now)
{
    static const struct timespec poll = {.tv_nsec = POLL_MS * 1000000};
    for (int waited_ms = 0;; waited_ms += POLL_MS) {
        bool is_last = waited_ms >= WAIT_MS || !process_is_alive(process);
        list_files(pattern, now);
        unsigned count = count_new(before, now);
        if (count >= ask_file_count(process) || is_last)
            return count;
        globfree(now);
        nanosleep(&poll, NULL);
    }
}

/* A signal that nobody catches would end the process. */
static int check_signal(const struct process *process, int number)
{
    if (number == 0)
        return failed("process %ld runs with HPMALLOC_DUMP_SIGNAL=none: no signal makes it dump",
                      (long)process->pid);
    if ((process->caught_signals >> (number - 1) & 1) == 0)
        return failed("process %ld does not catch signal %d (%s), so it was not sent: it was "
                      "ignored as the program began, or HPMALLOC_PROGRAM names others",
                      (long)process->pid, number, strsignal(number));
    return STATUS_DONE;
}

static int ask(const struct process *process, int number, const struct pattern *pattern,
               ask_take *take, void *argument)
{
    glob_t before, now;
    list_files(pattern, &before);
    if (kill(process->pid, number) != 0) {
        globfree(&before);
        return failed("process %ld: %s", (long)process->pid, strerror(errno));
    }
    unsigned count = wait_for_files(process, pattern, &before, &now);
    take_new(&before, &now, take, argument);
    globfree(&now);
    globfree(&before);
    if (count != 0)
        return STATUS_DONE;
    if (!process_is_alive(process))
        return failed("process %ld ended without a profile", (long)process->pid);
    return failed("process %ld was sent signal %d (%s), but no file appeared: its stderr may say "
                  "why, or the program has a handler of its own",
                  (long)process->pid, number, strsignal(number));
}

int ask_process(const struct process *process, ask_take *take, void *argument)
{
    static struct pattern pattern;
    uint64_t number = 0;
    process_option(process, OPTION_DUMP_SIGNAL, &number);
    int status = check_signal(process, (int)number);
    if (status != STATUS_DONE)
        return status;
    make_pattern(&pattern, process);
    if (pattern.is_too_long)
        return failed("HPMALLOC_DUMP_PATH of process %ld is too long", (long)process->pid);
    return ask(process, (int)number, &pattern, take, argument);
}
