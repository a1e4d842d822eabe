#include "base/lock.h"

#include "base/os.h"
#include "base/print.h"

enum { SPINS = 64, WAKES_IN_VAIN = 4 };

static HPM_TLS unsigned held;
static counter contended;
static HPM_TLS void (*deferred)(void);
#ifdef HPM_DEBUG
static HPM_TLS const struct lock *held_locks[256];

static void note_acquired(const struct lock *lock)
{
    for (unsigned i = 0; i < held; i++) {
        if (held_locks[i]->rank > lock->rank || held_locks[i] == lock)
            die("lock of rank %u taken while one of rank %u is held", lock->rank,
                held_locks[i]->rank);
    }
    held_locks[held++] = lock;
}

static void note_released(const struct lock *lock)
{
    for (unsigned i = 0; i < held; i++) {
        if (held_locks[i] == lock) {
            held_locks[i] = held_locks[--held];
            return;
        }
    }
    die("lock of rank %u released by a thread that does not hold it", lock->rank);
}

void lock_assert_held(const struct lock *lock)
{
    for (unsigned i = 0; i < held; i++) {
        if (held_locks[i] == lock)
            return;
    }
    die("lock of rank %u should be held here", lock->rank);
}
#else
static void note_acquired(const struct lock *lock)
{
    (void)lock;
    held++;
}

static void note_released(const struct lock *lock)
{
    (void)lock;
    held--;
}

void lock_assert_held(const struct lock *lock)
{
    (void)lock;
}
#endif

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Acquire: pairs with the release of the holder before. */
static bool try_to_take(struct lock *lock)
{
    uint32_t free_state = LOCK_FREE;
    return atomic_compare_exchange_strong_explicit(&lock->state, &free_state, LOCK_HELD,
                                                   memory_order_acquire, memory_order_relaxed);
}

/* For who was woken `wakes` times. Returns whether it has the lock; else what to sleep on is in
 * *seen. Who takes it does not know whether others sleep. */
static bool take_or_ask(struct lock *lock, unsigned wakes, uint32_t *seen)
{
    uint32_t wanted;
    bool takes;
    *seen = atomic_load_explicit(&lock->state, memory_order_relaxed);
    do {
        takes = *seen == LOCK_FREE || (*seen == LOCK_HANDED_OVER && wakes > 0);
        if (takes)
            wanted = LOCK_AWAITED;
        else if (wakes > WAKES_IN_VAIN)
            wanted = LOCK_STARVED;
        else
            wanted = *seen == LOCK_HELD ? LOCK_AWAITED : *seen;
    } while (!atomic_compare_exchange_weak_explicit(&lock->state, seen, wanted,
                                                    memory_order_acquire, memory_order_relaxed));
    *seen = wanted;
    return takes;
}

static void take_asleep(struct lock *lock, unsigned wakes)
{
    uint32_t seen;
    while (!take_or_ask(lock, wakes, &seen))
        wakes += os_wait(&lock->state, seen);
}

static HPM_NOINLINE void acquire_slow(struct lock *lock)
{
    counter_add(&contended, 1);
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&lock->state, memory_order_relaxed) == LOCK_FREE &&
            try_to_take(lock))
            return;
        pause_briefly();
    }
    take_asleep(lock, 0);
}

/* The count rises before the lock is taken: a signal between the two sees too many, never too
 * few, and only puts its work off. */
void lock_acquire(struct lock *lock)
{
    note_acquired(lock);
    atomic_signal_fence(memory_order_seq_cst);
    if (!try_to_take(lock))
        acquire_slow(lock);
}

static HPM_NOINLINE void run_deferred(void)
{
    void (*work)(void) = deferred;
    deferred = NULL;
    work();
}

/* Counts a lock out, and does what was put off until it was the last. */
static void leave(const struct lock *lock)
{
    atomic_signal_fence(memory_order_seq_cst);
    note_released(lock);
    atomic_signal_fence(memory_order_seq_cst);
    if (unlikely(deferred != NULL) && held == 0)
        run_deferred();
}

uint64_t lock_contended_count(void)
{
    return counter_get(&contended);
}

bool lock_try(struct lock *lock)
{
    note_acquired(lock);
    atomic_signal_fence(memory_order_seq_cst);
    if (try_to_take(lock))
        return true;
    leave(lock);
    return false;
}

/* Only those who wait for it change the state of a lock that is held, and only upwards. */
static HPM_NOINLINE void release_awaited(struct lock *lock)
{
    uint32_t seen = atomic_load_explicit(&lock->state, memory_order_relaxed), next;
    do {
        next = seen == LOCK_STARVED ? LOCK_HANDED_OVER : LOCK_FREE;
    } while (!atomic_compare_exchange_weak_explicit(&lock->state, &seen, next, memory_order_release,
                                                    memory_order_relaxed));
    os_wake(&lock->state, 1);
}

void lock_release(struct lock *lock)
{
    /* Release: pairs with the acquire of the next holder. */
    uint32_t held_state = LOCK_HELD;
    if (!atomic_compare_exchange_strong_explicit(&lock->state, &held_state, LOCK_FREE,
                                                 memory_order_release, memory_order_relaxed))
        release_awaited(lock);
    leave(lock);
}

void lock_reset(struct lock *lock)
{
    atomic_store_explicit(&lock->state, LOCK_FREE, memory_order_relaxed);
    leave(lock);
}

unsigned lock_held_count(void)
{
    return held;
}

void lock_defer(void (*work)(void))
{
    if (held == 0)
        work();
    else
        deferred = work;
}
