/* Allocates and frees in several threads without a pause and says all the while, in a mapped file,
 * how many bytes it holds; record.py kills it, or stops it, at a random moment, and looks at its
 * record.
 *
 *   record_helper FILE SEED [fork | daemon | much | peak | plugin PATH]
 *
 * fork: first its child does the same to other memory, and is gone. daemon: the child goes on when
 * its parent is gone, somewhat later. much: it takes more than there is room for. peak: it had more
 * before. plugin: it opens that, takes 20 MiB there, and kills itself. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hpmalloc.h"

enum { THREADS = 3, SLOTS = 4000 };

static struct said {
    _Atomic int64_t bytes;
    _Atomic int64_t changes;
} * said;

static void *held[THREADS][SLOTS];

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

__attribute__((noinline)) void *take_small(size_t bytes)
{
    void *volatile object = hpm_malloc(bytes);
    return object;
}

__attribute__((noinline)) void *take_large(size_t bytes)
{
    void *volatile object = hpm_malloc(bytes);
    return object;
}

static void drop(void **slot)
{
    if (*slot == NULL)
        return;
    atomic_fetch_sub(&said->bytes, (int64_t)hpm_usable_size(*slot));
    hpm_free(*slot);
    *slot = NULL;
}

static void change(void **slot, uint64_t *random)
{
    drop(slot);
    uint64_t choice = next_random(random) % 100;
    if (choice < 20)
        return;
    size_t bytes = 16 + next_random(random) % (choice < 98 ? 2000 : 100000);
    *slot = choice < 98 ? take_small(bytes) : take_large(bytes);
    atomic_fetch_add(&said->bytes, (int64_t)hpm_usable_size(*slot));
    atomic_fetch_add(&said->changes, 1);
}

struct worker {
    uint64_t random;
    void **slots;
    long rounds; // -1: for ever
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    for (long i = 0; worker->rounds < 0 || i < worker->rounds; i++)
        change(&worker->slots[next_random(&worker->random) % SLOTS], &worker->random);
    return NULL;
}

static void run_workers(uint64_t seed, long rounds)
{
    static struct worker workers[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){seed * 31 + (uint64_t)i, held[i], rounds};
        pthread_create(&threads[i], NULL, work, &workers[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* What the child holds is not said: its own copy of the page is private from then on. */
static __attribute__((noinline)) void take_peak(void)
{
    static void *taken[30000];
    for (int i = 0; i < 30000; i++)
        taken[i] = hpm_malloc(1000);
    for (int i = 0; i < 30000; i++)
        hpm_free(taken[i]);
}

static __attribute__((noinline)) void run_child(uint64_t seed)
{
    pid_t child = fork();
    if (child != 0) {
        waitpid(child, NULL, 0);
        return;
    }
    static struct said own;
    said = &own;
    run_workers(seed + 1, 20000);
    for (int i = 0; i < 20000; i++)
        take_small(3000);
    _exit(0);
}

/* Opened long after the record was begun. */
static int use_plugin(const char *path)
{
    void *plugin = dlopen(path, RTLD_NOW);
    char *(*take)(size_t) =
        plugin != NULL ? (char *(*)(size_t))dlsym(plugin, "plugin_allocate") : NULL;
    if (take == NULL)
        return 1;
    for (int i = 0; i < 20 * 1024; i++)
        *take(1024) = 1;
    return raise(SIGKILL);
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    uint64_t seed = strtoull(arguments[2], NULL, 10);
    int fd = open(arguments[1], O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, 4096) != 0)
        return 1;
    said = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    run_workers(seed, 3000);
    if (count > 3 && strcmp(arguments[3], "fork") == 0)
        run_child(seed);
    if (count > 3 && strcmp(arguments[3], "daemon") == 0 && fork() != 0) {
        usleep(300000);
        _exit(0);
    }
    if (count > 4 && strcmp(arguments[3], "plugin") == 0)
        return use_plugin(arguments[4]);
    if (count > 3 && strcmp(arguments[3], "peak") == 0) {
        hpm_label_set("phase", "rise");
        take_peak();
        hpm_label_clear("phase");
    }
    for (int i = 0; count > 3 && strcmp(arguments[3], "much") == 0 && i < 100000; i++)
        take_small(500);
    run_workers(seed, -1);
    return 0;
}
