#define _GNU_SOURCE
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "process.h"
#include "record.h"
#include "style.h"

enum { WAIT_MS = 10000, POLL_MS = 20, PATTERN_BYTES = 3 * PATH_MAX };

static const char help[] =
    "Usage: hpprof dump [--json] PID\n"
    "       hpprof dump [--json] --record FILE [--profile NAME] [--format NAME] [-o FILE]\n"
    "\n"
    "Sends a process that runs under hpmalloc the signal that dumps, waits up to ten seconds for\n"
    "its files, and prints their names.\n"
    "\n"
    "With --record, makes a profile of the file that HPMALLOC_RECORD named: after the process was\n"
    "killed, or while it hangs and answers no signal. Prints the name of what it has written:\n"
    "FILE.1.pb.gz, the next FILE.2.pb.gz, or what -o says (- is the standard output).\n"
    "\n"
    "  --profile NAME  heap, allocs, peak or lifetime (default: heap)\n"
    "  --format NAME   pprof, text, legacy or collapsed (default: pprof)\n"
    "  --json          the names for scripts\n"
    "\n"
    "Example: go tool pprof -top -sample_index=inuse_space $(hpprof dump $(pidof redis-server))\n";

/* A file name pattern for glob(3), as long as it fits. */
struct pattern {
    char text[PATTERN_BYTES];
    size_t used;
    bool is_too_long;
};

static void put(struct pattern *pattern, const char *text)
{
    size_t length = strlen(text);
    if (length >= sizeof(pattern->text) - pattern->used) {
        pattern->is_too_long = true;
        return;
    }
    memcpy(pattern->text + pattern->used, text, length + 1);
    pattern->used += length;
}

static void put_literal(struct pattern *pattern, char c)
{
    char text[3] = {'\\', c, '\0'};
    put(pattern, strchr("*?[\\", c) != NULL ? text : text + 1);
}

static void put_number(struct pattern *pattern, long number)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%ld", number);
    put(pattern, digits);
}

/* A directive of HPMALLOC_DUMP_PATH: the pid is known, the others are whatever they are. */
static void put_directive(struct pattern *pattern, char directive, const struct process *process)
{
    if (directive == 'p')
        put_number(pattern, (long)process->own_pid);
    else if (strchr("enrth", directive) != NULL)
        put(pattern, "*");
    else
        put_literal(pattern, '%');
    if (directive != '%' && strchr("penrth", directive) == NULL)
        put_literal(pattern, directive);
}

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

static void put_path(struct pattern *pattern, const char *path, const char *limit,
                     const struct process *process)
{
    for (const char *at = path; at < limit; at++) {
        if (at[0] == '%' && at + 1 < limit)
            put_directive(pattern, *++at, process);
        else
            put_literal(pattern, *at);
    }
}

/* Seen through /proc, so that the process may live in another root. Several profiles put their
 * names before the ending, and formats their endings behind. */
static void make_pattern(struct pattern *pattern, const struct process *process)
{
    uint64_t unused;
    const char *path = process_option(process, OPTION_DUMP_PATH, &unused);
    const char *ending = find_ending(path);
    put(pattern, "/proc/");
    put_number(pattern, (long)process->pid);
    put(pattern, path[0] == '/' ? "/root" : "/cwd/");
    put_path(pattern, path, ending, process);
    if (ending[0] == '\0') {
        put(pattern, ".*");
        return;
    }
    put(pattern, count_of_set(process, OPTION_DUMP_PROFILE) > 1 ? "*" : "");
    put(pattern, ending);
    put(pattern, count_of_set(process, OPTION_DUMP_FORMAT) > 1 ? "*" : "");
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

/* By its own name when that leads to the same file from here, else through /proc. */
static void print_file(const char *name, bool as_json)
{
    char path[PATH_MAX];
    struct stat there, here;
    if (realpath(name, path) != NULL && stat(name, &there) == 0 && stat(path, &here) == 0 &&
        there.st_dev == here.st_dev && there.st_ino == here.st_ino)
        name = path;
    if (as_json)
        json_text(NULL, name);
    else
        puts(name);
}

static void print_new(const glob_t *before, const glob_t *now, bool as_json)
{
    for (size_t i = 0; i < now->gl_pathc; i++) {
        if (!holds(before, now->gl_pathv[i]))
            print_file(now->gl_pathv[i], as_json);
    }
}

static void print_new_as_json(const struct process *process, const glob_t *before,
                              const glob_t *now)
{
    json_open(NULL, '{');
    json_number("pid", (int64_t)process->pid);
    json_open("files", '[');
    print_new(before, now, true);
    json_close(']');
    json_close('}');
}

static void list_files(const struct pattern *pattern, glob_t *files)
{
    if (glob(pattern->text, 0, NULL, files) != 0)
        *files = (glob_t){.gl_pathc = 0};
}

/* Returns how many new files there are in the end, and has printed them. */
static unsigned wait_for_files(const struct process *process, const struct pattern *pattern,
                               const glob_t *before, bool as_json)
{
    static const struct timespec poll = {.tv_nsec = POLL_MS * 1000000};
    unsigned count = 0, expected = count_of_set(process, OPTION_DUMP_PROFILE) *
                                   count_of_set(process, OPTION_DUMP_FORMAT);
    glob_t now;
    for (int waited_ms = 0;; waited_ms += POLL_MS) {
        bool is_last = waited_ms >= WAIT_MS || !process_is_alive(process);
        list_files(pattern, &now);
        count = count_new(before, &now);
        if (count >= expected || is_last)
            break;
        globfree(&now);
        nanosleep(&poll, NULL);
    }
    if (as_json && count != 0)
        print_new_as_json(process, before, &now);
    else
        print_new(before, &now, false);
    globfree(&now);
    return count;
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
               bool as_json)
{
    glob_t before;
    list_files(pattern, &before);
    if (kill(process->pid, number) != 0) {
        globfree(&before);
        return failed("process %ld: %s", (long)process->pid, strerror(errno));
    }
    unsigned count = wait_for_files(process, pattern, &before, as_json);
    globfree(&before);
    if (count != 0)
        return STATUS_DONE;
    if (!process_is_alive(process))
        return failed("process %ld ended without a profile", (long)process->pid);
    return failed("process %ld was sent signal %d (%s), but no file appeared: its stderr may say "
                  "why, or the program has a handler of its own",
                  (long)process->pid, number, strsignal(number));
}

static int dump(const struct process *process, bool as_json)
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
    return ask(process, (int)number, &pattern, as_json);
}

static bool asks_for_record(int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--record") == 0)
            return true;
    }
    return false;
}

/* Takes it out of the arguments. */
static bool take_json(int *count, char **arguments)
{
    int kept = 1;
    for (int i = 1; i < *count; i++) {
        if (strcmp(arguments[i], "--json") != 0)
            arguments[kept++] = arguments[i];
    }
    bool found = kept < *count;
    *count = kept;
    return found;
}

int command_dump(int count, char **arguments)
{
    char *end;
    struct process process;
    if (count == 2 && is_help(arguments[1]))
        return fputs(help, stdout) >= 0 ? STATUS_DONE : STATUS_FAILED;
    bool as_json = take_json(&count, arguments);
    if (asks_for_record(count, arguments))
        return record_dump(count - 1, arguments + 1, as_json);
    if (count != 2)
        return misused("dump: takes one process id");
    long pid = strtol(arguments[1], &end, 10);
    if (*end != '\0' || end == arguments[1] || pid <= 0 || pid > INT_MAX)
        return misused("dump: '%s' is no process id", arguments[1]);
    int status = process_open(&process, (pid_t)pid);
    if (status == STATUS_DONE)
        status = dump(&process, as_json);
    process_close(&process);
    return status;
}
