/* Loads that grow, for bench/scale: much of one thing (threads, stacks, samples, bytes, blocks),
 * and then what the allocator says of itself, as JSON, with what the kernel counts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STACK_BYTES = 64 * 1024, DEPTH = 24, MEBIBYTE = 1 << 20 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void *checked(void *block)
{
    if (block == NULL)
        fail("malloc");
    return block;
}

/* A line of /proc/self/status, in KiB. */
static long status_kib(const char *name)
{
    char line[256];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0)
            kib = strtol(line + strlen(name), NULL, 10);
    }
    if (file != NULL)
        fclose(file);
    return kib;
}

/* Without hpmalloc the statistics are null. */
static void report(void)
{
    printf("{\"resident_kib\": %ld, \"tables_kib\": %ld, \"stats\": ", status_kib("VmRSS:"),
           status_kib("VmPTE:"));
    fflush(stdout);
    int (*stats_write)(int, int) = (int (*)(int, int))dlsym(RTLD_DEFAULT, "hpm_stats_write");
    if (stats_write == NULL || stats_write(STDOUT_FILENO, 1) != 0)
        printf("null");
    printf("}\n");
    fflush(stdout);
}

static pthread_barrier_t all_are_ready, may_end;

/* What a thread of a pool has behind it: a few objects of several sizes, most of them freed. */
static void *work_a_little(void *unused)
{
    enum { OBJECTS = 64 };
    void *objects[OBJECTS];
    (void)unused;
    for (int i = 0; i < OBJECTS; i++)
        objects[i] = checked(malloc((size_t)16 << i % 8));
    for (int i = 0; i < OBJECTS; i++)
        free(objects[i]);
    pthread_barrier_wait(&all_are_ready);
    pthread_barrier_wait(&may_end);
    return NULL;
}

static void have_threads(size_t count)
{
    pthread_t *threads = checked(calloc(count + 1, sizeof(*threads)));
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_barrier_init(&all_are_ready, NULL, (unsigned)count + 1);
    pthread_barrier_init(&may_end, NULL, (unsigned)count + 1);
    for (size_t i = 0; i < count; i++) {
        if (pthread_create(&threads[i], &attributes, work_a_little, NULL) != 0)
            fail("pthread_create");
    }
    pthread_barrier_wait(&all_are_ready);
    report();
    pthread_barrier_wait(&may_end);
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

static void *volatile last;

/* Each number is another stack: at each bit one of two functions goes deeper. */
static void go_left(size_t number, int depth, size_t bytes);
static void go_right(size_t number, int depth, size_t bytes);

static void go_on(size_t number, int depth, size_t bytes)
{
    if (depth == 0)
        last = checked(malloc(bytes));
    else if (number & 1)
        go_left(number >> 1, depth - 1, bytes);
    else
        go_right(number >> 1, depth - 1, bytes);
    __asm__ volatile("" : : : "memory");
}

__attribute__((noinline)) static void go_left(size_t number, int depth, size_t bytes)
{
    go_on(number, depth, bytes);
    __asm__ volatile("# left" : : : "memory");
}

__attribute__((noinline)) static void go_right(size_t number, int depth, size_t bytes)
{
    go_on(number, depth, bytes);
    __asm__ volatile("# right" : : : "memory");
}

static void have_stacks(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        go_on(i, DEPTH, 64);
        free(last);
    }
    report();
}

static void have_samples(size_t count)
{
    for (size_t i = 0; i < count; i++)
        last = checked(malloc(64));
    report();
}

/* A share of small objects, a share of medium ones, all written. */
static void have_mebibytes(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t bytes = 0; bytes < MEBIBYTE; bytes += 2048) {
            last = memset(checked(malloc(48)), 1, 48);
            last = memset(checked(malloc(2000)), 1, 2000);
        }
    }
    report();
}

/* Of each block one page is written. */
static void have_blocks(size_t count)
{
    for (size_t i = 0; i < count; i++)
        last = memset(checked(malloc(MEBIBYTE)), 1, 1);
    report();
}

static const struct {
    const char *name;
    void (*have)(size_t count);
} loads[] = {
    {"threads", have_threads},     {"stacks", have_stacks}, {"samples", have_samples},
    {"mebibytes", have_mebibytes}, {"blocks", have_blocks},
};

int main(int argument_count, char **arguments)
{
    for (size_t i = 0; argument_count == 3 && i < sizeof(loads) / sizeof(loads[0]); i++) {
        if (strcmp(arguments[1], loads[i].name) == 0) {
            loads[i].have(strtoull(arguments[2], NULL, 10));
            return 0;
        }
    }
    fprintf(stderr, "Usage: scale_load threads|stacks|samples|mebibytes|blocks COUNT\n");
    return 2;
}
