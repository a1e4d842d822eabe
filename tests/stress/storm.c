/* A storm of children from a program whose threads allocate, dump, sample, serve over HTTP, begin and
 * end all the while. The children free their parent's blocks, which must be as they were, allocate,
 * run threads, dump, fork again, execute programs, and end in every way there is; so does the program,
 * in the midst of it all.
 *
 *   storm [-s SECONDS] [-r SEED] [-e 0: return from main; 1: quick_exit; 2: _exit]
 *
 * HPMALLOC_HTTP is a socket's path, if somebody is to ask for profiles. */
#define _GNU_SOURCE
#include "stress/oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PLAYERS = 4, FORKERS = 2, CHILD_STEPS = 400, CHILD_SECONDS = 100, STACK_BYTES = 256 << 10 };
#define CHILD_BYTES_MAX ((size_t)256 << 10)

static long seconds = 5, seed = 1, end_kind;
static struct oracle_player players[PLAYERS];
static _Atomic bool is_over;
static _Atomic long children, dumps, answers, threads_begun;

static void *play(void *player)
{
    while (!is_over) {
        for (int i = 0; i < 1000; i++)
            oracle_step(player);
        usleep(500); // children want to run too
    }
    return NULL;
}

static void *play_briefly(void *argument)
{
    struct oracle_player *player = calloc(1, sizeof(*player));
    player->random = (uint64_t)(uintptr_t)argument * 0x9e3779b97f4a7c15u;
    player->bytes_max = CHILD_BYTES_MAX;
    for (int i = 0; i < CHILD_STEPS; i++)
        oracle_step(player);
    oracle_free_all(player);
    free(player);
    return NULL;
}

static void *begin_and_end_threads(void *unused)
{
    for (uintptr_t i = 1; !is_over; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, play_briefly, (void *)i);
        pthread_join(thread, NULL);
        threads_begun++;
    }
    return unused;
}

static void dump_once(void)
{
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (hpm_profile_write(HPM_PROFILE_HEAP, (enum hpm_format)(seed % 4), fd) == 0)
        dumps++;
    close(fd);
}

static void *dump_all_the_time(void *unused)
{
    while (!is_over) {
        dump_once();
        kill(getpid(), SIGUSR2);
        usleep(3000);
    }
    return unused;
}

static void ask_for_profile(const char *path)
{
    static const char request[] = "GET /debug/pprof/heap HTTP/1.1\r\nHost: localhost\r\n"
                                  "Connection: close\r\n\r\n";
    char answer[4096];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ssize_t got = 0;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0) {
        got = read(fd, answer, 15);
        while (read(fd, answer + 15, sizeof(answer) - 15) > 0)
            continue;
    }
    close(fd);
    answers += got == 15 && memcmp(answer, "HTTP/1.1 200 OK", 15) == 0;
}

static void *ask_all_the_time(void *unused)
{
    const char *address = getenv("HPMALLOC_HTTP");
    while (!is_over && address != NULL && strncmp(address, "unix:", 5) == 0) {
        ask_for_profile(address + 5);
        usleep(5000);
    }
    return unused;
}

/* A child frees what its parent's threads left in the mailboxes, but for one that a thread had in its
 * hands. */
static void free_what_was_left(void)
{
    static struct oracle_player player;
    for (size_t i = 0; i < ORACLE_MAILBOXES; i++) {
        struct oracle_mailbox *box = &oracle_mailboxes[i];
        if (!atomic_flag_test_and_set(&box->is_taken) && box->block.start != NULL)
            oracle_free(&box->block, &player);
        atomic_flag_clear(&box->is_taken);
    }
}

static void run_threads(void)
{
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, play_briefly, (void *)(i + 77));
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

/* Whether the process ended as it should. */
static bool wait_for(pid_t child, int status_wanted)
{
    int status = -1;
    if (child > 0 && waitpid(child, &status, 0) == child && status == status_wanted)
        return true;
    fprintf(stderr, "storm: process %d ended with wait status %#x, not %#x; again: -r %ld\n",
            (int)child, (unsigned)status, (unsigned)status_wanted, seed);
    return false;
}

static void execute(void)
{
    execl("/bin/true", "true", (char *)NULL);
    _exit(1);
}

static int end_clone(void *block)
{
    *(char *)block = 1;
    _exit(0);
}

static bool spawn_and_clone(void)
{
    char *arguments[] = {"true", NULL}, *none[] = {NULL}, *stack = malloc(STACK_BYTES);
    pid_t child;
    bool done = posix_spawn(&child, "/bin/true", NULL, NULL, arguments, none) == 0 &&
                wait_for(child, 0);
    child = vfork();
    if (child == 0)
        execute();
    done &= wait_for(child, 0);
    char *block = calloc(1, 100);
    child = clone(end_clone, stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, block);
    done &= wait_for(child, 0) && *block == 1;
    free(block);
    free(stack);
    return done;
}

static void fork_again(unsigned kind);

enum kinds { ENDS_AT_ONCE, ENDS_NORMALLY, ENDS_QUICKLY, EXECUTES, ABORTS, KINDS };

static int status_of(unsigned kind)
{
    return kind % KINDS == ABORTS ? SIGABRT : 0;
}

static void end_child(unsigned kind)
{
    if (kind % KINDS == ENDS_NORMALLY)
        exit(0);
    if (kind % KINDS == ENDS_QUICKLY)
        quick_exit(0);
    if (kind % KINDS == EXECUTES)
        execute();
    if (kind % KINDS == ABORTS)
        abort();
    _exit(0);
}

/* `kind` chooses how it ends, and each of its bits above that what is done first. */
static void be_child(unsigned kind)
{
    unsigned deeds = kind / KINDS;
    alarm(CHILD_SECONDS);
    if (deeds & 1)
        free_what_was_left();
    play_briefly((void *)(uintptr_t)(kind + 1));
    if (deeds & 2)
        run_threads();
    if (deeds & 4)
        dump_once();
    if (deeds & 8)
        raise(SIGUSR2);
    if ((deeds & 16) != 0 && !spawn_and_clone())
        _exit(1);
    if (deeds & 32)
        fork_again(kind - 32 * KINDS);
    end_child(kind);
}

static void fork_again(unsigned kind)
{
    pid_t child = fork();
    if (child == 0)
        be_child(kind);
    if (!wait_for(child, status_of(kind)))
        _exit(1);
}

static void *fork_all_the_time(void *number)
{
    uint64_t random = (uint64_t)seed * 31 + (uintptr_t)number;
    while (!is_over) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned kind = (unsigned)(random >> 33) % (64 * KINDS);
        pid_t child = fork();
        if (child == 0)
            be_child(kind);
        if (!wait_for(child, status_of(kind)) || (kind % 7 == 0 && !spawn_and_clone()))
            abort();
        children++;
    }
    return NULL;
}

static void read_options(int count, char **arguments)
{
    for (int option; (option = getopt(count, arguments, "s:r:e:")) != -1;) {
        long *values[] = {['s'] = &seconds, ['r'] = &seed, ['e'] = &end_kind};
        if (option == '?')
            exit(2);
        *values[option] = atol(optarg);
    }
}

static void start(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument) != 0)
        abort();
}

/* Signals do not shorten it: sleep() would leave out what is left of a second at each. */
static void sleep_long(void)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
        continue;
}

/* Players and dumps are still at work when the program ends. */
int main(int count, char **arguments)
{
    struct rlimit none = {0, 0};
    read_options(count, arguments);
    setrlimit(RLIMIT_CORE, &none);
    for (uintptr_t i = 0; i < PLAYERS; i++) {
        players[i].random = (uint64_t)seed + i;
        players[i].bytes_max = CHILD_BYTES_MAX;
        start(play, &players[i]);
    }
    start(begin_and_end_threads, NULL);
    start(dump_all_the_time, NULL);
    start(ask_all_the_time, NULL);
    for (uintptr_t i = 0; i < FORKERS; i++)
        start(fork_all_the_time, (void *)i);
    sleep_long();
    printf("storm: %ld children, %ld threads, %ld dumps, %ld answers\n", (long)children,
           (long)threads_begun, (long)dumps, (long)answers);
    fflush(stdout);
    if (children == 0)
        _exit(1);
    alarm(CHILD_SECONDS);
    if (end_kind == 1)
        quick_exit(0);
    if (end_kind == 2)
        _exit(0);
    return 0;
}
