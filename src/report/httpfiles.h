/* The descriptors of the server. All close at exec; and they are known, so that the child of a
 * fork, which does not serve, can close its copies: else the port stays taken when the parent is
 * gone.
 *
 * A program may believe that all numbers are its own: shells take 3 to 9 by number, daemons close
 * all there are. So ours are high ones, and one that was closed behind our back, or is now another
 * file's, is never used or closed.
 *
 * Lock:  one, rank LOCK_HTTP.
 * Fails: a negative errno. */
#ifndef HPM_REPORT_HTTPFILES_H
#define HPM_REPORT_HTTPFILES_H

#include "base/base.h"

/* A socket that never blocks; the next connection; a file in memory. */
int httpfiles_socket(int family);
int httpfiles_accept(int listener);
int httpfiles_memory(void);

/* Whether the number still stands for what was opened under it. */
bool httpfiles_is_ours(int fd);

/* Nothing for one that is not ours. */
void httpfiles_close(int fd);

void httpfiles_fork_prepare(void);
void httpfiles_fork_parent(void);
void httpfiles_fork_child(void);

#endif
