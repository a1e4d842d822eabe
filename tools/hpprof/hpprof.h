/* hpprof: runs programs under the library, asks them for profiles, and reads these.
 *
 * A command is one file, and gets its arguments with its own name first. It returns the exit
 * status: STATUS_DONE, STATUS_FAILED when it could not, STATUS_MISUSED when it was called wrongly.
 */
#ifndef HPPROF_H
#define HPPROF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/options.h"

enum { STATUS_DONE = 0, STATUS_FAILED = 1, STATUS_MISUSED = 2 };

int command_run(int count, char **arguments);
int command_dump(int count, char **arguments);
int command_watch(int count, char **arguments);
int command_options(int count, char **arguments);
int command_top(int count, char **arguments);
int command_tree(int count, char **arguments);
int command_peek(int count, char **arguments);
int command_list(int count, char **arguments);
int command_diff(int count, char **arguments);
int command_leaks(int count, char **arguments);
int command_convert(int count, char **arguments);
int command_merge(int count, char **arguments);
int command_symbolize(int count, char **arguments);
int command_flame(int count, char **arguments);
int command_doctor(int count, char **arguments);
int command_report(int count, char **arguments);

/* One line on stderr; each returns the status of its name. */
int failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
int misused(const char *format, ...) __attribute__((format(printf, 1, 2)));

bool is_help(const char *argument);

/* "HPMALLOC_" and the option's name. */
const char *option_variable(const struct option *option, char *buffer, size_t size);

#endif
