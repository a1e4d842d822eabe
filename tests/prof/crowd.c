/* A program of many stacks, for crowd.py:
 *
 *   crowd leak PATH [SECONDS]       100 busy stacks, whose blocks live for less than half a second,
 *                                   and one that leaks: 1 of 100 blocks made. A part of the heap
 *                                   was built up at the start
 *   crowd half-leak PATH [SECONDS]  the leaking stack frees every other block
 *   crowd hold PATH MIB WAYS        holds that many MiB in blocks of all sizes, from so many stacks
 *                                   of 24 frames and more
 *
 * Writes a text profile to PATH. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hpmalloc.h"

#define FRAME __attribute__((noinline, noclone))

enum { BUSY_STACKS = 100, RING = 400, STEPS_PER_SECOND = 100, BUSY_BYTES = 4000 };

static void *descend_left(unsigned way, unsigned levels, size_t bytes);
static void *descend_right(unsigned way, unsigned levels, size_t bytes);

/* A block from one of 2^levels stacks. */
static void *descend(unsigned way, unsigned levels, size_t bytes)
{
    if (levels == 0)
        return hpm_malloc(bytes);
    return way & 1 ? descend_left(way >> 1, levels - 1, bytes)
                   : descend_right(way >> 1, levels - 1, bytes);
}

FRAME static void *descend_left(unsigned way, unsigned levels, size_t bytes)
{
    void *block = descend(way, levels, bytes);
    __asm__ volatile("# left" ::: "memory");
    return block;
}

FRAME static void *descend_right(unsigned way, unsigned levels, size_t bytes)
{
    void *block = descend(way, levels, bytes);
    __asm__ volatile("# right" ::: "memory");
    return block;
}

FRAME static void *make_leak(size_t bytes)
{
    void *block = hpm_malloc(bytes);
    __asm__ volatile("# leak" ::: "memory");
    return block;
}

FRAME static void *make_at_start(size_t bytes)
{
    void *block = hpm_malloc(bytes);
    __asm__ volatile("# start" ::: "memory");
    return block;
}

static void *kept[BUSY_STACKS + 1][RING];

static void replace(unsigned stack, size_t round, void *block)
{
    void **place = &kept[stack][round % RING];
    hpm_free(*place);
    *place = block;
}

/* Ten rounds a step, a thousand a second: RING of them are 0.4 s. */
static void step(size_t number, int is_half)
{
    static void *volatile leaked;
    for (size_t round = 10 * number; round < 10 * (number + 1); round++) {
        for (unsigned stack = 0; stack < BUSY_STACKS; stack++)
            replace(stack, round, descend(stack, 7, BUSY_BYTES));
        for (volatile int i = 0; i <= is_half; i++) { /* one call, not unrolled */
            void *block = make_leak(BUSY_BYTES);
            if (i == 0)
                leaked = block;
            else
                replace(BUSY_STACKS, round, block);
        }
    }
    (void)leaked;
}

static void leak(size_t seconds, int is_half)
{
    static const struct timespec pause = {.tv_nsec = 1000000000 / STEPS_PER_SECOND};
    for (int i = 0; i < 5000; i++)
        make_at_start(10000);
    for (size_t number = 0; number < seconds * STEPS_PER_SECOND; number++) {
        step(number, is_half);
        nanosleep(&pause, NULL);
    }
}

static void hold(size_t mebibytes, unsigned ways)
{
    size_t bytes = 0;
    unsigned random = 1;
    while (bytes >> 20 < mebibytes) {
        random = random * 1664525u + 1013904223u;
        size_t wanted = (size_t)64 << (random >> 29); /* 64 to 8192, each as often */
        descend((random >> 5) % ways, 24, wanted);
        bytes += wanted;
    }
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    size_t amount = count > 3 ? (size_t)atol(arguments[3]) : 6;
    if (strcmp(arguments[1], "hold") == 0)
        hold(amount, count > 4 ? (unsigned)atol(arguments[4]) : 1);
    else
        leak(amount, strcmp(arguments[1], "half-leak") == 0);
    return hpm_profile_dump(HPM_PROFILE_HEAP, HPM_FORMAT_TEXT, arguments[2]) != 0;
}
