/* `hpprof run`, on a terminal: a line on stderr of how the program does, while it is waited for.
 *
 *   runreport  --child-->  runlive  --record (HPMALLOC_RECORD)-->  record_reader
 *
 * What is live comes from the program's record, which costs it a few stores a sample: no thread, no
 * signal, no file it would leave. The line stands at the right edge, so that what the program
 * prints is seldom behind it, and only where the program does not draw on the terminal itself. */
#ifndef HPPROF_RUNLIVE_H
#define HPPROF_RUNLIVE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct runlive {
    char folder[PATH_MAX]; // of the record; "": none, and there is no line
};

/* Whether a line can be shown at all; if so, makes the folder. */
void runlive_open(struct runlive *live);
void runlive_close(struct runlive *live);

/* In the child that becomes the program. False: no memory. */
bool runlive_prepare(const struct runlive *live);

/* Waits for the child as waitpid does; false: errno says why. Meanwhile calls `look`, if there is one,
 * about once a second. */
typedef void runlive_look(void *argument);
bool runlive_wait(const struct runlive *live, pid_t child, int *status, runlive_look *look,
                  void *argument);

#endif
