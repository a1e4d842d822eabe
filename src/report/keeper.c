#define _GNU_SOURCE
#include "report/keeper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/options.h"
#include "base/os.h"
#include "base/print.h"
#include "report/cgroup.h"
#include "report/dump.h"

#define SECOND_NS        1000000000u
#define NEVER            UINT64_MAX
#define STACK_BYTES      (256 * KiB)
#define FAILURE_PAUSE_NS (60 * (uint64_t)SECOND_NS)
#define STOP_NS          (10 * (uint64_t)SECOND_NS)
#define TICK_MIN_NS      (SECOND_NS / 10)

/* What the keeper is asked for, in the word it sleeps on. */
enum { ASKED_LOOK = 1, ASKED_SIGNAL = 2, ASKED_STOP = 4 };

enum state { STATE_NONE, STATE_STARTING, STATE_RUNS, STATE_ENDED, STATE_FAILED };

static const char limit_reason[] = "limit";

struct keeper_thresholds keeper_thresholds = {NEVER, NEVER};

static struct {
    _Atomic uint32_t asked, state;
    _Atomic pid_t pid; // of the process it runs in: a raw clone copies all this but the thread
    pthread_t thread;

    /* Written by keeper_init. */
    uint64_t every_ns, every_bytes, growth_bytes, limit_percent;
    size_t (*used_bytes)(void);

    /* The keeper's own; before it runs, and in a forked child, its parent's. */
    uint64_t due_ns, due_alloc_bytes; // of the next dump by DUMP_EVERY
    uint64_t quiet_until_ns;
    unsigned failures; // in a row
    bool is_past_limit, has_missed_limit;
    uint64_t limit_room_bytes; // until a limit's share is reached
} keeper;

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > NEVER - b ? NEVER : a + b;
}

HPM_EARLY static void set_thresholds(uint64_t alloc_bytes, uint64_t live_bytes)
{
    atomic_store_explicit(&keeper_thresholds.alloc_bytes, alloc_bytes, memory_order_relaxed);
    atomic_store_explicit(&keeper_thresholds.live_bytes, live_bytes, memory_order_relaxed);
}

static bool watches_limit(void)
{
    return keeper.limit_percent != 0;
}

/* What the next sample has to reach. A limit is looked at as memory grows by half of what is left,
 * in steps that are not too small. */
HPM_EARLY static void renew_thresholds(void)
{
    uint64_t live = NEVER;
    if (keeper.growth_bytes != 0)
        live = plus(dump_last_live_bytes(), keeper.growth_bytes);
    if (watches_limit() && !keeper.is_past_limit)
        live = min_u64(live, profile_live_bytes() + max_size(keeper.limit_room_bytes / 2, MiB));
    set_thresholds(keeper.every_bytes != 0 ? keeper.due_alloc_bytes : NEVER, live);
}

/* Use over limit, as far as one is known: whether the share is passed, and what is left to it. */
struct closeness {
    bool is_limited, is_past, is_far;
    uint64_t room_bytes;
};

static void compare(struct closeness *closeness, uint64_t used, uint64_t limit)
{
    uint64_t bound = (uint64_t)((double)limit / 100 * (double)keeper.limit_percent);
    closeness->is_limited = true;
    closeness->is_past |= used >= bound;
    closeness->is_far &= used < bound - bound / 10;
    closeness->room_bytes = min_u64(closeness->room_bytes, used < bound ? bound - used : 0);
}

static struct closeness limit_closeness(void)
{
    struct closeness closeness = {.is_far = true, .room_bytes = TiB};
    struct cgroup_memory group;
    uint64_t heap_limit = option_number(OPTION_HEAP_LIMIT);
    if (heap_limit != 0)
        compare(&closeness, keeper.used_bytes(), heap_limit);
    for (unsigned level = 0; cgroup_read(level, &group); level++) {
        if (group.limit_bytes != CGROUP_NO_LIMIT)
            compare(&closeness, group.used_bytes, group.limit_bytes);
    }
    return closeness;
}

/* True once each time the share is passed: again after use has fallen a tenth below. */
static bool passes_limit(void)
{
    if (!watches_limit())
        return false;
    struct closeness closeness = limit_closeness();
    if (!closeness.is_limited && !keeper.has_missed_limit)
        print_line("HPMALLOC_DUMP_ON_LIMIT finds no limit: set HPMALLOC_HEAP_LIMIT, or a memory "
                   "limit for the cgroup");
    keeper.has_missed_limit |= !closeness.is_limited;
    keeper.limit_room_bytes = closeness.room_bytes;
    if (closeness.is_far)
        keeper.is_past_limit = false;
    bool passes = closeness.is_past && !keeper.is_past_limit;
    keeper.is_past_limit |= closeness.is_past;
    return passes;
}

static bool has_grown(void)
{
    return keeper.growth_bytes != 0 &&
           profile_live_bytes() >= plus(dump_last_live_bytes(), keeper.growth_bytes);
}

static bool is_due(uint64_t now)
{
    return (keeper.every_ns != 0 && now >= keeper.due_ns) ||
           (keeper.every_bytes != 0 && profile_alloc_bytes() >= keeper.due_alloc_bytes);
}

/* Dumps keep to a grid; those that were missed are not made up for. */
static uint64_t next_on_grid(uint64_t due, uint64_t step, uint64_t now)
{
    return step == 0 ? NEVER : due > now ? due : due + ((now - due) / step + 1) * step;
}

static void pass_due(uint64_t now)
{
    keeper.due_ns = next_on_grid(keeper.due_ns, keeper.every_ns, now);
    keeper.due_alloc_bytes =
        next_on_grid(keeper.due_alloc_bytes, keeper.every_bytes, profile_alloc_bytes());
}

static void dump_now(const char *reason)
{
    uint64_t begin = os_clock_ns();
    bool done = dump_all(reason);
    keeper.failures = done ? 0 : keeper.failures + 1;
    if (!done && reason == limit_reason)
        keeper.is_past_limit = false;
    uint64_t end = os_clock_ns();
    uint64_t pause = plus(KEEPER_SPACING_NS, 9 * (end - begin));
    for (unsigned i = 0; i < keeper.failures && pause < FAILURE_PAUSE_NS; i++)
        pause = min_u64(2 * pause, FAILURE_PAUSE_NS);
    keeper.quiet_until_ns = end + pause;
}

static const char *find_reason(uint64_t now)
{
    if (passes_limit())
        return limit_reason;
    if (has_grown())
        return "growth";
    return is_due(now) ? "every" : NULL;
}

/* Dumps if it is time to, and returns how long to sleep at most. */
static uint64_t look(void)
{
    uint64_t now = os_clock_ns();
    if (now < keeper.quiet_until_ns)
        return keeper.quiet_until_ns - now;
    const char *reason = find_reason(now);
    if (is_due(now))
        pass_due(now);
    if (reason != NULL) {
        dump_now(reason);
        return keeper.quiet_until_ns - min_u64(os_clock_ns(), keeper.quiet_until_ns);
    }
    renew_thresholds();
    uint64_t sleep = keeper.every_ns != 0 ? keeper.due_ns - now : NEVER;
    if (keeper.growth_bytes != 0)
        sleep = min_u64(sleep, SECOND_NS);
    if (watches_limit()) {
        /* A program may come nearer by about a byte each nanosecond. */
        uint64_t tick = max_size(keeper.limit_room_bytes, TICK_MIN_NS);
        sleep = min_u64(sleep, min_u64(SECOND_NS, tick));
    }
    return sleep;
}

static uint32_t wait_for_work(uint64_t nanoseconds)
{
    if (atomic_load(&keeper.asked) == 0) {
        if (nanoseconds == NEVER)
            os_wait(&keeper.asked, 0);
        else
            os_wait_for(&keeper.asked, 0, nanoseconds);
    }
    return atomic_exchange(&keeper.asked, 0);
}

static void *keep(void *unused)
{
    prctl(PR_SET_NAME, "hpm-keeper");
    for (;;) {
        uint32_t asked = wait_for_work(look());
        if ((asked & ASKED_SIGNAL) != 0)
            dump_all("signal");
        if ((asked & ASKED_STOP) != 0)
            break;
    }
    atomic_store(&keeper.state, STATE_ENDED);
    os_wake(&keeper.state, 1);
    return unused;
}

/* Some programs have more thread-local memory than a small stack holds: then the usual size. */
static int create_thread(void)
{
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    error = pthread_create(&keeper.thread, &attributes, keep, NULL);
    pthread_attr_destroy(&attributes);
    return error == EINVAL ? pthread_create(&keeper.thread, NULL, keep, NULL) : error;
}

static void start(void)
{
    uint32_t none = STATE_NONE;
    if (!atomic_compare_exchange_strong(&keeper.state, &none, STATE_STARTING))
        return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = create_thread();
    atomic_store(&keeper.pid, getpid());
    atomic_store(&keeper.state, error == 0 ? STATE_RUNS : STATE_FAILED);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        print_line("no thread for the dumps that HPMALLOC_DUMP_EVERY, _ON_GROWTH or _ON_LIMIT ask "
                   "for (error %d): there will be none",
                   error);
}

static void ask(uint32_t what)
{
    atomic_fetch_or(&keeper.asked, what);
    os_wake(&keeper.asked, 1);
}

static bool runs(void)
{
    return atomic_load(&keeper.state) == STATE_RUNS && atomic_load(&keeper.pid) == getpid();
}

bool keeper_ask_signal(void)
{
    if (!runs())
        return false;
    ask(ASKED_SIGNAL);
    return true;
}

/* One sample wakes it; it sets new thresholds when it has looked. */
void keeper_wake_slow(void)
{
    int saved = errno;
    set_thresholds(NEVER, NEVER);
    start();
    ask(ASKED_LOOK);
    errno = saved;
}

/* Counts begin here: at the start, or where a child leaves its parent. */
HPM_EARLY static void begin(void)
{
    if (keeper.every_ns != 0)
        keeper.due_ns = plus(os_clock_ns(), keeper.every_ns);
    keeper.due_alloc_bytes = plus(profile_alloc_bytes(), keeper.every_bytes);
    renew_thresholds();
}

HPM_EARLY void keeper_init(size_t (*used_bytes)(void))
{
    uint64_t every = option_number(OPTION_DUMP_EVERY);
    bool is_time = (every & OPTION_EVERY_TIME) != 0;
    keeper.every_ns = is_time ? every & ~OPTION_EVERY_TIME : 0;
    keeper.every_bytes = is_time ? 0 : every;
    keeper.growth_bytes = option_number(OPTION_DUMP_ON_GROWTH);
    keeper.limit_percent = option_number(OPTION_DUMP_ON_LIMIT);
    keeper.used_bytes = used_bytes;
    if (watches_limit())
        cgroup_init("");
    begin();
    if (is_time)
        start();
}

/* Not by pthread_join alone: a dump to a place that hangs must not hold the program's end up for
 * ever. */
HPM_EARLY void keeper_stop(void)
{
    if (!runs() || lock_held_count() != 0)
        return;
    ask(ASKED_STOP);
    uint64_t limit = os_clock_ns() + STOP_NS;
    for (uint64_t now; atomic_load(&keeper.state) == STATE_RUNS && (now = os_clock_ns()) < limit;)
        os_wait_for(&keeper.state, STATE_RUNS, limit - now);
    if (atomic_load(&keeper.state) == STATE_ENDED)
        pthread_join(keeper.thread, NULL);
}

void keeper_fork_child(void)
{
    if (atomic_load(&keeper.state) != STATE_FAILED)
        atomic_store(&keeper.state, STATE_NONE);
    atomic_store(&keeper.asked, 0);
    keeper.quiet_until_ns = 0;
    keeper.failures = 0;
    begin();
    if (keeper.every_ns != 0)
        set_thresholds(0, NEVER);
}
