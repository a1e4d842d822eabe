#include <features.h>
#ifdef __GLIBC__
#include "explore.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { STACK_BYTES = 256 * 1024, ALONE = EXPLORE_THREADS_MAX };

struct choice {
    uint8_t options, taken;
};

static struct {
    const struct explore_plan *plan;
    unsigned preemptions_max;

    /* The course: what was chosen where there was more than one way on. */
    struct choice choices[EXPLORE_POINTS_MAX];
    unsigned choice_count, known; // those before `known` are done as last time

    unsigned now, preemptions, done_count;
    bool is_done[EXPLORE_THREADS_MAX];
    _Atomic uint32_t *waits_for[EXPLORE_THREADS_MAX], *sleeps_on[EXPLORE_THREADS_MAX];
    bool has_failed;

    ucontext_t home, contexts[EXPLORE_THREADS_MAX];
    char stacks[EXPLORE_THREADS_MAX][STACK_BYTES] __attribute__((aligned(16)));
} all;

static bool can_go_on(unsigned thread)
{
    return !all.is_done[thread] && all.sleeps_on[thread] == NULL &&
           (all.waits_for[thread] == NULL || *all.waits_for[thread] == 0);
}

static unsigned choose(unsigned options)
{
    if (options == 1)
        return 0;
    if (all.choice_count == EXPLORE_POINTS_MAX)
        explore_fail("more than %d choices in one course", EXPLORE_POINTS_MAX);
    struct choice *choice = &all.choices[all.choice_count++];
    if (all.choice_count > all.known)
        *choice = (struct choice){.options = (uint8_t)options};
    if (choice->options != options)
        explore_fail("a course is not the same when it is taken again");
    return choice->taken;
}

/* Who goes on: first of all who is at it, if nothing keeps it. */
static unsigned next_thread(void)
{
    unsigned ways[EXPLORE_THREADS_MAX], count = 0;
    bool goes_on = can_go_on(all.now);
    if (goes_on)
        ways[count++] = all.now;
    for (unsigned thread = 0; thread < all.plan->threads; thread++) {
        bool may = !goes_on || all.preemptions < all.preemptions_max;
        if (thread != all.now && may && can_go_on(thread))
            ways[count++] = thread;
    }
    if (count == 0)
        explore_fail("all threads wait for one another");
    unsigned chosen = ways[choose(count)];
    all.preemptions += goes_on && chosen != all.now;
    return chosen;
}

static void let_go_on(unsigned thread)
{
    unsigned before = all.now;
    if (thread == before)
        return;
    all.now = thread;
    swapcontext(&all.contexts[before], &all.contexts[thread]);
}

void explore_point(void)
{
    if (all.now == ALONE)
        return;
    let_go_on(next_thread());
}

static uint32_t own_word(void)
{
    return all.now + 1;
}

void explore_acquire(_Atomic uint32_t *word)
{
    explore_point();
    if (*word == own_word() || (all.now == ALONE && *word != 0))
        explore_fail("a lock is taken twice by one thread");
    if (*word != 0) {
        all.waits_for[all.now] = word;
        let_go_on(next_thread());
        all.waits_for[all.now] = NULL;
    }
    *word = own_word();
}

bool explore_try(_Atomic uint32_t *word)
{
    explore_point();
    if (*word != 0)
        return false;
    *word = own_word();
    return true;
}

void explore_release(_Atomic uint32_t *word)
{
    explore_point();
    if (*word != own_word())
        explore_fail("a lock is released that is not held");
    *word = 0;
}

bool explore_holds(_Atomic uint32_t *word)
{
    return *word == own_word();
}

bool explore_wait(_Atomic uint32_t *word, uint32_t expected)
{
    explore_point();
    if (*word != expected)
        return false;
    all.sleeps_on[all.now] = word;
    let_go_on(next_thread());
    return true;
}

void explore_wake(_Atomic uint32_t *word)
{
    explore_point();
    unsigned sleepers[EXPLORE_THREADS_MAX], count = 0;
    for (unsigned thread = 0; thread < all.plan->threads; thread++) {
        if (all.sleeps_on[thread] == word)
            sleepers[count++] = thread;
    }
    if (count > 0)
        all.sleeps_on[sleepers[choose(count)]] = NULL;
}

void explore_fail(const char *format, ...)
{
    va_list arguments;
    printf("# ");
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n# thread %u, after the choices", all.now);
    for (unsigned i = 0; i < all.choice_count; i++)
        printf(" %u", all.choices[i].taken);
    printf("\n");
    all.has_failed = true;
    setcontext(&all.home);
    abort();
}

static void run_thread(void)
{
    all.plan->work[all.now](all.now);
    all.is_done[all.now] = true;
    if (++all.done_count < all.plan->threads)
        let_go_on(next_thread());
    setcontext(&all.home);
}

static void begin_course(void)
{
    memset(all.is_done, 0, sizeof(all.is_done));
    memset(all.waits_for, 0, sizeof(all.waits_for));
    memset(all.sleeps_on, 0, sizeof(all.sleeps_on));
    all.choice_count = all.preemptions = all.done_count = 0;
    all.now = ALONE;
    all.plan->begin();
    for (unsigned thread = 0; thread < all.plan->threads; thread++) {
        ucontext_t *context = &all.contexts[thread];
        getcontext(context);
        context->uc_stack.ss_sp = all.stacks[thread];
        context->uc_stack.ss_size = STACK_BYTES;
        makecontext(context, run_thread, 0);
    }
}

/* Volatile: it is come back to by setcontext. */
static void run_course(void)
{
    volatile unsigned part = 0;
    getcontext(&all.home);
    if (all.has_failed)
        return;
    part++;
    if (part == 1) {
        begin_course();
        all.now = choose(all.plan->threads);
        setcontext(&all.contexts[all.now]);
    }
    all.now = ALONE;
    if (part == 2)
        all.plan->end();
}

/* The last choice that has a way left takes it; those after it are forgotten. */
static bool find_other_course(void)
{
    while (all.choice_count > 0) {
        struct choice *last = &all.choices[all.choice_count - 1];
        if (++last->taken < last->options) {
            all.known = all.choice_count;
            return true;
        }
        all.choice_count--;
    }
    return false;
}

unsigned long explore(const struct explore_plan *plan)
{
    const char *most = getenv("EXPLORE_PREEMPTIONS");
    unsigned long courses = 0;
    all.plan = plan;
    all.preemptions_max = most != NULL ? (unsigned)atoi(most) : 2;
    all.known = 0;
    all.has_failed = false;
    do {
        run_course();
        courses++;
    } while (!all.has_failed && find_other_course());
    printf("# %lu courses\n", courses);
    return all.has_failed ? 0 : courses;
}

#endif
