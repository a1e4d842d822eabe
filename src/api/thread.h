/* What the library keeps for a thread: its cache and its sampler, side by side. */
#ifndef HPM_API_THREAD_H
#define HPM_API_THREAD_H

#include "heap/tcache.h"
#include "prof/sampler.h"

struct thread {
    struct tcache cache; // first: tcache_self points here
    struct sampler sampler;
    size_t interval; // at which the cache's allowances were drawn
    bool is_sampling; // an allocation inside the profiler is not sampled
};

/* Code that calls down into the profiler and is no caller of ours: left out of stacks. */
#define HPM_API      __attribute__((section("hpm_text")))
#define HPM_API_SLOW __attribute__((section("hpm_text"), noinline))

#endif
