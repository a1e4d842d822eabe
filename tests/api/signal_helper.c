/* A program that signals itself; signal.sh runs it and looks at what is left. Its argument says
 * what it does with SIGUSR2 itself. It prints how often its own handler was called. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* On arm64 the kernel's frame for a handler takes 4.6 KiB, and no stack below 5 KiB is accepted. */
#if defined(__aarch64__)
enum { SMALL_STACK_BYTES = 7168 };
#else
enum { SMALL_STACK_BYTES = 4096 };
#endif
enum { NOT_HERE = 77 };

static volatile sig_atomic_t own_calls;
static void *volatile kept[2000];

static void own_handler(int number)
{
    (void)number;
    own_calls++;
}

static void set_own_handler(void)
{
    struct sigaction action = {.sa_handler = own_handler};
    sigaction(SIGUSR2, &action, NULL);
}

#ifdef __GLIBC__
enum { BEGINS_BEFORE_CONSTRUCTORS = 1 };

static void begin_early(int count, char **arguments, char **environment)
{
    (void)environment;
    if (count > 1 && strcmp(arguments[1], "handler-before") == 0)
        set_own_handler();
}

__attribute__((section(".preinit_array"), used)) static void (*early)(int, char **, char **) =
    begin_early;
#else // musl calls nothing before constructors
enum { BEGINS_BEFORE_CONSTRUCTORS = 0 };
#endif

static int signal_number(const char *offset)
{
    return offset != NULL ? SIGRTMIN + atoi(offset) : SIGUSR2;
}

static void *signal_later(void *pipe_end)
{
    usleep(100000);
    kill(getpid(), SIGUSR2);
    usleep(100000);
    if (write(*(int *)pipe_end, "x", 1) != 1)
        abort();
    return NULL;
}

/* Prints what read(2) answers when a dump comes while it waits. */
static void be_blocked(void)
{
    int ends[2];
    char byte;
    pthread_t thread;
    if (pipe(ends) != 0)
        abort();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_create(&thread, NULL, signal_later, &ends[1]);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    printf("read answers %zd\n", read(ends[0], &byte, 1));
    pthread_join(thread, NULL);
}

static void signal_child(void)
{
    pid_t child = fork();
    if (child == 0) {
        raise(SIGUSR2);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    printf("child %d ended with %d\n", (int)child, status);
}

/* A handler on a small stack of its own: the dump has to live on it too. */
static void signal_on_small_stack(void)
{
    static char memory[SMALL_STACK_BYTES];
    stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};
    if (sigaltstack(&stack, NULL) != 0)
        perror("sigaltstack");
    raise(SIGUSR2);
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    if (!BEGINS_BEFORE_CONSTRUCTORS && strcmp(what, "handler-before") == 0)
        return NOT_HERE;
    for (int i = 0; i < 2000; i++)
        kept[i] = malloc(2000);
    if (strcmp(what, "handler-after") == 0)
        set_own_handler();
    if (strcmp(what, "blocked") == 0)
        be_blocked();
    else if (strcmp(what, "fork") == 0)
        signal_child();
    else if (strcmp(what, "small-stack") == 0)
        signal_on_small_stack();
    else if (strcmp(what, "exit") != 0)
        raise(signal_number(count > 2 ? arguments[2] : NULL));
    for (int i = 0; strcmp(what, "storm") == 0 && i < 300; i++)
        raise(SIGUSR2);
    printf("own handler called %d times\n", (int)own_calls);
    return 0;
}
