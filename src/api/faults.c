#define _GNU_SOURCE
#include "api/faults.h"

#include <errno.h>
#include <ucontext.h>
#include <unistd.h>

#include "api/guarding.h"

static pid_t watched_process;     // 0: none
static struct sigaction asked[2]; // by the program: of SIGSEGV and SIGBUS

static struct sigaction *asked_of(int number)
{
    return &asked[number == SIGBUS];
}

/* The kernel says it in the fault's error code, on some processors. */
#if defined(__x86_64__)
static const char *access_of(const void *context)
{
    const ucontext_t *registers = context;
    return (registers->uc_mcontext.gregs[REG_ERR] & 2) != 0 ? "write" : "read";
}
#else
static const char *access_of(const void *context)
{
    (void)context;
    return "access";
}
#endif

static void restore_default(int number)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    interpose_sigaction(number, &action, NULL);
}

/* A fault comes again as the handler returns, and then ends the program where it happened; a signal
 * that was sent has to be sent again. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    struct sigaction *mine = asked_of(number), action = *mine;
    if (action.sa_handler == SIG_DFL) {
        restore_default(number);
        if (info->si_code <= 0)
            raise(number);
        return;
    }
    if ((action.sa_flags & (int)SA_RESETHAND) != 0)
        mine->sa_handler = SIG_DFL;
    if ((action.sa_flags & SA_SIGINFO) != 0)
        action.sa_sigaction(number, info, context);
    else
        action.sa_handler(number);
}

HPM_API_SLOW static void on_fault(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    if (info->si_code > 0)
        guarding_explain_fault(info->si_addr, access_of(context));
    errno = saved;
    pass_on(number, info, context);
}

/* With the program's mask and flags, so that its handler runs as the kernel would have run it. */
static int install(int number)
{
    struct sigaction action = *asked_of(number);
    if (action.sa_handler == SIG_IGN)
        return interpose_sigaction(number, &action, NULL);
    if (action.sa_handler == SIG_DFL) {
        action.sa_flags = SA_ONSTACK;
        sigemptyset(&action.sa_mask);
    }
    action.sa_flags = (action.sa_flags & ~(int)SA_RESETHAND) | SA_SIGINFO;
    action.sa_sigaction = on_fault;
    return interpose_sigaction(number, &action, NULL);
}

static void watch(int number)
{
    if (interpose_sigaction(number, NULL, asked_of(number)) == 0)
        install(number);
}

void faults_watch(void)
{
    watched_process = getpid();
    watch(SIGSEGV);
    watch(SIGBUS);
}

bool faults_take_action(int number, const struct sigaction *action, struct sigaction *before,
                        int *status)
{
    if (likely(watched_process == 0) || (number != SIGSEGV && number != SIGBUS) ||
        getpid() != watched_process)
        return false;
    struct sigaction was = *asked_of(number);
    *status = 0;
    if (action != NULL) {
        *asked_of(number) = *action;
        *status = install(number);
    }
    if (before != NULL && *status == 0)
        *before = was;
    return true;
}

void faults_fork_child(void)
{
    if (watched_process != 0)
        watched_process = getpid();
}
