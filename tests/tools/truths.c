/* A program whose memory does what its name says, with a snapshot after each of so many steps:
 *
 *   truths leak|trickle|cache|batch|fragmentation|load|threads|steady STEPS MILLISECONDS
 *
 * Each comes with a background of blocks that live for a random time, so that there is always
 * something that moves and is no leak. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOINLINE __attribute__((noinline))

enum { BACKGROUND = 2000, BACKGROUND_BYTES = 3000, CACHE = 6000, HELD = 200000 };

static void *background[BACKGROUND];
static unsigned char *held[HELD];
static volatile char sink;
static int steps;

static void *keep_alive(size_t bytes)
{
    char *block = malloc(bytes);
    memset(block, 1, bytes);
    sink = block[bytes - 1];
    return block;
}

static void NOINLINE run_background(void)
{
    for (int i = 0; i < BACKGROUND / 2; i++) {
        void **place = &background[rand() % BACKGROUND];
        free(*place);
        *place = keep_alive(1 + (size_t)rand() % BACKGROUND_BYTES);
    }
}

/* 1 MiB a step, for ever. */
static void NOINLINE leak_slowly(int step)
{
    (void)step;
    for (int i = 0; i < 1024; i++)
        keep_alive(1024);
}

/* One in ten is forgotten; the others are freed. */
static void NOINLINE trickle_away(int step)
{
    (void)step;
    for (int i = 0; i < 10000; i++) {
        void *block = keep_alive(800);
        if (i % 10 != 0)
            free(block);
    }
}

static void NOINLINE fill_cache(int step)
{
    static int filled;
    (void)step;
    for (int limit = filled + 4 * CACHE / steps; filled < limit && filled < CACHE; filled++)
        keep_alive(2048);
}

static void NOINLINE run_batch(int step)
{
    static void *blocks[8192];
    static int count;
    if (step % 4 == 1) {
        for (; count < 8192; count++)
            blocks[count] = keep_alive(1500);
    } else if (step % 4 == 3) {
        while (count > 0)
            free(blocks[--count]);
    }
}

/* Many small ones, of which one in ten stays until the next time: the pages do too. */
static void NOINLINE break_up(int step)
{
    (void)step;
    for (int i = 0; i < 120000; i++) {
        free(held[i]);
        held[i] = keep_alive(128);
    }
    for (int i = 0; i < 120000; i++) {
        if (i % 10 != 0) {
            free(held[i]);
            held[i] = NULL;
        }
    }
}

/* Requests live for two steps, and there are more of them each step. */
static void NOINLINE serve_load(int step)
{
    static void *waiting[3][200 * 400];
    static int counts[3];
    int at = step % 3;
    while (counts[at] > 0)
        free(waiting[at][--counts[at]]);
    for (int i = 0; i < 200 * (step + 3); i++)
        waiting[at][counts[at]++] = keep_alive(1000);
}

static pthread_key_t own_data;

static void NOINLINE *serve_thread(void *unused)
{
    pthread_setspecific(own_data, keep_alive(64 << 10));
    return unused;
}

/* The key has no destructor. */
static void NOINLINE run_threads(int step)
{
    if (step == 0)
        pthread_key_create(&own_data, NULL);
    for (int i = 0; i < 16; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, serve_thread, NULL);
        pthread_join(thread, NULL);
    }
}

static void NOINLINE hold_steady(int step)
{
    for (int i = 0; step == 0 && i < 20000; i++)
        keep_alive(500);
}

static const struct {
    const char *name;
    void (*run)(int step);
} truths[] = {
    {"leak", leak_slowly},    {"trickle", trickle_away},   {"cache", fill_cache},
    {"batch", run_batch},     {"fragmentation", break_up}, {"load", serve_load},
    {"threads", run_threads}, {"steady", hold_steady},
};

int main(int count, char **arguments)
{
    for (size_t i = 0; count == 4 && i < sizeof(truths) / sizeof(truths[0]); i++) {
        if (strcmp(arguments[1], truths[i].name) != 0)
            continue;
        long milliseconds = atol(arguments[3]);
        struct timespec next;
        clock_gettime(CLOCK_MONOTONIC, &next);
        steps = atoi(arguments[2]);
        for (int step = 0; step < steps; step++) {
            run_background();
            truths[i].run(step);
            raise(SIGUSR2);
            long nanoseconds = next.tv_nsec + milliseconds % 1000 * 1000000;
            next.tv_sec += milliseconds / 1000 + nanoseconds / 1000000000;
            next.tv_nsec = nanoseconds % 1000000000;
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        }
        return 0;
    }
    fprintf(stderr, "truths NAME STEPS MILLISECONDS\n");
    return 2;
}
