#define _GNU_SOURCE
#include "api/lifecycle.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "api/faults.h"
#include "api/guarding.h"
#include "base/lock.h"
#include "base/meta.h"
#include "base/options.h"
#include "base/os.h"
#include "base/print.h"
#include "heap/guard.h"
#include "heap/hardened.h"
#include "heap/pageheap.h"
#include "heap/pagemap.h"
#include "hpmalloc.h"
#include "prof/profile.h"
#include "prof/record.h"
#include "prof/unwind.h"
#include "report/crime.h"
#include "report/dump.h"
#include "report/http.h"
#include "report/keeper.h"
#include "report/statsfile.h"

/* The linker's marks around the code of HPM_API. */
extern const char hpm_text_start[] __asm__("__start_hpm_text")
    __attribute__((visibility("hidden")));
extern const char hpm_text_limit[] __asm__("__stop_hpm_text")
    __attribute__((visibility("hidden")));

static struct meta_pool thread_pool = META_POOL_INITIAL(struct thread);
static struct lock setup_lock = LOCK_INITIAL(LOCK_CONTROL);
static _Atomic bool is_heap_ready;
static pthread_key_t thread_key;
static HPM_TLS bool has_ended;

/* Threads' seeds are steps from one random number: asking the kernel for each costs short threads. */
static _Atomic uint64_t next_seed;

static uint64_t take_seed(void)
{
    return atomic_fetch_add_explicit(&next_seed, 0x9e3779b97f4a7c15u, memory_order_relaxed);
}

/* Runs among the thread's destructors. The cache is unhooked before its lists are given back. */
static void end_thread(void *argument)
{
    struct thread *thread = argument;
    has_ended = true;
    tcache_self = &tcache_none;
    atomic_signal_fence(memory_order_seq_cst);
    tcache_retire(&thread->cache);
    meta_pool_free(&thread_pool, thread);
}

static bool set_up_heap_locked(void)
{
    if (atomic_load_explicit(&is_heap_ready, memory_order_relaxed))
        return true;
    if (pthread_key_create(&thread_key, end_thread) != 0 || !pagemap_init())
        return false;
    atomic_store_explicit(&next_seed, os_random_u64(), memory_order_relaxed);
    if (options_want_hardened())
        hardened_start();
    /* Release: pairs with the acquire in set_up_heap. */
    atomic_store_explicit(&is_heap_ready, true, memory_order_release);
    return true;
}

static bool set_up_heap(void)
{
    if (likely(atomic_load_explicit(&is_heap_ready, memory_order_acquire)))
        return true;
    lock_acquire(&setup_lock);
    bool done = set_up_heap_locked();
    lock_release(&setup_lock);
    if (done && !interpose_is_own_fork(fork))
        lifecycle_watch_forks(pthread_atfork);
    return done;
}

static struct thread *make_thread(void)
{
    struct thread *thread = meta_pool_alloc(&thread_pool);
    if (thread == NULL)
        return NULL;
    memset(thread, 0, sizeof(*thread));
    tcache_init(&thread->cache);
    return thread;
}

HPM_COLD struct thread *lifecycle_attach_slow(void)
{
    if (has_ended || !set_up_heap())
        return NULL;
    struct thread *thread = (struct thread *)tcache_adopt();
    if (thread == NULL)
        thread = make_thread();
    if (thread == NULL)
        return NULL;
    sampler_init(&thread->sampler, take_seed());
    thread->is_sampling = false;
    thread->cache.allowance_epoch = 0;
    tcache_self = &thread->cache;
    pthread_setspecific(thread_key, thread);
    return thread;
}

/* Threads that come to register the handlers together may do it twice: the innermost call counts. */
static HPM_TLS unsigned fork_depth;

/* The dump signal waits while all locks are held: one that came then would be put off, and the child
 * would answer for its parent, or not at all. Guarded by all locks. */
static sigset_t mask_before_fork;

static void block_dump_signal(sigset_t *before)
{
    sigset_t set;
    int number = (int)option_number(OPTION_DUMP_SIGNAL);
    sigemptyset(&set);
    if (number != 0)
        sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, before);
}

/* Locks are taken in the order of their ranks, so that the child finds none held by a thread that
 * it does not have. */
static void fork_prepare(void)
{
    if (fork_depth++ > 0)
        return;
    sigset_t before;
    block_dump_signal(&before);
    crime_fork_prepare();
    http_fork_prepare();
    dump_fork_prepare();
    statsfile_fork_prepare();
    lock_acquire(&setup_lock);
    tcache_fork_prepare();
    central_fork_prepare();
    guard_fork_prepare();
    hardened_fork_prepare();
    pageheap_fork_prepare();
    profile_fork_prepare();
    meta_fork_prepare();
    mask_before_fork = before;
}

static void fork_parent(void)
{
    if (--fork_depth > 0)
        return;
    sigset_t before = mask_before_fork;
    meta_fork_parent();
    profile_fork_parent();
    pageheap_fork_parent();
    hardened_fork_parent();
    guard_fork_parent();
    central_fork_parent();
    tcache_fork_parent();
    lock_release(&setup_lock);
    statsfile_fork_parent();
    dump_fork_parent();
    http_fork_parent();
    crime_fork_parent();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void fork_child(void)
{
    if (--fork_depth > 0)
        return;
    meta_fork_child();
    profile_fork_child();
    pageheap_fork_child();
    hardened_fork_child();
    guard_fork_child();
    central_fork_child();
    tcache_fork_child();
    lock_reset(&setup_lock);
    statsfile_fork_child();
    dump_fork_child();
    keeper_fork_child();
    http_fork_child();
    crime_fork_child();
    faults_fork_child();
    atomic_store_explicit(&next_seed, os_random_u64(), memory_order_relaxed);
    if (tcache_self != &tcache_none)
        sampler_init(&((struct thread *)tcache_self)->sampler, take_seed());
    pthread_sigmask(SIG_SETMASK, &mask_before_fork, NULL);
}

void lifecycle_watch_forks(register_function *register_handlers)
{
    static _Atomic bool is_done;
    if (atomic_load(&is_done))
        return;
    register_handlers(fork_prepare, fork_parent, fork_child);
    atomic_store(&is_done, true);
}

enum { DUMP_SIGNAL_FLAGS = SA_RESTART | SA_ONSTACK };
static _Atomic int dump_signal; // the one that was taken; 0: none

static void dump_after_signal(void)
{
    dump_request("signal");
}

static void on_dump_signal(int signal_number)
{
    (void)signal_number;
    int saved = errno;
    if (!keeper_ask_signal())
        lock_defer(dump_after_signal);
    errno = saved;
}

/* Flags and mask stay ours: by them it is known again. */
void lifecycle_hide_action(struct sigaction *before)
{
    if (before->sa_handler == on_dump_signal)
        before->sa_handler = SIG_DFL;
}

bool lifecycle_is_hidden_action(int number, const struct sigaction *action)
{
    return number == dump_signal && action->sa_handler == SIG_DFL &&
           (action->sa_flags & DUMP_SIGNAL_FLAGS) == DUMP_SIGNAL_FLAGS &&
           sigismember(&action->sa_mask, SIGCHLD) == 1;
}

void lifecycle_show_action(struct sigaction *action)
{
    action->sa_handler = on_dump_signal;
}

/* Takes the signal only while nobody else has: a handler of the program's, or its wish to ignore
 * it, stays. Whoever starts a set-user-ID program may send it signals, from a folder of his choice:
 * they are to make no file there. */
static void install_dump_signal(void)
{
    int number = (int)option_number(OPTION_DUMP_SIGNAL);
    struct sigaction current;
    if (number == 0 || os_has_raised_rights() || sigaction(number, NULL, &current) != 0 ||
        current.sa_handler != SIG_DFL)
        return;
    struct sigaction ours = {.sa_handler = on_dump_signal, .sa_flags = DUMP_SIGNAL_FLAGS};
    sigfillset(&ours.sa_mask);
    if (sigaction(number, &ours, NULL) == 0)
        dump_signal = number;
}

static void start_profiler(void)
{
    if (!profile_init()) {
        print_line("no memory for the profiler: profiling is off");
        return;
    }
    unwind_init();
    unwind_set_own_code(hpm_text_start, hpm_text_limit);
    sampler_set_interval(option_number(OPTION_SAMPLE_INTERVAL));
}

/* The environment may not have been there yet when the heap was set up. */
static void start_guarding(void)
{
    if (option_number(OPTION_HARDENED) != 0 && !hardened_is_on())
        hardened_start();
    uint64_t share = option_number(OPTION_GUARD);
    if (share == 0 && hardened_is_on())
        share = 1;
    guarding_init(share);
    if (share != 0)
        faults_watch();
}

__attribute__((constructor(101))) static void start_library(void)
{
    int saved = errno;
    print_init();
    options_init();
    pageheap_set_release(option_number(OPTION_RELEASE));
    pageheap_set_thp((enum thp_mode)option_number(OPTION_THP));
    pageheap_set_limit(option_number(OPTION_HEAP_LIMIT));
    lifecycle_thread();
    dump_init();
    start_profiler();
    start_guarding();
    if (options_program_matches(NULL)) {
        record_init(option_text(OPTION_RECORD));
        install_dump_signal();
        keeper_init(pageheap_used_bytes);
        http_init(hpm_release_memory);
    }
    errno = saved;
}

__attribute__((destructor)) static void stop_library(void)
{
    if (tcache_self != &tcache_none)
        tcache_check(tcache_self);
    central_check_kept();
    hardened_check_all();
    http_stop();
    keeper_stop();
    if (option_number(OPTION_DUMP_AT_EXIT) != 0 && options_program_matches(NULL))
        dump_all("exit");
}
