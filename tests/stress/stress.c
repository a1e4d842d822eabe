/* Threads allocate, resize and free each other's blocks through shared slots. Every block carries
 * its length and a pattern, checked by whoever takes it. Resident memory is held against what is
 * live, and with -k the program is signalled to dump all the while.
 *
 *   stress [-t THREADS] [-s SECONDS] [-k HZ] [-f FORKS_A_SECOND]
 *
 * Under the allocator's own names where malloc is not replaced. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hpmalloc.h"

#ifdef HPM_REPLACE
#include <malloc.h>
#define stress_malloc  malloc
#define stress_calloc  calloc
#define stress_realloc realloc
#define stress_aligned aligned_alloc
#define stress_free    free
#else
#define stress_malloc  hpm_malloc
#define stress_calloc  hpm_calloc
#define stress_realloc hpm_realloc
#define stress_aligned hpm_aligned_alloc
#define stress_free    hpm_free
#endif

enum { SLOTS = 16384, THREADS_MAX = 256, HEADER_BYTES = 16 };

/* Resident memory may exceed what is live by half, what is kept back, and what threads hold. */
#if defined(__SANITIZE_THREAD__)
enum { SLACK_BYTES = 320 << 20, SLACK_BYTES_PER_THREAD = 1 << 20 }; // shadows of all memory
#else
enum { SLACK_BYTES = 32 << 20, SLACK_BYTES_PER_THREAD = 1 << 20 };
#endif

/* A block; from its end on, the pattern fills it. */
struct block {
    size_t bytes;
    uint64_t seed;
};

static struct block *_Atomic slots[SLOTS];
static _Atomic bool is_over;
static _Atomic long live_bytes, operations, dump_files, forks_done;
static int thread_count = 64, seconds = 5, signal_hz, fork_hz;
static char folder[] = "/tmp/hpmalloc-stress-XXXXXX";

static void fail(const char *what, const void *block)
{
    fprintf(stderr, "stress: %s at %p\n", what, block);
    abort();
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Mostly small, up to 100,000. */
static size_t random_bytes(uint64_t *random)
{
    uint64_t dice = next_random(random) % 1000;
    size_t limit = dice < 700 ? 256 : dice < 950 ? 2048 : dice < 995 ? 20000 : 100000;
    return HEADER_BYTES + next_random(random) % limit;
}

static unsigned char pattern(const struct block *block, size_t at)
{
    return (unsigned char)(block->seed + at * 7 + (at >> 8));
}

static void fill(struct block *block, size_t bytes, uint64_t seed)
{
    block->bytes = bytes;
    block->seed = seed;
    for (size_t at = HEADER_BYTES; at < bytes; at++)
        ((unsigned char *)block)[at] = pattern(block, at);
}

/* Checks the first `bytes`: all, or what a realloc kept. */
static void check(const struct block *block, size_t bytes)
{
    for (size_t at = HEADER_BYTES; at < bytes; at++) {
        if (((const unsigned char *)block)[at] != pattern(block, at))
            fail("contents changed", (const unsigned char *)block + at);
    }
}

static void check_zeroed(const unsigned char *block, size_t bytes)
{
    for (size_t at = 0; at < bytes; at++) {
        if (block[at] != 0)
            fail("calloc is not zeroed", block + at);
    }
}

static struct block *make(uint64_t *random)
{
    size_t bytes = random_bytes(random), alignment = 16;
    uint64_t dice = next_random(random) % 16;
    struct block *block;
    if (dice == 0) {
        alignment = (size_t)16 << next_random(random) % 9;
        block = stress_aligned(alignment, bytes);
    } else if (dice == 1) {
        block = stress_calloc(1, bytes);
        check_zeroed((unsigned char *)block, bytes);
    } else {
        block = stress_malloc(bytes);
    }
    if (block == NULL || (uintptr_t)block % alignment != 0)
        fail("no memory, or not aligned", block);
    fill(block, bytes, next_random(random));
    atomic_fetch_add_explicit(&live_bytes, (long)bytes, memory_order_relaxed);
    return block;
}

static void drop(struct block *block)
{
    if (block == NULL)
        return;
    check(block, block->bytes);
    atomic_fetch_sub_explicit(&live_bytes, (long)block->bytes, memory_order_relaxed);
    stress_free(block);
}

static struct block *resize(struct block *block, uint64_t *random)
{
    size_t old_bytes = block->bytes, bytes = random_bytes(random);
    check(block, old_bytes);
    block = stress_realloc(block, bytes);
    if (block == NULL)
        fail("no memory", NULL);
    check(block, old_bytes < bytes ? old_bytes : bytes);
    fill(block, bytes, next_random(random));
    atomic_fetch_add_explicit(&live_bytes, (long)bytes - (long)old_bytes, memory_order_relaxed);
    return block;
}

static void step(uint64_t *random)
{
    struct block *_Atomic *slot = &slots[next_random(random) % SLOTS];
    uint64_t dice = next_random(random) % 8;
    if (dice == 0) {
        struct block *block = atomic_exchange(slot, NULL);
        if (block != NULL)
            drop(atomic_exchange(slot, resize(block, random)));
    } else if (dice <= 3) {
        drop(atomic_exchange(slot, NULL));
    } else {
        drop(atomic_exchange(slot, make(random)));
    }
}

static void *churn(void *number)
{
    uint64_t random = (uintptr_t)number * 0x9e3779b97f4a7c15u;
    long count = 0;
    for (; !atomic_load_explicit(&is_over, memory_order_relaxed); count++)
        step(&random);
    atomic_fetch_add(&operations, count);
    return NULL;
}

static void *signal_all_the_time(void *unused)
{
    while (!is_over) {
        usleep((useconds_t)(1000000 / signal_hz));
        kill(getpid(), SIGUSR2);
    }
    return unused;
}

static void be_child(void)
{
    uint64_t random = (uint64_t)getpid();
    alarm(60);
    for (int i = 0; i < 300; i++)
        step(&random);
    _exit(0);
}

/* The child finds all blocks as they were at some moment, except those in other threads' hands. */
static void *fork_all_the_time(void *unused)
{
    while (!is_over) {
        usleep((useconds_t)(1000000 / fork_hz));
        pid_t child = fork();
        if (child == 0)
            be_child();
        int status = -1;
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
            fprintf(stderr, "stress: a child ended with wait status %#x\n", (unsigned)status);
            abort();
        }
        forks_done++;
    }
    return unused;
}

/* Removes the dumps so far, but temporary files that may still be written. */
static void remove_dumps(void)
{
    DIR *files = opendir(folder);
    for (struct dirent *file; files != NULL && (file = readdir(files)) != NULL;) {
        if (strstr(file->d_name, ".pb.gz") != NULL && file->d_name[0] != '.' &&
            unlinkat(dirfd(files), file->d_name, 0) == 0)
            dump_files++;
    }
    if (files != NULL)
        closedir(files);
}

static size_t resident_bytes(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY);
    ssize_t length = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    char *second = strchr(text, ' ');
    return second != NULL ? strtoul(second, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Looks ten times a second; returns the greatest excess of resident over live bytes allowed for. */
static void watch(size_t *peak_resident, size_t *peak_live)
{
    for (int tenth = 0; tenth < seconds * 10; tenth++) {
        usleep(100000);
        size_t live = (size_t)live_bytes, resident = resident_bytes();
        *peak_live = live > *peak_live ? live : *peak_live;
        *peak_resident = resident > *peak_resident ? resident : *peak_resident;
        remove_dumps();
    }
}

static void read_options(int count, char **arguments)
{
    for (int option; (option = getopt(count, arguments, "t:s:k:f:")) != -1;) {
        int *values[] = {['t'] = &thread_count, ['s'] = &seconds, ['k'] = &signal_hz,
                         ['f'] = &fork_hz};
        if (option == '?')
            exit(2);
        *values[option] = atoi(optarg);
    }
    if (thread_count < 1 || thread_count > THREADS_MAX)
        exit(2);
}

/* Dumps go to a folder of their own: the pattern is read at the start of the program. */
static void begin_in_folder(char **arguments)
{
    if (getenv("STRESS_FOLDER") != NULL) {
        strcpy(folder, getenv("STRESS_FOLDER"));
        return;
    }
    char pattern_text[100];
    if (mkdtemp(folder) == NULL)
        abort();
    snprintf(pattern_text, sizeof(pattern_text), "%s/%%p.%%n", folder);
    setenv("HPMALLOC_DUMP_PATH", pattern_text, 1);
    setenv("HPMALLOC_QUIET", "1", 1);
    setenv("STRESS_FOLDER", folder, 1);
    execv("/proc/self/exe", arguments);
    abort();
}

/* Signals to the process are for the busy threads, wherever they are; the kernel would give them to
 * the first thread, which sleeps. */
static void leave_signals_to_others(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void run_threads(size_t *peak_resident, size_t *peak_live)
{
    pthread_t threads[THREADS_MAX], signaller, forker;
    for (uintptr_t i = 0; (int)i < thread_count; i++)
        pthread_create(&threads[i], NULL, churn, (void *)(i + 1));
    leave_signals_to_others();
    if (signal_hz > 0)
        pthread_create(&signaller, NULL, signal_all_the_time, NULL);
    if (fork_hz > 0)
        pthread_create(&forker, NULL, fork_all_the_time, NULL);
    watch(peak_resident, peak_live);
    is_over = true;
    for (int i = 0; i < thread_count; i++)
        pthread_join(threads[i], NULL);
    if (signal_hz > 0)
        pthread_join(signaller, NULL);
    if (fork_hz > 0)
        pthread_join(forker, NULL);
    remove_dumps();
}

int main(int count, char **arguments)
{
    read_options(count, arguments);
    begin_in_folder(arguments);
    size_t peak_resident = 0, peak_live = 0;
    run_threads(&peak_resident, &peak_live);
    for (int i = 0; i < SLOTS; i++)
        drop(slots[i]);
    rmdir(folder);
    size_t bound = peak_live + peak_live / 2 + SLACK_BYTES +
                   (size_t)thread_count * SLACK_BYTES_PER_THREAD;
    printf("threads %d seconds %d operations %ld dumps %ld forks %ld", thread_count, seconds,
           operations, dump_files, forks_done);
    printf(" live %zu KiB resident %zu KiB\n", peak_live >> 10, peak_resident >> 10);
    if (live_bytes != 0 || (peak_resident > bound && fork_hz == 0)) {
        printf("live at the end %ld, bound %zu KiB\n", live_bytes, bound >> 10);
        return 1;
    }
    return signal_hz > 0 && dump_files == 0 ? 1 : 0;
}
