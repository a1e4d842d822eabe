#include "base/lock.h"

#include "base/os.h"
#include "base/print.h"

enum { SPINS = 64 };

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

static HPM_NOINLINE void acquire_slow(struct lock *lock)
{
    counter_add(&contended, 1);
    for (int i = 0; i < SPINS; i++) {
        uint32_t free_state = 0;
        if (atomic_load_explicit(&lock->state, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_weak_explicit(&lock->state, &free_state, 1,
                                                  memory_order_acquire, memory_order_relaxed))
            return;
        pause_briefly();
    }
    while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire) != 0)
        os_wait(&lock->state, 2);
}

/* The count rises before the lock is taken: a signal between the two sees too many, never too
 * few, and only puts its work off. */
void lock_acquire(struct lock *lock)
{
    note_acquired(lock);
    atomic_signal_fence(memory_order_seq_cst);
    uint32_t free_state = 0;
    if (!atomic_compare_exchange_strong_explicit(&lock->state, &free_state, 1, memory_order_acquire,
                                                 memory_order_relaxed))
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
    uint32_t free_state = 0;
    if (atomic_compare_exchange_strong_explicit(&lock->state, &free_state, 1, memory_order_acquire,
                                                memory_order_relaxed))
        return true;
    leave(lock);
    return false;
}

void lock_release(struct lock *lock)
{
    /* Release: pairs with the acquire of the next holder. */
    if (atomic_exchange_explicit(&lock->state, 0, memory_order_release) == 2)
        os_wake(&lock->state, 1);
    leave(lock);
}

void lock_reset(struct lock *lock)
{
    atomic_store_explicit(&lock->state, 0, memory_order_relaxed);
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
