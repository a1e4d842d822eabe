/* What is said of a program's crime when the stacks of what led to it are known: the line that
 * says what was done, then each stack with its functions' names.
 *
 * Signal: async-signal-safe on a thread that holds no lock of ours. */
#ifndef HPM_REPORT_CRIME_H
#define HPM_REPORT_CRIME_H

#include "base/base.h"

struct crime_stack {
    const char *title;
    const uintptr_t *frames; // return addresses, innermost first
    size_t depth;            // 0: not known, and left out
};

/* Said whether the program is quiet or not. The line is without "hpmalloc: " and a newline. */
void crime_report(const char *line, const struct crime_stack *stacks, size_t count);

void crime_fork_prepare(void);
void crime_fork_parent(void);
void crime_fork_child(void);

#endif
