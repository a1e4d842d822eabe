/* Where heap and profile meet: an allocation that is a sample, and what a thread may allocate until
 * the next one. */
#ifndef HPM_API_SAMPLING_H
#define HPM_API_SAMPLING_H

#include "api/thread.h"
#include "prof/profile.h"

#ifdef HPM_NO_PROFILING
HPM_INLINE void *sampling_renew(struct thread *thread, unsigned class, size_t bytes,
                                size_t alignment)
{
    (void)bytes, (void)alignment;
    thread->cache.lists[class].allowance = TCACHE_UNLIMITED;
    return NULL;
}

HPM_INLINE bool sampling_is_void(const struct tcache *cache)
{
    (void)cache;
    return false;
}

HPM_INLINE sample_tag sampling_toss(struct thread *thread, const void *block, size_t bytes,
                                    size_t charged_bytes)
{
    (void)thread, (void)block, (void)bytes, (void)charged_bytes;
    return 0;
}
#else
/* Called when a list's allowance is used up or not set: sets it, above 0. When a sample is due, the
 * allocation of `bytes` is it: returns its object. NULL: allocate as usual. */
void *sampling_renew(struct thread *thread, unsigned class, size_t bytes, size_t alignment);

/* Whether the thread's allowances were drawn before the interval changed. */
HPM_INLINE bool sampling_is_void(const struct tcache *cache)
{
    return cache->allowance_epoch != sampler_epoch();
}

/* Tosses for a large block; the tag of its record, or 0 when it is no sample. */
sample_tag sampling_toss(struct thread *thread, const void *block, size_t bytes,
                         size_t charged_bytes);
#endif

#endif
