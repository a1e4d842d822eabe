/* What /proc tells of another process that runs under the library.
 *
 * Fails: calls that return int return STATUS_FAILED, with one line said. */
#ifndef HPPROF_PROCESS_H
#define HPPROF_PROCESS_H

#include <sys/types.h>

#include "hpprof.h"

struct process {
    pid_t pid;
    pid_t own_pid; // as the process itself knows it, in its own pid namespace
    uint64_t caught_signals;
    char *environment; // as it began, NUL after each setting; an empty one ends it
};

bool process_parse_id(const char *text, pid_t *pid);
int process_open(struct process *process, pid_t pid);
int process_look(struct process *process, pid_t pid); // whether under the library or not
void process_close(struct process *process);

/* A file of its folder in /proc, whole, with two NULs behind it, for free(3); NULL: errno says why.
 */
char *process_read(pid_t pid, const char *name);

/* As the process began with it; NULL: unset. */
const char *process_variable(const struct process *process, const char *name);

/* What the library in the process has made of the option: its default when unset or wrong. */
const char *process_option(const struct process *process, enum option_id id, uint64_t *number);

/* Not when it has ended and its parent has yet to hear of it. */
bool process_is_alive(const struct process *process);

/* As the kernel counts; 0: it does not say. */
uint64_t process_resident_bytes(const struct process *process);

/* As ps shows it; "": not known. */
const char *process_name(const struct process *process, char *name, size_t size);

#endif
