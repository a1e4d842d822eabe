/* What a stack without frame pointers costs, of 9 and of 35 frames: our walk, warm and cold, beside
 * that of libunwind (with its cache, where the library is installed) and of the C library
 * (libgcc's); and our whole sample: the walk, the stack's place in the table, the record, and its
 * end when the object is freed. All walk the same stack in turn, in every round; each figure is the
 * median of the rounds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "prof/profile.h"
#include "prof/unwind.h"
#include "prof/unwind_cache.h"

enum { FRAMES_MAX = 128, ROUNDS = 21, WALKS_FAST = 20000, WALKS_SLOW = 500 };

typedef int backtrace_function(void **, int);
static backtrace_function *libunwind_backtrace;

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static size_t walk_ours(void)
{
    uintptr_t frames[FRAMES_MAX];
    enum stack_end end;
    return unwind_walk(frames, FRAMES_MAX, &end);
}

static size_t frames_here;

/* What a frame costs that was never seen: finding its object, and the step in its table. */
static size_t find_steps(void)
{
    static uintptr_t frames[FRAMES_MAX];
    static size_t count, counted_at;
    static volatile unsigned seen;
    enum stack_end end;
    if (counted_at != frames_here)
        count = unwind_walk(frames, FRAMES_MAX, &end);
    counted_at = frames_here;
    for (size_t i = 0; i < count; i++) {
        const struct loaded_object *object = objects_find(frames[i] - 1);
        seen += unwind_cfi_step(object, frames[i] - 1).kind;
    }
    return count;
}

static size_t record_and_forget(void)
{
    profile_forget(profile_record(100, 112, 0.001));
    return frames_here;
}

static size_t walk_libunwind(void)
{
    void *frames[FRAMES_MAX];
    return (size_t)libunwind_backtrace(frames, FRAMES_MAX);
}

static size_t walk_libgcc(void)
{
    void *frames[FRAMES_MAX];
    return (size_t)backtrace(frames, FRAMES_MAX);
}

static struct walker {
    const char *name;
    size_t (*walk)(void);
    int walks;
    size_t frames;
    double ns[ROUNDS];
} walkers[] = {
    {.name = "ours", .walk = walk_ours, .walks = WALKS_FAST},
    {.name = "ours, the whole sample", .walk = record_and_forget, .walks = WALKS_FAST},
    {.name = "ours, frames seen first", .walk = find_steps, .walks = WALKS_SLOW},
    {.name = "libunwind", .walk = walk_libunwind, .walks = WALKS_FAST},
    {.name = "libgcc", .walk = walk_libgcc, .walks = WALKS_SLOW},
};
enum { WALKERS = sizeof(walkers) / sizeof(walkers[0]) };

static void measure(struct walker *walker, int round)
{
    double start = now_ns();
    for (int i = 0; i < walker->walks; i++)
        walker->frames = walker->walk();
    walker->ns[round] = (now_ns() - start) / walker->walks;
}

static void measure_all(void)
{
    frames_here = walk_ours();
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < WALKERS; i++) {
            if (walkers[i].walk != walk_libunwind || libunwind_backtrace != NULL)
                measure(&walkers[i], round);
        }
    }
}

/* Three kinds of frame, called in turn; none becomes a loop. */
static void deeper(int depth);
static volatile int sink;

__attribute__((noinline)) static void small(int depth)
{
    deeper(depth);
    sink++;
}

__attribute__((noinline)) static void with_array(int depth)
{
    volatile char space[200];
    space[depth] = 1;
    deeper(depth);
    sink += space[depth];
}

__attribute__((noinline)) static void with_registers(int depth)
{
    int a = sink + 1, b = sink + 2, c = sink + 3, d = sink + 4;
    deeper(depth);
    sink += a * b + c * d;
}

__attribute__((noinline)) static void deeper(int depth)
{
    static void (*const kinds[])(int) = {small, with_array, with_registers};
    if (depth == 0)
        measure_all();
    else
        kinds[depth % 3](depth - 1);
    sink++;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(struct walker *walker)
{
    if (walker->frames == 0) {
        printf("%-26s not installed\n", walker->name);
        return;
    }
    qsort(walker->ns, ROUNDS, sizeof(double), compare);
    double median = walker->ns[ROUNDS / 2];
    printf("%-26s %3zu frames %9.1f ns a stack %8.2f ns a frame   (least %.1f, quartiles %.1f - "
           "%.1f)\n",
           walker->name, walker->frames, median, median / (double)walker->frames, walker->ns[0],
           walker->ns[ROUNDS / 4], walker->ns[ROUNDS * 3 / 4]);
}

static void measure_at(size_t frames)
{
    deeper((int)(frames - 7) / 2);
    for (int i = 0; i < WALKERS; i++)
        print(&walkers[i]);
}

int main(int count, char **arguments)
{
    if (count > 1) {
        fprintf(stderr, "usage: unwind (no arguments; %s is none)\n", arguments[1]);
        return 2;
    }
    void *library = dlopen("libunwind.so.8", RTLD_NOW);
    if (library != NULL)
        libunwind_backtrace = (backtrace_function *)dlsym(library, "unw_backtrace");
    unwind_init();
    profile_init();
    measure_at(9);
    measure_at(35);
    return 0;
}
