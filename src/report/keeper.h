/* The thread that dumps when it is time to: each so much or so long (HPMALLOC_DUMP_EVERY), as live
 * memory grows (HPMALLOC_DUMP_ON_GROWTH), or comes near a limit (HPMALLOC_DUMP_ON_LIMIT).
 *
 *   sampling  --sample-->  keeper  --reason-->  dump
 *   lifecycle  --signal, fork, end-->
 *
 * It exists only where one of these options asks for it: for a time from the start, for the others
 * from the sample on that first reaches what was asked for. The child of a fork has none, and
 * makes its own at a sample. When it cannot be made, one line says so and these options are void.
 *
 * No storm: what is due waits until KEEPER_SPACING_NS and nine times what the last dump took have
 * passed since its end; after a dump that failed, twice as long each time, up to a minute. What
 * falls due meanwhile makes one dump.
 *
 * Thread: it takes no signal, allocates nothing, and holds no lock but a dump's. */
#ifndef HPM_REPORT_KEEPER_H
#define HPM_REPORT_KEEPER_H

#include "base/base.h"
#include "prof/profile.h"

#define KEEPER_SPACING_NS 100000000u

/* A sample that takes either estimate this far wakes the keeper. */
struct keeper_thresholds {
    _Atomic uint64_t alloc_bytes, live_bytes;
};
extern HPM_HIDDEN struct keeper_thresholds keeper_thresholds;

/* After the options are read and dumps can be made. `used_bytes` tells what counts against
 * HPMALLOC_HEAP_LIMIT. */
void keeper_init(size_t (*used_bytes)(void));

/* Has a signal's dump made by the keeper. False: it does not run, the caller is to dump itself.
 * Signal: async-signal-safe, and little stack. */
bool keeper_ask_signal(void);

/* A threshold is reached. May make the keeper, for which the C library may allocate. */
void keeper_wake_slow(void);

/* After each sample. */
HPM_INLINE void keeper_look(void)
{
    uint64_t alloc = atomic_load_explicit(&keeper_thresholds.alloc_bytes, memory_order_relaxed);
    uint64_t live = atomic_load_explicit(&keeper_thresholds.live_bytes, memory_order_relaxed);
    if (unlikely(profile_alloc_bytes() >= alloc || profile_live_bytes() >= live))
        keeper_wake_slow();
}

/* As the program ends: a dump under way is finished, then no keeper is. */
void keeper_stop(void);

/* In the child of a fork: counts begin anew. */
void keeper_fork_child(void);

#endif
