/* Beginnings and ends: of the process, of threads, of forks.
 *
 * The heap sets itself up on the first call of any thread, at whatever time that is. Options, the
 * profiler and signals wait for the library's constructor. A thread gets its cache on its first
 * slow call and gives it back when it ends; what it allocates or frees after that (destructors of
 * other libraries) goes to the central lists one by one. */
#ifndef HPM_API_LIFECYCLE_H
#define HPM_API_LIFECYCLE_H

#include <signal.h>
#include <sys/types.h>

#include "api/thread.h"

/* This thread's, made when it has none; NULL when it has ended or there is no memory. */
struct thread *lifecycle_attach_slow(void);

HPM_INLINE struct thread *lifecycle_thread(void)
{
    struct tcache *cache = tcache_self;
    return likely(cache != &tcache_none) ? (struct thread *)cache : lifecycle_attach_slow();
}

/* Has `register_handlers` (pthread_atfork, or what stands for it) told our fork handlers, unless it
 * was before. To be called before the first fork. */
typedef int register_function(void (*prepare)(void), void (*parent)(void), void (*child)(void));
void lifecycle_watch_forks(register_function *register_handlers);

/* The program is told that the dump signal has its default action, for it has set no other: one
 * that looks for a handler of its own does not find a stranger's. What it was told it may set again:
 * then the signal dumps again. A default that it wishes for itself is one.
 * Signal: async-signal-safe. */
void lifecycle_hide_action(struct sigaction *before);
bool lifecycle_is_hidden_action(int number, const struct sigaction *action);
void lifecycle_show_action(struct sigaction *action);

/* Whether `fork`, as the caller sees it, is that of api/interpose, which watches. It is not in a
 * static program, and in a library opened late, whose names stand in front of nothing. */
bool interpose_is_own_fork(pid_t (*fork)(void));

#endif
