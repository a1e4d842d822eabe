/* Functions of the C library that we stand in front of, to act first. Its own are looked up at the
 * first call: most programs make none. In a static program there is nothing in front of anything.
 *
 * dlopen       without RTLD_DEEPBIND: a library that binds malloc to the C library's own would hand
 *              its blocks to our free, and ours to the C library's.
 * dlclose      to tell the unwinder that code is gone.
 * fork, ...    to have our fork handlers in before the first fork, and before anybody else's: so
 *              they take our locks after all others have prepared, who may allocate meanwhile, or
 *              wait for threads that do. To register them at start would touch pages of the C
 *              library that most programs never need.
 * sigaction,   to be asked first when a guarded object is touched, whatever handler the program
 * signal       has (api/faults); sigaction, to tell of the dump signal what the program knows. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <unistd.h>

#include "api/faults.h"
#include "api/lifecycle.h"
#include "base/base.h"
#include "prof/unwind_cache.h"

#if defined(HPM_REPLACE) && defined(PIC)
/* The next definition of the function `name` after ours, in a variable of its own. */
#define NEXT(name)                                                                                 \
    ({                                                                                             \
        static _Atomic(__typeof__(&name)) next;                                                    \
        __typeof__(&name) known = atomic_load_explicit(&next, memory_order_relaxed);               \
        if (unlikely(known == NULL)) {                                                             \
            known = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                    \
            atomic_store_explicit(&next, known, memory_order_relaxed);                             \
        }                                                                                          \
        known;                                                                                     \
    })

/* clang has neither attribute: its last calls are jumps wherever it optimizes, and it does not ask
 * an alias to look like what it stands for. */
#ifdef __clang__
#define LEAVES_BY_JUMP
#define LIKE(name)
#else
#define LEAVES_BY_JUMP __attribute__((optimize("O2", "omit-frame-pointer")))
#define LIKE(name)     __attribute__((copy(name)))
#endif

#ifdef RTLD_DEEPBIND
/* Leaves by a jump: the C library looks at the return address to learn whose search path counts. */
HPM_EXPORT LEAVES_BY_JUMP void *dlopen(const char *path, int flags)
{
    return NEXT(dlopen)(path, flags & ~RTLD_DEEPBIND);
}
#endif

HPM_EXPORT int dlclose(void *library)
{
    unwind_cache_prepare_unload();
    int status = NEXT(dlclose)(library);
    unwind_cache_forget();
    return status;
}

#ifdef __GLIBC__
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                      void *library);

static int register_first(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return NEXT(__register_atfork)(prepare, parent, child, NULL);
}

/* What pthread_atfork, a part of each library that calls it, comes down to. */
HPM_EXPORT int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                                 void *library)
{
    lifecycle_watch_forks(register_first);
    return NEXT(__register_atfork)(prepare, parent, child, library);
}
#else
static int register_first(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return NEXT(pthread_atfork)(prepare, parent, child);
}

HPM_EXPORT int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    lifecycle_watch_forks(register_first);
    return NEXT(pthread_atfork)(prepare, parent, child);
}
#endif

HPM_EXPORT pid_t fork(void)
{
    lifecycle_watch_forks(register_first);
    return NEXT(fork)();
}

/* These fork inside the C library. */
HPM_EXPORT pid_t forkpty(int *terminal, char *name, const struct termios *settings,
                         const struct winsize *size)
{
    lifecycle_watch_forks(register_first);
    return NEXT(forkpty)(terminal, name, settings, size);
}

HPM_EXPORT int daemon(int keep_folder, int keep_descriptors)
{
    lifecycle_watch_forks(register_first);
    return NEXT(daemon)(keep_folder, keep_descriptors);
}

#ifdef __GLIBC__
/* By another of its names: programs ask in handlers and in children of vfork, where nothing can be
 * looked up. */
int __sigaction(int number, const struct sigaction *action, struct sigaction *before);

int interpose_sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    return __sigaction(number, action, before);
}

static sighandler_t set_handler(int number, sighandler_t handler)
{
    return ssignal(number, handler);
}
#else
int interpose_sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    return NEXT(sigaction)(number, action, before);
}

static sighandler_t set_handler(int number, sighandler_t handler)
{
    return NEXT(signal)(number, handler);
}
#endif

HPM_EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    int status;
    struct sigaction shown;
    if (faults_take_action(number, action, before, &status))
        return status;
    if (action != NULL && lifecycle_is_hidden_action(number, action)) {
        shown = *action;
        lifecycle_show_action(&shown);
        action = &shown;
    }
    status = interpose_sigaction(number, action, before);
    if (before != NULL && status == 0)
        lifecycle_hide_action(before);
    return status;
}

HPM_EXPORT sighandler_t signal(int number, sighandler_t handler)
{
    int status;
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, before;
    if (number > 0)
        sigaddset(&action.sa_mask, number);
    if (faults_take_action(number, &action, &before, &status))
        return status == 0 ? before.sa_handler : SIG_ERR;
    return set_handler(number, handler);
}

extern pid_t own_fork(void) LIKE(fork) __attribute__((alias("fork"), visibility("hidden")));

bool interpose_is_own_fork(pid_t (*seen)(void))
{
    return seen == own_fork;
}
#else
bool interpose_is_own_fork(pid_t (*seen)(void))
{
    (void)seen;
    return false;
}

int interpose_sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    return sigaction(number, action, before);
}
#endif
