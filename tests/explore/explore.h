/* Every order in which a few threads can take their turns, one after the other.
 *
 * The code under test is included into the test, and its locks and its looks without a lock are
 * replaced by those below. The threads are contexts of one real thread: at each of those points the
 * explorer decides who goes on, and comes back to decide otherwise until nothing is left. A thread
 * is taken off where it could have gone on at most EXPLORE_PREEMPTIONS times in a course (the
 * variable, or 2): nearly all races need one or two (Musuvathi, Qadeer: "Iterative context
 * bounding", PLDI 2007). What the processor's memory reorders is not seen; ThreadSanitizer's stress
 * is for that. */
#ifndef HPM_TESTS_EXPLORE_H
#define HPM_TESTS_EXPLORE_H

#include <stdbool.h>
#include <stdint.h>

enum { EXPLORE_THREADS_MAX = 4, EXPLORE_POINTS_MAX = 4000 };

struct explore_plan {
    unsigned threads;
    void (*begin)(void); // all as at first; alone
    void (*work[EXPLORE_THREADS_MAX])(unsigned thread);
    void (*end)(void); // checks; alone
};

/* Runs all courses. What fails is printed with its course. Returns how many courses there were, 0
 * when one failed. */
unsigned long explore(const struct explore_plan *plan);

/* Somebody else may go on before what comes next. */
void explore_point(void);

/* The word of a lock: 0 free, else who holds it. */
void explore_acquire(_Atomic uint32_t *word);
bool explore_try(_Atomic uint32_t *word);
void explore_release(_Atomic uint32_t *word);
bool explore_holds(_Atomic uint32_t *word);

/* A futex: as os_wait; and os_wake for one of those that sleep, any of them. */
bool explore_wait(_Atomic uint32_t *word, uint32_t expected);
void explore_wake(_Atomic uint32_t *word);

/* Ends the course: something is wrong. */
_Noreturn __attribute__((format(printf, 1, 2))) void explore_fail(const char *format, ...);

#define EXPLORE_CHECK(condition)                                                                   \
    ((condition) ? (void)0 : explore_fail("line %d: not so: %s", __LINE__, #condition))

#endif
