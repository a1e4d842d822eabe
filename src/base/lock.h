/* A small mutual-exclusion lock on a futex: no allocation, no set-up, one word.
 *
 * Whoever comes first when a lock becomes free has it: that is fastest. But a thread that was woken
 * several times and found it taken again is handed it, so that nobody waits for ever.
 *
 * Locks are taken in rising rank; --enable-debug checks it. A thread knows how many locks it
 * holds, so that a signal handler which lands on a thread inside one can put its work off until
 * the last is released (lock_defer).
 * Signal: a handler may take a lock only when lock_held_count() is 0. */
#ifndef HPM_BASE_LOCK_H
#define HPM_BASE_LOCK_H

#include "base/base.h"

/* The order in which locks may be nested: a holder takes only locks of higher rank. */
enum lock_rank {
    LOCK_CRIME = 1,
    LOCK_HTTP,
    LOCK_DUMP,
    LOCK_STATS,
    LOCK_CONTROL,
    LOCK_REGISTRY,
    LOCK_SHARDS,
    LOCK_CENTRAL,
    LOCK_GUARD,
    LOCK_HARDENED,
    LOCK_PAGEHEAP,
    LOCK_UNWIND,
    LOCK_RECORD,
    LOCK_STACKTAB,
    LOCK_LIVETAB,
    LOCK_META,
    LOCK_RANK_COUNT
};

enum lock_state {
    LOCK_FREE,
    LOCK_HELD,
    LOCK_AWAITED,     // held, and somebody may be asleep until it is not
    LOCK_STARVED,     // the same, and it goes to one of those
    LOCK_HANDED_OVER, // nobody's; only who was asleep takes it
};

/* Without ranks to check, a lock is all zeroes, so that what holds one takes no page before it is
 * used. */
struct lock {
    _Atomic uint32_t state; // enum lock_state
#ifdef HPM_DEBUG
    uint32_t rank;
#endif
};

#ifdef HPM_DEBUG
#define LOCK_INITIAL(lock_rank)                                                                    \
    {                                                                                              \
        .rank = (lock_rank)                                                                        \
    }
#else
#define LOCK_INITIAL(lock_rank)                                                                    \
    {                                                                                              \
        .state = 0                                                                                 \
    }
#endif

void lock_acquire(struct lock *lock);

/* How often that found the lock held. */
uint64_t lock_contended_count(void);
bool lock_try(struct lock *lock);
void lock_release(struct lock *lock);

/* In the child of fork: makes a lock free again that the parent's thread held for us. */
void lock_reset(struct lock *lock);

/* How many locks this thread holds. */
unsigned lock_held_count(void);

/* Has `work` called once on this thread, as soon as it holds no lock; at once when it holds none.
 * Signal: made for handlers. One piece of work is remembered, calls for it coalesce. */
void lock_defer(void (*work)(void));

/* Dies unless this thread holds the lock (--enable-debug; nothing otherwise). */
void lock_assert_held(const struct lock *lock);

#endif
