/* A program whose memory does what its name says, with a snapshot after each of so many steps:
 *
 *   truths NAME STEPS MILLISECONDS
 *
 * Each comes with a background of blocks that live for a random time, so that there is always
 * something that moves and is no leak. */
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOINLINE __attribute__((noinline))

enum { BACKGROUND = 2000, BACKGROUND_BYTES = 3000, CACHE = 6000, HELD = 200000, STEPS_MAX = 400 };

static void *background[BACKGROUND];
static unsigned char *held[HELD];
static volatile char sink;
static int steps;

static void NOINLINE *keep_alive(size_t bytes)
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

/* What fails returns before it frees: four in a hundred, not evenly. */
static void NOINLINE answer_or_fail(int step)
{
    (void)step;
    for (int i = 0; i < 6000; i++) {
        void *answer = keep_alive(2000 + (size_t)rand() % 4000);
        if (rand() % 25 != 0)
            free(answer);
    }
}

/* Entries live for their time, and what is over is looked for every fifth step only. */
static void NOINLINE keep_for_a_time(int step)
{
    static void *entries[5 * 2000];
    static int count;
    if (step % 5 == 0) {
        while (count > 0)
            free(entries[--count]);
    }
    for (int i = 0; i < 2000; i++)
        entries[count++] = keep_alive(900);
}

/* Doubles as lines come in; what is full is written out, and begins anew in the same place. */
static void NOINLINE write_log(int step)
{
    static char *lines;
    static size_t length, capacity;
    (void)step;
    for (int i = 0; i < 20000; i++) {
        if (length + 100 > capacity && capacity < (4 << 20))
            lines = realloc(lines, capacity = capacity != 0 ? 2 * capacity : 4096);
        else if (length + 100 > capacity)
            length = 0;
        memset(lines + length, 1, 100);
        length += 100;
    }
}

/* The same, but never written out. */
static void NOINLINE gather_log(int step)
{
    static char *lines;
    static size_t length, capacity;
    (void)step;
    for (int i = 0; i < 10000; i++) {
        if (length + 100 > capacity)
            lines = realloc(lines, capacity += capacity / 8 + 4096);
        memset(lines + length, 1, 100);
        length += 100;
    }
}

/* As many connections as were ever needed at once, up to a limit; some are closed and come anew. */
static void NOINLINE fill_pool(int step)
{
    static void *connections[64];
    int wanted = (step + 1) * 160 / steps;
    for (int i = 0; i < 64 && i < wanted; i++) {
        if (rand() % 4 == 0) {
            free(connections[i]);
            connections[i] = NULL;
        }
        if (connections[i] == NULL)
            connections[i] = keep_alive(70000);
    }
}

/* A block a minute, where a step is ten seconds. */
static void NOINLINE lose_block(int step)
{
    if (step % 6 == 0)
        keep_alive(3 << 20);
}

/* A session lives for six tenths of the time, so it takes as long until one ends for each that
 * begins. */
static void NOINLINE open_sessions(int step)
{
    static void *sessions[64][400];
    int lifetime = steps * 6 / 10;
    for (int i = 0; i < 400; i++) {
        free(sessions[step % lifetime][i]);
        sessions[step % lifetime][i] = keep_alive(1200);
    }
}

/* The new one is read while the old one is still there; every third step. */
static void NOINLINE reload_settings(int step)
{
    static void *settings[2][3000];
    int at = step / 3 % 2;
    for (int i = 0; i < 3000; i++) {
        if (step % 3 == 0)
            settings[at][i] = keep_alive(1000);
        if (step % 3 == 1 && step > 1) {
            free(settings[1 - at][i]);
            settings[1 - at][i] = NULL;
        }
    }
}

/* All was well until half of the time was over. */
static void NOINLINE leak_since_noon(int step)
{
    for (int i = 0; i < 1024; i++) {
        void *block = keep_alive(1024);
        if (step < steps / 2)
            free(block);
    }
}

/* A queue that a slow reader empties again, once. */
static void NOINLINE fall_behind(int step)
{
    static void *waiting[20000];
    static int count;
    int wanted = step < steps / 2 ? step * 20000 / steps : (steps - step) * 20000 / steps;
    for (; count < wanted; count++)
        waiting[count] = keep_alive(800);
    while (count > wanted)
        free(waiting[--count]);
}

/* Blocks that are freed before a given step, one after the other in a list. */
struct lent {
    struct lent *next;
};
static struct lent *due[STEPS_MAX];

static void lend(void *block, int until)
{
    struct lent *lent = block;
    if (until >= STEPS_MAX)
        return;
    lent->next = due[until];
    due[until] = lent;
}

static void take_back(int step)
{
    for (struct lent *next; due[step] != NULL; due[step] = next) {
        next = due[step]->next;
        free(due[step]);
    }
}

/* Entries live for half of the time. */
static void NOINLINE cache_for_half(int step)
{
    take_back(step);
    for (int i = 0; i < 1000; i++)
        lend(keep_alive(1000), step + steps / 2);
}

/* For two thirds to all of it, and more. */
static void NOINLINE stay_logged_in(int step)
{
    take_back(step);
    for (int i = 0; i < 1500; i++)
        lend(keep_alive(1000), step + steps * 6 / 10 + rand() % (steps * 6 / 10));
}

/* Most are answered at once, some take long, and one in a thousand very long. */
static void NOINLINE answer_in_time(int step)
{
    take_back(step);
    for (int i = 0; i < 4000; i++) {
        double normal = -6;
        for (int k = 0; k < 12; k++)
            normal += rand() / (double)RAND_MAX;
        lend(keep_alive(700), step + 1 + (int)(steps * 0.1 * exp(normal)));
    }
}

/* Ever fewer names that were not seen before. */
static void NOINLINE meet_names(int step)
{
    for (int i = 0; i < 12000 * exp(-4.0 * step / steps) + 1; i++)
        keep_alive(400);
}

/* Slots that are filled one after the other, and from then on used again. */
static void NOINLINE fill_ring(int step)
{
    static void *ring[40000];
    for (int i = 0; i < 40000 * 10 / (7 * steps); i++) {
        int slot = step * (40000 * 10 / (7 * steps)) + i;
        if (slot >= 40000)
            free(ring[slot % 40000]);
        ring[slot % 40000] = keep_alive(600);
    }
}

/* The load doubles twice in the first half of the time, and stays there. */
static void NOINLINE serve_more(int step)
{
    take_back(step);
    int most = steps / 2, load = step < most ? step : most;
    for (int i = 0; i < 1000 + 3000 * load / most; i++)
        lend(keep_alive(900), step + 1 + rand() % 3);
}

/* Once in eight tenths of the time all that was gathered is written out. */
static void NOINLINE gather_batch(int step)
{
    int period = steps * 8 / 10;
    take_back(step);
    for (int i = 0; i < 1500; i++)
        lend(keep_alive(900), (step / period + 1) * period);
}

/* Each third time almost all is freed. */
static void NOINLINE leave_some(int step)
{
    take_back(step);
    for (int i = 0; i < 3000; i++) {
        void *block = keep_alive(900);
        if (i % 4 != 0)
            lend(block, (step / 3 + 1) * 3);
    }
}

static void NOINLINE forget_some(int step)
{
    (void)step;
    for (int i = 0; i < 700; i++)
        keep_alive(1000);
}

/* A leak beside a cache whose entries live for half of the time. */
static void NOINLINE hide_beside(int step)
{
    cache_for_half(step);
    forget_some(step);
}

static const struct {
    const char *name;
    void (*run)(int step);
} truths[] = {
    {"leak", leak_slowly},       {"trickle", trickle_away},   {"cache", fill_cache},
    {"batch", run_batch},        {"fragmentation", break_up}, {"load", serve_load},
    {"threads", run_threads},    {"steady", hold_steady},     {"errors", answer_or_fail},
    {"expiry", keep_for_a_time}, {"log", write_log},          {"gathered", gather_log},
    {"pool", fill_pool},         {"block", lose_block},       {"sessions", open_sessions},
    {"reload", reload_settings}, {"late", leak_since_noon},   {"queue", fall_behind},
    {"entries", cache_for_half}, {"logins", stay_logged_in},  {"answers", answer_in_time},
    {"names", meet_names},       {"ring", fill_ring},         {"more", serve_more},
    {"gatherer", gather_batch},  {"sawtooth", leave_some},    {"hidden", hide_beside},
};

/* A step that came late is not made up for: that would be a load that rises. */
static void sleep_until_next(struct timespec *next, long milliseconds)
{
    struct timespec now;
    long nanoseconds = next->tv_nsec + milliseconds % 1000 * 1000000;
    next->tv_sec += milliseconds / 1000 + nanoseconds / 1000000000;
    next->tv_nsec = nanoseconds % 1000000000;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec > next->tv_sec || (now.tv_sec == next->tv_sec && now.tv_nsec > next->tv_nsec))
        *next = now;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL);
}

int main(int count, char **arguments)
{
    for (size_t i = 0; count == 4 && i < sizeof(truths) / sizeof(truths[0]); i++) {
        if (strcmp(arguments[1], truths[i].name) != 0)
            continue;
        long milliseconds = atol(arguments[3]);
        struct timespec next;
        clock_gettime(CLOCK_MONOTONIC, &next);
        steps = atoi(arguments[2]);
        if (steps > STEPS_MAX)
            break;
        for (int step = 0; step < steps; step++) {
            run_background();
            truths[i].run(step);
            raise(SIGUSR2);
            sleep_until_next(&next, milliseconds);
        }
        return 0;
    }
    fprintf(stderr, "truths NAME STEPS MILLISECONDS\n");
    return 2;
}
