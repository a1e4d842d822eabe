/* Threads play against the oracle: all calls of the allocator in random order, blocks handed from
 * thread to thread, threads that end and begin, and at the end nothing left.
 *
 *   oracle [-t THREADS] [-n THOUSAND_OPERATIONS] [-r SEED]
 *
 * What failed says the seed; with one thread the same seed gives the same calls. */
#define _GNU_SOURCE
#include "stress/oracle.h"

#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 64, LIFE_OPERATIONS = 200000, TOTAL_BYTES_MAX = 48 << 20 };

static long thread_count = 8, thousands = 1000, seed, dump_count;
static struct oracle_player *players;
static _Atomic long operations, threads_begun;
static _Atomic bool is_over;

/* Now and then all that is free goes back, and the sampling interval changes. */
static void disturb(struct oracle_player *player)
{
    uint64_t dice = oracle_draw(player, 3);
    if (dice == 0)
        hpm_release_memory(SIZE_MAX);
    else if (dice == 1 && hpm_profile_interval() > 1)
        hpm_profile_set_interval(hpm_profile_interval() ^ 1);
}

static void *play(void *argument)
{
    struct oracle_player *player = argument;
    long life = thousands * 1000 / thread_count;
    if (life > LIFE_OPERATIONS)
        life = LIFE_OPERATIONS;
    for (long i = 1; i <= life; i++) {
        oracle_step(player);
        if (i % 65536 == 0)
            disturb(player);
    }
    operations += life;
    return NULL;
}

/* A player's threads follow one another: what one leaves in the slots, the next one frees. */
static void *keep_playing(void *player)
{
    while (operations < thousands * 1000) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, play, player) != 0)
            abort();
        threads_begun++;
        pthread_join(thread, NULL);
    }
    return NULL;
}

static void *dump_all_the_time(void *unused)
{
    int fd = open("/dev/null", O_WRONLY);
    while (!is_over) {
        if (hpm_profile_write(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, fd) == 0)
            dump_count++;
        usleep(20000);
    }
    close(fd);
    return unused;
}

static void read_options(int count, char **arguments)
{
    seed = (long)time(NULL);
    for (int option; (option = getopt(count, arguments, "t:n:r:")) != -1;) {
        long *values[] = {['t'] = &thread_count, ['n'] = &thousands, ['r'] = &seed};
        if (option == '?')
            exit(2);
        *values[option] = atol(optarg);
    }
    if (thread_count < 1 || thread_count > THREADS_MAX || thousands < 1)
        exit(2);
}

static void run_players(void)
{
    pthread_t threads[THREADS_MAX], dumper;
    for (long i = 0; i < thread_count; i++) {
        players[i].random = (uint64_t)(seed * THREADS_MAX + i) * 0x9e3779b97f4a7c15u;
        players[i].bytes_max = TOTAL_BYTES_MAX;
        pthread_create(&threads[i], NULL, keep_playing, &players[i]);
    }
    if (thread_count > 1)
        pthread_create(&dumper, NULL, dump_all_the_time, NULL);
    for (long i = 0; i < thread_count; i++)
        pthread_join(threads[i], NULL);
    is_over = true;
    if (thread_count > 1)
        pthread_join(dumper, NULL);
}

static size_t live_bytes(void)
{
    struct hpm_stats stats;
    return hpm_stats_get(&stats, sizeof(stats)) == 0 ? (size_t)stats.live_bytes : 0;
}

int main(int count, char **arguments)
{
    static char replay[100];
    read_options(count, arguments);
    snprintf(replay, sizeof(replay), "oracle -t %ld -n %ld -r %ld", thread_count, thousands, seed);
    oracle_replay = replay;
    players = calloc((size_t)thread_count, sizeof(*players));
    size_t before = live_bytes();
    run_players();
    for (long i = 0; i < thread_count; i++)
        oracle_free_all(&players[i]);
    oracle_empty_mailboxes(&players[0]);
    size_t after = live_bytes();
    printf("%s: %ld operations, %ld threads, %ld dumps, live %zu KiB before and %zu after\n",
           replay, (long)operations, (long)threads_begun, dump_count, before >> 10, after >> 10);
    return after > before + (1 << 20);
}
