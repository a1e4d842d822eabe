#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ask.h"
#include "record.h"
#include "style.h"

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

/* What was printed so far. */
struct printed {
    bool as_json;
    int64_t pid;
    unsigned count;
};

static void begin_json(const struct printed *printed)
{
    json_open(NULL, '{');
    json_number("pid", printed->pid);
    json_open("files", '[');
}

/* By its own name when that leads to the same file from here, else through /proc. */
static void print_file(const char *name, void *argument)
{
    struct printed *printed = argument;
    char path[PATH_MAX];
    struct stat there, here;
    if (realpath(name, path) != NULL && stat(name, &there) == 0 && stat(path, &here) == 0 &&
        there.st_dev == here.st_dev && there.st_ino == here.st_ino)
        name = path;
    if (!printed->as_json)
        puts(name);
    else if (printed->count++ == 0)
        begin_json(printed);
    if (printed->as_json)
        json_text(NULL, name);
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
    pid_t pid;
    struct process process;
    if (count == 2 && is_help(arguments[1]))
        return fputs(help, stdout) >= 0 ? STATUS_DONE : STATUS_FAILED;
    struct printed printed = {.as_json = take_json(&count, arguments)};
    if (asks_for_record(count, arguments))
        return record_dump(count - 1, arguments + 1, printed.as_json);
    if (count != 2)
        return misused("dump: takes one process id");
    if (!process_parse_id(arguments[1], &pid))
        return misused("dump: '%s' is no process id", arguments[1]);
    printed.pid = pid;
    int status = process_open(&process, pid);
    if (status == STATUS_DONE)
        status = ask_process(&process, print_file, &printed);
    process_close(&process);
    if (printed.count != 0) {
        json_close(']');
        json_close('}');
    }
    return status;
}
