/* `hpprof run --report` and `--progress`: a program is waited for, and what it left becomes a page.
 */
#ifndef HPPROF_RUNREPORT_H
#define HPPROF_RUNREPORT_H

/* What turns the child into the program; returns when it cannot, with one line said. */
typedef int run_become(char **program, const char *library);

/* Runs the program and writes the report to `output`, if that is not NULL. The status is the
 * program's, 128 and the signal that ended it, or STATUS_FAILED with one line said. */
int runreport(char **program, const char *library, const char *output, run_become *become);

#endif
