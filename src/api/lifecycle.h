/* Beginnings and ends: of the process, of threads, of forks.
 *
 * The heap sets itself up on the first call of any thread, at whatever time that is. Options, the
 * profiler and signals wait for the library's constructor. A thread gets its cache on its first
 * slow call and gives it back when it ends; what it allocates or frees after that (destructors of
 * other libraries) goes to the central lists one by one. */
#ifndef HPM_API_LIFECYCLE_H
#define HPM_API_LIFECYCLE_H

#include "api/thread.h"

/* This thread's, made when it has none; NULL when it has ended or there is no memory. */
struct thread *lifecycle_attach_slow(void);

HPM_INLINE struct thread *lifecycle_thread(void)
{
    struct tcache *cache = tcache_self;
    return likely(cache != &tcache_none) ? (struct thread *)cache : lifecycle_attach_slow();
}

#endif
