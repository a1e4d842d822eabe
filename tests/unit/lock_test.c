#define _GNU_SOURCE
#include <pthread.h>

#include "base/lock.h"
#include "base/os.h"
#include "dies.h"
#include "stepper.h"
#include "tap.h"

enum { THREADS = 4, ROUNDS = 50000 };

static struct lock lock = LOCK_INITIAL(LOCK_CENTRAL);
static struct lock lower = LOCK_INITIAL(LOCK_DUMP);
static struct lock upper = LOCK_INITIAL(LOCK_META);
static long guarded;

static void *count_up(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        lock_acquire(&lock);
        long seen = guarded;
        if (i % 1000 == 0)
            os_yield();
        guarded = seen + 1;
        lock_release(&lock);
    }
    return NULL;
}

TEST(lock, only_one_thread_holds_it_at_a_time)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, count_up, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(guarded, (long)THREADS * ROUNDS);
    printf("# waited in the kernel %llu times\n", (unsigned long long)os_call_count(OS_CALL_WAIT));
}

static _Atomic bool is_waiting, has_passed;

static void *wait_for_it(void *unused)
{
    (void)unused;
    atomic_store(&is_waiting, true);
    lock_acquire(&lock);
    atomic_store(&has_passed, true);
    lock_release(&lock);
    return NULL;
}

static void wait_ns(uint64_t ns)
{
    for (uint64_t end = os_clock_ns() + ns; os_clock_ns() < end;)
        os_yield();
}

TEST(lock, a_waiting_thread_sleeps_and_is_woken)
{
    uint64_t waits = os_call_count(OS_CALL_WAIT);
    uint64_t contended = lock_contended_count();
    pthread_t thread;
    lock_acquire(&lock);
    pthread_create(&thread, NULL, wait_for_it, NULL);
    while (!atomic_load(&is_waiting) || os_call_count(OS_CALL_WAIT) == waits)
        os_yield();
    wait_ns(5000000);
    CHECK(!atomic_load(&has_passed));
    lock_release(&lock);
    pthread_join(thread, NULL);
    CHECK(atomic_load(&has_passed));
    CHECK_EQUAL(lock_contended_count() - contended, 1);
}

/* The one that takes it again at once would have it again before the other is awake. */
TEST(lock, a_thread_that_waits_gets_it_from_one_that_always_wants_it)
{
    enum { TURNS_MAX = 1000 };
    pthread_t thread;
    int turns = 0;
    atomic_store(&has_passed, false);
    lock_acquire(&lock);
    pthread_create(&thread, NULL, wait_for_it, NULL);
    while (!atomic_load(&has_passed) && turns < TURNS_MAX) {
        wait_ns(200000);
        lock_release(&lock);
        lock_acquire(&lock);
        turns++;
    }
    lock_release(&lock);
    pthread_join(thread, NULL);
    CHECK(turns < TURNS_MAX);
    printf("# after %d turns\n", turns);
}

TEST(lock, one_that_is_handed_over_goes_to_a_thread_that_was_woken_for_it)
{
    uint64_t waits = os_call_count(OS_CALL_WAIT);
    pthread_t thread;
    atomic_store(&has_passed, false);
    atomic_store(&lock.state, LOCK_HANDED_OVER);
    pthread_create(&thread, NULL, wait_for_it, NULL);
    while (os_call_count(OS_CALL_WAIT) == waits && !atomic_load(&has_passed))
        os_yield();
    wait_ns(5000000);
    CHECK(!atomic_load(&has_passed));
    CHECK(!lock_try(&lock));
    os_wake(&lock.state, 1);
    pthread_join(thread, NULL);
    CHECK_EQUAL(atomic_load(&lock.state), LOCK_FREE);
}

TEST(lock, trying_takes_a_free_one_only)
{
    CHECK(lock_try(&lock));
    CHECK_EQUAL(lock_held_count(), 1);
    CHECK_EQUAL(atomic_load(&lock.state), LOCK_HELD);
    lock_release(&lock);
    atomic_store(&lock.state, LOCK_HELD);
    CHECK(!lock_try(&lock));
    CHECK_EQUAL(lock_held_count(), 0);
    atomic_store(&lock.state, LOCK_FREE);
}

TEST(lock, a_thread_knows_how_many_it_holds)
{
    CHECK_EQUAL(lock_held_count(), 0);
    lock_acquire(&lower);
    lock_acquire(&lock);
    lock_acquire(&upper);
    CHECK_EQUAL(lock_held_count(), 3);
    lock_release(&lock);
    CHECK_EQUAL(lock_held_count(), 2);
    lock_release(&upper);
    lock_release(&lower);
    CHECK_EQUAL(lock_held_count(), 0);
}

static unsigned work_count, held_at_work;

static void work(void)
{
    work_count++;
    held_at_work = lock_held_count();
}

TEST(lock, deferred_work_is_done_at_once_where_no_lock_is_held)
{
    work_count = 0;
    lock_defer(work);
    CHECK_EQUAL(work_count, 1);
}

TEST(lock, deferred_work_waits_for_the_last_lock_and_is_done_once)
{
    work_count = 0;
    lock_acquire(&lock);
    lock_acquire(&upper);
    lock_defer(work);
    lock_defer(work);
    lock_release(&upper);
    CHECK_EQUAL(work_count, 0);
    lock_release(&lock);
    CHECK_EQUAL(work_count, 1);
    CHECK_EQUAL(held_at_work, 0);
    lock_acquire(&lock);
    lock_release(&lock);
    CHECK_EQUAL(work_count, 1);
}

#ifdef STEPPER_WORKS
static void put_work_off(void)
{
    lock_defer(work);
}

static void take_one(void)
{
    lock_acquire(&lock);
    lock_release(&lock);
}

static void try_a_held_one(void)
{
    if (lock_try(&upper))
        lock_release(&upper);
}

static void take_two_and_reset(void)
{
    lock_acquire(&lower);
    take_one();
    lock_acquire(&lock);
    lock_reset(&lock);
    lock_reset(&lower);
}

/* Whatever instruction a signal comes at, what it asks for is done when the last lock is let go. */
static void check_at_each_instruction(void (*locking)(void))
{
    size_t count = stepper_run(locking, 0, put_work_off), missed = 0;
    CHECK(count > 20);
    for (size_t at = 1; at < count; at++) {
        work_count = 0;
        stepper_run(locking, at, put_work_off);
        missed += work_count != 1;
    }
    CHECK_EQUAL(missed, 0);
    CHECK_EQUAL(held_at_work, 0);
}

TEST(lock, work_deferred_at_any_instruction_is_done)
{
    check_at_each_instruction(take_one);
    check_at_each_instruction(take_two_and_reset);
    atomic_store(&upper.state, LOCK_HELD);
    check_at_each_instruction(try_a_held_one);
    atomic_store(&upper.state, LOCK_FREE);
}
#endif

TEST(lock, a_reset_lock_is_free)
{
    lock_acquire(&lock);
    lock_reset(&lock);
    CHECK_EQUAL(lock_held_count(), 0);
    lock_acquire(&lock);
    lock_release(&lock);
}

static void take_against_the_order(void)
{
    lock_acquire(&upper);
    lock_acquire(&lower);
}

static void take_twice(void)
{
    lock_acquire(&lock);
    lock_acquire(&lock);
}

static void assert_not_held(void)
{
    lock_assert_held(&lock);
}

TEST(lock, debug_builds_die_of_locks_taken_against_the_order_or_twice)
{
    CHECK_DIES(take_against_the_order, "lock of rank %u taken while one of rank %u is held",
               LOCK_DUMP, LOCK_META);
    CHECK_DIES(take_twice, "lock of rank %u taken while one of rank %u is held", LOCK_CENTRAL,
               LOCK_CENTRAL);
    CHECK_DIES(assert_not_held, "lock of rank %u should be held here", LOCK_CENTRAL);
}
