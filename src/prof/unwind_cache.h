/* Code address -> how to step to the caller: remembered, so that a warm frame costs a few
 * nanoseconds.
 *
 * An entry is two words, the step and the address exclusive-or the step: whoever reads halves of two
 * different entries sees that they do not belong together. So looking up needs no lock.
 * Lock:   one for finding what is not remembered, rank LOCK_UNWIND.
 * Signal: async-signal-safe on a thread that holds no lock of ours. */
#ifndef HPM_PROF_UNWIND_CACHE_H
#define HPM_PROF_UNWIND_CACHE_H

#include <string.h>

#include "prof/unwind_cfi.h"

/* A small program needs few entries, and they lie in one page of the kernel's. */
enum { UNWIND_CACHE_BITS = 12, UNWIND_CACHE_FIRST_ENTRIES = 256 };

struct unwind_cache_entry {
    _Atomic uint64_t step;
    _Atomic uint64_t check; // address ^ step ^ generation
};

extern HPM_HIDDEN struct unwind_cache_entry unwind_cache_entries[1 << UNWIND_CACHE_BITS];
extern HPM_HIDDEN _Atomic uint64_t unwind_cache_mask; // number of entries in use - 1
extern HPM_HIDDEN _Atomic uint64_t unwind_cache_generation; // steps of 2^48: apart from any address

/* At start, before other threads allocate. May take the loader's lock: called by the constructor. */
void unwind_cache_init(void);

HPM_INLINE struct unwind_cache_entry *unwind_cache_entry_of(uintptr_t address)
{
    uint64_t mask = atomic_load_explicit(&unwind_cache_mask, memory_order_relaxed);
    return &unwind_cache_entries[(address * 0x9e3779b97f4a7c15u) >> (64 - UNWIND_CACHE_BITS) & mask];
}

/* The step as one word. False: it is not remembered. */
HPM_INLINE bool unwind_cache_find(uintptr_t address, uint64_t *word)
{
    struct unwind_cache_entry *entry = unwind_cache_entry_of(address);
    *word = atomic_load_explicit(&entry->step, memory_order_relaxed);
    uint64_t check = atomic_load_explicit(&entry->check, memory_order_relaxed);
    uint64_t now = atomic_load_explicit(&unwind_cache_generation, memory_order_relaxed);
    return likely((check ^ *word ^ now) == address);
}

HPM_INLINE uint64_t unwind_step_word(struct step step)
{
    uint64_t word;
    memcpy(&word, &step, sizeof(word));
    return word;
}

struct step unwind_cache_get(uintptr_t address);

/* Not remembered: a microsecond. */
struct kept_register unwind_cache_kept(uintptr_t address, unsigned number);

/* After a walk: the tables are read seldom, and need not stay in memory. */
extern HPM_HIDDEN _Atomic bool unwind_cache_has_read;
void unwind_cache_settle_slow(void);

HPM_INLINE void unwind_cache_settle(void)
{
    if (unlikely(atomic_load_explicit(&unwind_cache_has_read, memory_order_relaxed)))
        unwind_cache_settle_slow();
}

/* Before an object is unloaded, and after: what is remembered is void. Not for handlers. */
void unwind_cache_prepare_unload(void);
void unwind_cache_forget(void);

void unwind_cache_fork_prepare(void);
void unwind_cache_fork_parent(void);
void unwind_cache_fork_child(void);

#endif
