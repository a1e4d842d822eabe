/* Asks a process for a profile: by the signal on which it dumps, whose files are waited for.
 *
 *   dump, source  --process-->  ask  --signal-->  the program  --files-->  dump, source
 *
 * Fails: calls that return int return STATUS_FAILED, with one line said. */
#ifndef HPPROF_ASK_H
#define HPPROF_ASK_H

#include "process.h"

/* Gets the name of each new file, as seen through /proc. */
typedef void ask_take(const char *name, void *argument);

int ask_process(const struct process *process, ask_take *take, void *argument);

/* How many files one dump of it makes. */
unsigned ask_file_count(const struct process *process);

#endif
