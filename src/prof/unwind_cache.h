/* Code address -> how to step to the caller: remembered, so that a warm frame costs a few
 * nanoseconds.
 *
 * An entry is two words, the step and the address exclusive-or the step: whoever reads halves of
 * two different entries sees that they do not belong together. So looking up needs no lock. Lock:
 * one for finding what is not remembered, rank LOCK_UNWIND. Signal: async-signal-safe on a thread
 * that holds no lock of ours. */
#ifndef HPM_PROF_UNWIND_CACHE_H
#define HPM_PROF_UNWIND_CACHE_H

#include "prof/unwind_cfi.h"

/* At start, before other threads allocate. May take the loader's lock: called by the constructor.
 */
void unwind_cache_init(void);

struct step unwind_cache_get(uintptr_t address);

/* Not remembered: a microsecond. */
struct kept_register unwind_cache_kept(uintptr_t address, unsigned number);

/* Before an object is unloaded, and after: what is remembered is void. Not for handlers. */
void unwind_cache_prepare_unload(void);
void unwind_cache_forget(void);

void unwind_cache_fork_prepare(void);
void unwind_cache_fork_parent(void);
void unwind_cache_fork_child(void);

#endif
