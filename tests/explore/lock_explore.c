/* base/lock in every order of its turns: nobody beside the holder, nobody left asleep. */
#include "base/base.h"
#include "explore.h"
#include "tap.h"

#ifndef __GLIBC__
TEST(explore, orders_of_turns)
{
    SKIP("this C library has no contexts (makecontext)");
}
#else

/* What is done at once with a lock's word is a point where others may come before. */
static bool take_turn(_Atomic uint32_t *word, uint32_t *seen, uint32_t next)
{
    explore_point();
    if (*word != *seen) {
        *seen = *word;
        return false;
    }
    *word = next;
    return true;
}

#undef HPM_DEBUG
#undef atomic_load_explicit
#define atomic_load_explicit(word, order) (explore_point(), *(word))
#undef atomic_compare_exchange_weak_explicit
#define atomic_compare_exchange_weak_explicit(word, seen, next, order, failed)                     \
    take_turn(word, seen, next)
#undef atomic_compare_exchange_strong_explicit
#define atomic_compare_exchange_strong_explicit atomic_compare_exchange_weak_explicit

#include "../../src/base/lock.c"

static struct lock one;
static unsigned inside, passes, handed_over;

bool os_wait(_Atomic uint32_t *word, uint32_t expected)
{
    return explore_wait(word, expected);
}

void os_wake(_Atomic uint32_t *word, int waiters)
{
    EXPLORE_CHECK(waiters == 1);
    handed_over += *word == LOCK_HANDED_OVER;
    explore_wake(word);
}

static void begin(void)
{
    one = (struct lock){.state = LOCK_FREE};
    inside = passes = 0;
}

static void end(void)
{
    EXPLORE_CHECK(one.state == LOCK_FREE && inside == 0 && passes > 0);
}

/* Inside: nobody else is. */
static void pass(void)
{
    EXPLORE_CHECK(++inside == 1);
    explore_point();
    EXPLORE_CHECK(inside-- == 1);
    passes++;
    lock_release(&one);
}

/* Without the spinning, which is only a number of looks. */
static void take_twice(unsigned thread)
{
    (void)thread;
    for (int i = 0; i < 2; i++) {
        if (!lock_try(&one)) {
            take_asleep(&one, 0);
            held++;
        }
        pass();
    }
}

/* One that was woken in vain so often that it is handed the lock from now on. */
static void take_starved(unsigned thread)
{
    (void)thread;
    take_asleep(&one, WAKES_IN_VAIN);
    held++;
    pass();
    take_asleep(&one, WAKES_IN_VAIN + 1);
    held++;
    pass();
}

static void take_if_free(unsigned thread)
{
    (void)thread;
    for (int i = 0; i < 2; i++) {
        if (lock_try(&one))
            pass();
    }
}

static unsigned long explore_works(void (*first)(unsigned), void (*second)(unsigned),
                                   void (*third)(unsigned))
{
    struct explore_plan plan = {
        .threads = 3,
        .begin = begin,
        .work = {first, second, third},
        .end = end,
    };
    return explore(&plan);
}

TEST(explore, a_lock_has_one_holder_and_wakes_who_sleeps)
{
    CHECK(explore_works(take_twice, take_twice, take_twice) > 1000);
}

TEST(explore, a_lock_that_is_handed_over_is_taken_by_one_that_slept)
{
    CHECK(explore_works(take_twice, take_starved, take_twice) > 1000);
    CHECK(explore_works(take_starved, take_starved, take_twice) > 1000);
    CHECK(handed_over > 0);
}

TEST(explore, a_lock_that_is_handed_over_is_not_taken_by_a_try)
{
    CHECK(explore_works(take_if_free, take_starved, take_twice) > 1000);
}

#endif
