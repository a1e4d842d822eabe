/* SIGSEGV and SIGBUS while objects are guarded: first what we know is said, then the program's own
 * handler has its turn, or what the system does without one.
 *
 *   the kernel  --fault-->  faults  --address-->  guarding
 *                             \--signal-->  the program's handler
 *
 * Where we stand in front of the C library's sigaction (api/interpose) a program may set its
 * handler before or after; it is called as it would have been without us. Elsewhere (a static
 * program) a handler that is set later takes our place. A signal that the program ignores is left
 * alone. */
#ifndef HPM_API_FAULTS_H
#define HPM_API_FAULTS_H

#include <signal.h>

#include "base/base.h"

/* Once, after guarding_init. */
void faults_watch(void);

/* What the program asks of sigaction. False: it is none of ours. */
bool faults_take_action(int number, const struct sigaction *action, struct sigaction *before,
                        int *status);

/* A child of fork is watched too; one of vfork, which shares our memory, is not. */
void faults_fork_child(void);

/* The C library's own sigaction. */
int interpose_sigaction(int number, const struct sigaction *action, struct sigaction *before);

#endif
