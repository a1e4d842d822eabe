/* Makes many stacks, all live, and tells for each format how long a dump of them takes. Meanwhile a
 * second thread allocates and frees, each time a sample, and tells its longest wait.
 *
 *   many STACKS [FOLDER]  prints  `dump FORMAT milliseconds cpu-milliseconds`  for each format
 *                                 `stop milliseconds`: waits of the second thread in which it
 *                                 slept, so that being moved off the processor does not count
 *
 * A stack is a way down a tree of calls: those with near numbers part near the leaf. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "hpmalloc.h"

enum { LEVELS = 20, TREE_BITS = 17, FUNCTIONS = 64, SITES = 8 };

static void *volatile kept;
static _Atomic int is_over;

typedef void step(uint64_t way, int level);
static step *const steps[FUNCTIONS];

static uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t choice_at(uint64_t way, int level)
{
    uint64_t prefix = level < TREE_BITS ? way >> (TREE_BITS - level) : way;
    return mixed(prefix * LEVELS + (uint64_t)level + 1);
}

#define SITE(n)                                                                                    \
    case n:                                                                                        \
        next(way, level + 1);                                                                      \
        __asm__ volatile("# %0" : : "i"(n) : "memory");                                            \
        break;

#define STEP(n)                                                                                    \
    __attribute__((noinline)) static void step_##n(uint64_t way, int level)                        \
    {                                                                                              \
        uint64_t choice = choice_at(way, level);                                                   \
        step *next = steps[choice % FUNCTIONS];                                                    \
        if (level == LEVELS) {                                                                     \
            void **block = hpm_malloc(16 + (way % 16) * 16);                                       \
            *block = kept;                                                                         \
            kept = block;                                                                          \
            return;                                                                                \
        }                                                                                          \
        switch (choice / FUNCTIONS % SITES) {                                                      \
            SITE(0) SITE(1) SITE(2) SITE(3) SITE(4) SITE(5) SITE(6) SITE(7)                        \
        }                                                                                          \
        __asm__ volatile("# %0" : : "i"(n) : "memory");                                            \
    }

#define EIGHT(n)                                                                                   \
    STEP(n##0) STEP(n##1) STEP(n##2) STEP(n##3) STEP(n##4) STEP(n##5) STEP(n##6) STEP(n##7)
EIGHT(1)
EIGHT(2)
EIGHT(3)
EIGHT(4) EIGHT(5) EIGHT(6) EIGHT(7) EIGHT(8)

#define EIGHT_NAMES(n)                                                                             \
    step_##n##0, step_##n##1, step_##n##2, step_##n##3, step_##n##4, step_##n##5, step_##n##6,     \
        step_##n##7
    static step *const steps[FUNCTIONS] = {EIGHT_NAMES(1), EIGHT_NAMES(2), EIGHT_NAMES(3),
                                           EIGHT_NAMES(4), EIGHT_NAMES(5), EIGHT_NAMES(6),
                                           EIGHT_NAMES(7), EIGHT_NAMES(8)};

static double milliseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static long sleeps(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

static void *keep_busy(void *longest)
{
    long before = sleeps();
    for (unsigned i = 0; !atomic_load(&is_over); i++) {
        double start = milliseconds(CLOCK_MONOTONIC);
        hpm_free(hpm_malloc(16 + i % 64 * 16));
        double took = milliseconds(CLOCK_MONOTONIC) - start;
        long now = sleeps();
        if (now != before && took > *(double *)longest)
            *(double *)longest = took;
        before = now;
    }
    return NULL;
}

static int dump(enum hpm_format format, const char *name, const char *folder)
{
    char path[4096] = "/dev/null";
    if (folder != NULL)
        snprintf(path, sizeof(path), "%s/many.%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    double start = milliseconds(CLOCK_MONOTONIC), cpu = milliseconds(CLOCK_THREAD_CPUTIME_ID);
    int answer = hpm_profile_write(HPM_PROFILE_HEAP, format, fd);
    printf("dump %s %.1f %.1f\n", name, milliseconds(CLOCK_MONOTONIC) - start,
           milliseconds(CLOCK_THREAD_CPUTIME_ID) - cpu);
    close(fd);
    return answer;
}

int main(int argc, char **argv)
{
    unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
    const char *folder = argc > 2 ? argv[2] : NULL;
    double longest = 0;
    pthread_t busy;
    hpm_profile_set_interval(1);
    for (unsigned long way = 0; way < count; way++)
        steps[0](way, 0);
    pthread_create(&busy, NULL, keep_busy, &longest);
    int failed = dump(HPM_FORMAT_PPROF, "pb.gz", folder);
    failed |= dump(HPM_FORMAT_TEXT, "txt", folder);
    failed |= dump(HPM_FORMAT_LEGACY, "heap", folder);
    failed |= dump(HPM_FORMAT_COLLAPSED, "folded", folder);
    atomic_store(&is_over, 1);
    pthread_join(busy, NULL);
    printf("stop %.3f\n", longest);
    return failed != 0;
}
