/* A program that knows exactly what it holds. Each scenario allocates from functions of its own,
 * prints what is true of them, and dumps a profile to the path given:
 *
 *   truth SCENARIO PATH
 *   function NAME OBJECT_BYTES LIVE_OBJECTS ALLOC_OBJECTS INTERVAL    (one line a function)
 *   peak NAME OBJECT_BYTES PEAK_OBJECTS PEAK_OBJECTS INTERVAL         (of the peak)
 *
 * OBJECT_BYTES is what the allocator charges for an object, INTERVAL that of its sampling. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hpmalloc.h"

#define FRAME __attribute__((noinline, noclone))

enum { INTERVAL = 65536, BLOCKS_MAX = 400000 };

static void *blocks[BLOCKS_MAX];
static size_t used;

/* A function that makes `count` blocks of a size and keeps them. Its name in the assembly keeps the
 * compiler from folding it with others that do the same. */
#define MAKER(name)                                                                                \
    FRAME static void name(size_t bytes, size_t count)                                             \
    {                                                                                              \
        for (size_t i = 0; i < count; i++) {                                                       \
            blocks[used++] = hpm_malloc(bytes);                                                    \
            __asm__ volatile("# " #name ::: "memory");                                             \
        }                                                                                          \
    }

MAKER(make_tiny)
MAKER(make_small)
MAKER(make_middle)
MAKER(make_page)
MAKER(make_large)
MAKER(make_huge)
MAKER(make_freed)
MAKER(make_half_freed)
MAKER(make_before)
MAKER(make_dense)
MAKER(make_sparse)
MAKER(make_while_off)
MAKER(make_after)

static void tell(const char *function, size_t bytes, size_t live, size_t allocated,
                 size_t interval)
{
    printf("function %s %zu %zu %zu %zu\n", function, hpm_nallocx(bytes), live, allocated,
           interval);
}

#define MAKE(name, bytes, count)                                                                   \
    (name((bytes), (count)), tell(#name, (bytes), (count), (count), hpm_profile_interval()))

static void free_blocks(size_t from, size_t to, size_t step)
{
    for (size_t i = from; i < to; i += step) {
        hpm_free(blocks[i]);
        blocks[i] = NULL;
    }
}

/* All kinds of sizes; some of it freed again. */
static void sizes(void)
{
    MAKE(make_tiny, 24, 200000);
    MAKE(make_small, 200, 50000);
    MAKE(make_middle, 3000, 4000);
    MAKE(make_page, 30000, 400);
    MAKE(make_large, 100000, 200);
    MAKE(make_huge, 40000000, 2);
    size_t first = used;
    make_freed(500, 20000);
    free_blocks(first, used, 1);
    tell("make_freed", 500, 0, 20000, INTERVAL);
    first = used;
    make_half_freed(700, 20000);
    free_blocks(first, used, 2);
    tell("make_half_freed", 700, 10000, 20000, INTERVAL);
}

/* The interval changes while the program runs: weights stay right. */
static void intervals(void)
{
    MAKE(make_before, 1000, 20000);
    hpm_profile_set_interval(4096);
    MAKE(make_dense, 1000, 5000);
    hpm_profile_set_interval(1 << 20);
    MAKE(make_sparse, 1000, 100000);
    hpm_profile_set_interval(0);
    make_while_off(1000, 20000);
    hpm_profile_set_interval(INTERVAL);
    MAKE(make_after, 1000, 20000);
    size_t first = used;
    make_freed(1000, 10000);
    hpm_profile_set_interval(8192);
    free_blocks(first, used, 1);
    tell("make_freed", 1000, 0, 10000, INTERVAL);
    hpm_profile_set_interval(INTERVAL);
}

FRAME static void *grow_small(void *block, size_t bytes)
{
    block = hpm_realloc(block, bytes);
    __asm__ volatile("" ::: "memory");
    return block;
}

FRAME static void *grow_large(void *block, size_t bytes)
{
    block = hpm_realloc(block, bytes);
    __asm__ volatile("# grow_large" ::: "memory");
    return block;
}

/* Blocks that were resized on the way: only the last length lives. */
static void resizes(void)
{
    enum { CHAINS = 10000, LARGE_CHAINS = 100 };
    for (size_t i = 0; i < CHAINS; i++) {
        void *block = hpm_malloc(100);
        for (size_t bytes = 300; bytes <= 900; bytes += 300)
            block = grow_small(block, bytes);
        blocks[used++] = block;
    }
    for (size_t i = 0; i < LARGE_CHAINS; i++)
        blocks[used++] = grow_large(hpm_malloc(100000), 400000);
    printf("live grow_small %zu %d %d\n", hpm_nallocx(900), CHAINS, INTERVAL);
    tell("grow_large", 400000, LARGE_CHAINS, LARGE_CHAINS, INTERVAL);
}

static void *make_in_thread(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2000; i++)
        hpm_free(hpm_malloc(10));
    return NULL;
}

FRAME static void *fill_some(void *row)
{
    for (size_t i = 0; i < 10000; i++)
        ((void **)row)[i] = hpm_malloc(400);
    __asm__ volatile("" ::: "memory");
    return NULL;
}

/* Many short threads, and frees on other threads than those that allocated. */
static void threads(void)
{
    enum { THREADS = 8, ROWS = 8 };
    static void *rows[ROWS][10000];
    pthread_t thread[THREADS];
    for (int i = 0; i < 200; i++) {
        pthread_create(&thread[0], NULL, make_in_thread, NULL);
        pthread_join(thread[0], NULL);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, fill_some, rows[i]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < ROWS / 2; i++) {
        for (int n = 0; n < 10000; n++)
            hpm_free(rows[i][n]);
    }
    tell("fill_some", 400, ROWS / 2 * 10000, ROWS * 10000, INTERVAL);
    memcpy(blocks, rows[ROWS / 2], sizeof(rows[0]));
}

static void tell_peak(const char *function, size_t bytes, size_t objects)
{
    printf("peak %s %zu %zu %zu %zu\n", function, hpm_nallocx(bytes), objects, objects,
           hpm_profile_interval());
}

#define MAKE_PEAK(name, bytes, count)                                                              \
    (name((bytes), (count)), tell_peak(#name, (bytes), (count)))

/* Up to more than 1 GiB, down to less than 100 MiB, and up and down a bit with something else. */
static void peak(void)
{
    enum { KEPT = 1000 };
    hpm_profile_set_interval(512 << 10);
    MAKE_PEAK(make_small, 1000, 200000);
    MAKE_PEAK(make_page, 30000, 10000);
    MAKE_PEAK(make_large, 100000, 3000);
    MAKE_PEAK(make_huge, 40000000, 6);
    free_blocks(KEPT, used, 1);
    size_t first = used;
    make_after(3000, 20000);
    free_blocks(first, used, 2);
    tell("make_small", 1000, KEPT, 200000, hpm_profile_interval());
    tell("make_after", 3000, 10000, 20000, hpm_profile_interval());
}

static int dump(enum hpm_profile profile, enum hpm_format format, const char *path,
                const char *ending)
{
    char whole[4096];
    snprintf(whole, sizeof(whole), "%s%s", path, ending);
    return hpm_profile_dump(profile, format, whole);
}

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } scenarios[] = {
        {"sizes", sizes}, {"intervals", intervals}, {"resizes", resizes}, {"threads", threads}, {"peak", peak}};
    if (count != 3)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 1024);
    hpm_profile_set_interval(INTERVAL);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        if (strcmp(arguments[1], scenarios[i].name) == 0)
            scenarios[i].run();
    }
    return dump(HPM_PROFILE_HEAP, HPM_FORMAT_TEXT, arguments[2], ".txt") != 0 ||
           dump(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, arguments[2], ".pb.gz") != 0 ||
           dump(HPM_PROFILE_PEAK, HPM_FORMAT_PPROF, arguments[2], ".peak.pb.gz") != 0;
}
