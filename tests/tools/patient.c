/* What hpprof doctor is shown: a program that gets into the trouble of the given name, says
 * "ready", and waits. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *wait_in_thread(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void start_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_in_thread, NULL) != 0)
        exit(1);
}

static void block(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void handle(int number)
{
    (void)number;
}

/* No file may be opened. */
static void forbid(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(rules) / sizeof(*rules), rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        exit(77);
}

/* As programs do that show a title of their own: the argument after the trouble's, if there is one.
 */
static void write_over_environment(char **arguments, char **environment)
{
    char *end = arguments[0], title[100];
    snprintf(title, sizeof(title), "%s", arguments[2] != NULL ? arguments[2] : "patient: at work");
    for (char **at = environment; *at != NULL; at++)
        end = *at + strlen(*at);
    memset(arguments[0], 0, (size_t)(end - arguments[0]));
    strcpy(arguments[0], title);
}

static void say_ready(void)
{
    if (write(STDOUT_FILENO, "ready\n", 6) != 6)
        exit(1);
}

static void make_code(void)
{
    if (mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
             0) == MAP_FAILED)
        exit(77);
}

static void get_into(const char *trouble, char **arguments, char **environment)
{
    if (strcmp(trouble, "blocked") == 0)
        block();
    if (strcmp(trouble, "blocked") == 0 || strcmp(trouble, "half-blocked") == 0)
        start_thread();
    if (strcmp(trouble, "half-blocked") == 0)
        block();
    if (strcmp(trouble, "taken") == 0)
        signal(SIGUSR2, handle);
    if (strcmp(trouble, "uncaught") == 0)
        signal(SIGUSR2, SIG_DFL);
    if (strcmp(trouble, "filter") == 0)
        forbid();
    if (strcmp(trouble, "strict") == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
        exit(77);
    if (strcmp(trouble, "code") == 0)
        make_code();
    if (strcmp(trouble, "title") == 0)
        write_over_environment(arguments, environment);
    if (strcmp(trouble, "undumpable") == 0)
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

int main(int count, char **arguments, char **environment)
{
    char byte;
    get_into(count > 1 ? arguments[1] : "", arguments, environment);
    say_ready();
    while (read(STDIN_FILENO, &byte, 1) < 0 && errno == EINTR)
        ;
    return 0;
}
