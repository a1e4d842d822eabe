#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *open_file(pid_t pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%ld/%s", (long)pid, name);
    return fopen(path, "re");
}

static int complain(pid_t pid)
{
    if (errno == ENOENT || errno == ESRCH)
        return failed("there is no process %ld", (long)pid);
    if (errno == EACCES || errno == EPERM)
        return failed("process %ld belongs to somebody else: ask %s", (long)pid,
                      geteuid() == 0 ? "from outside of this container" : "as its user, or as root");
    return failed("process %ld: %s", (long)pid, strerror(errno));
}

char *process_read(pid_t pid, const char *name)
{
    FILE *file = open_file(pid, name);
    if (file == NULL)
        return NULL;
    size_t used = 0, size = 4096;
    char *text = malloc(size);
    while (text != NULL) {
        used += fread(text + used, 1, size - used - 2, file);
        if (used < size - 2)
            break;
        size *= 2;
        char *longer = realloc(text, size);
        if (longer == NULL)
            free(text);
        text = longer;
    }
    int error = ferror(file) ? errno : 0;
    fclose(file);
    if (text != NULL)
        text[used] = text[used + 1] = '\0';
    errno = error;
    return text;
}

static int check_library(pid_t pid)
{
    char *maps = process_read(pid, "maps");
    if (maps == NULL)
        return complain(pid);
    bool found = strstr(maps, "/libhpmalloc.so") != NULL;
    free(maps);
    if (found)
        return STATUS_DONE;
    return failed("process %ld does not run under hpmalloc: libhpmalloc.so is not in its memory",
                  (long)pid);
}

/* The last number of a line: of the pids, that of the innermost namespace. */
static long last_number(const char *line)
{
    const char *last = strrchr(line, '\t');
    return last != NULL ? strtol(last + 1, NULL, 10) : 0;
}

static int read_status(struct process *process)
{
    char line[256];
    FILE *file = open_file(process->pid, "status");
    if (file == NULL)
        return complain(process->pid);
    process->own_pid = process->pid;
    process->caught_signals = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "NSpid:", 6) == 0)
            process->own_pid = (pid_t)last_number(line);
        if (strncmp(line, "SigCgt:", 7) == 0)
            process->caught_signals = strtoull(line + 7, NULL, 16);
    }
    fclose(file);
    return STATUS_DONE;
}

bool process_parse_id(const char *text, pid_t *pid)
{
    char *end;
    long number = strtol(text, &end, 10);
    *pid = (pid_t)number;
    return *end == '\0' && end != text && number > 0 && number <= INT_MAX;
}

int process_look(struct process *process, pid_t pid)
{
    *process = (struct process){.pid = pid};
    int status = read_status(process);
    if (status != STATUS_DONE)
        return status;
    process->environment = process_read(pid, "environ");
    return process->environment != NULL ? STATUS_DONE : complain(pid);
}

int process_open(struct process *process, pid_t pid)
{
    *process = (struct process){.pid = pid};
    int status = check_library(pid);
    return status == STATUS_DONE ? process_look(process, pid) : status;
}

void process_close(struct process *process)
{
    free(process->environment);
    process->environment = NULL;
}

const char *process_variable(const struct process *process, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = process->environment; *at != '\0'; at += strlen(at) + 1) {
        if (strncmp(at, name, length) == 0 && at[length] == '=')
            return at + length + 1;
    }
    return NULL;
}

const char *process_option(const struct process *process, enum option_id id, uint64_t *number)
{
    char variable[64];
    const struct option *option = &option_table[id];
    const char *text =
        process_variable(process, option_variable(option, variable, sizeof(variable)));
    if (text != NULL && text[0] != '\0' && option_parse(option, text, number))
        return text;
    if (option->initial != NULL)
        option_parse(option, option->initial, number);
    return option->initial;
}

/* The state stands behind the name in brackets, which may hold anything. */
static bool is_zombie(const struct process *process)
{
    char *text = process_read(process->pid, "stat");
    const char *end = text != NULL ? strrchr(text, ')') : NULL;
    bool is_one = end != NULL && (strncmp(end, ") Z", 3) == 0 || strncmp(end, ") X", 3) == 0);
    free(text);
    return is_one;
}

bool process_is_alive(const struct process *process)
{
    return (kill(process->pid, 0) == 0 || errno != ESRCH) && !is_zombie(process);
}

uint64_t process_resident_bytes(const struct process *process)
{
    unsigned long pages = 0;
    FILE *file = open_file(process->pid, "statm");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*u %lu", &pages) != 1)
        pages = 0;
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

const char *process_name(const struct process *process, char *name, size_t size)
{
    char *text = process_read(process->pid, "comm");
    snprintf(name, size, "%s", text != NULL ? text : "");
    name[strcspn(name, "\n")] = '\0';
    for (char *c = name; *c != '\0'; c++)
        *c = (unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c;
    free(text);
    return name;
}
