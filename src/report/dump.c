#define _GNU_SOURCE
#include "report/dump.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/lock.h"
#include "base/options.h"
#include "base/os.h"
#include "base/print.h"
#include "prof/profile.h"
#include "prof/symbols.h"
#include "report/collapsed.h"
#include "report/dumpfile.h"
#include "report/frames.h"
#include "report/legacy.h"
#include "report/pinned.h"
#include "report/pprof.h"
#include "report/retain.h"
#include "report/rows.h"
#include "report/stats.h"
#include "report/text.h"

enum { PROFILE_COUNT = DUMP_PROFILE_PINNED + 1, FORMAT_COUNT = DUMP_FORMAT_COLLAPSED + 1 };

#define ALL_PROFILES (((uint64_t)1 << PROFILE_COUNT) - 1)

static const char *const format_endings[FORMAT_COUNT] = {
    [DUMP_FORMAT_PPROF] = ".pb.gz",
    [DUMP_FORMAT_TEXT] = ".txt",
    [DUMP_FORMAT_LEGACY] = ".heap",
    [DUMP_FORMAT_COLLAPSED] = ".folded",
};

/* All that a dump needs is here and not on the stack, which may be a signal handler's small one. */
static struct {
    struct lock lock;

    /* Guarded by lock. */
    struct snapshot snapshot;
    struct symbol_table table;
    struct hpm_stats stats;
    struct dumpfile file;
    unsigned last_sequence;
    char line[DUMPFILE_PATH_MAX + 512];
    sigset_t blocked, pending_before, pending_after, mask_before;
    int cancel_before;

    _Atomic uint64_t last_live_bytes;
    const char *pattern;             // written by dump_init only
    _Atomic(const char *) requested; // reason of a dump yet to be made; NULL: none
} dump = {.lock = LOCK_INITIAL(LOCK_DUMP)};

/* strerror may allocate and is no handler's to call; and a reader wants to know what to do. */
struct trouble {
    int error;
    const char *text, *advice;
};

static const struct trouble *find_trouble(int error)
{
    static const char elsewhere[] =
        "set HPMALLOC_DUMP_PATH to a folder where this process may write";
    static const char room[] = "make room, or set HPMALLOC_DUMP_PATH to another place";
    static const char limits[] = "raise the limit on open files";
    static const struct trouble troubles[] = {
        {EACCES, "permission denied", elsewhere},
        {EPERM, "operation not permitted", elsewhere},
        {EROFS, "the file system is read-only", elsewhere},
        {ENOENT, "no such folder", "make it, or set HPMALLOC_DUMP_PATH to another"},
        {ENOTDIR, "a part of the path is no folder", elsewhere},
        {ELOOP, "too many symbolic links", elsewhere},
        {EEXIST, "the file exists", "put %n into HPMALLOC_DUMP_PATH, or move the file away"},
        {ENAMETOOLONG, "the name is too long", "shorten HPMALLOC_DUMP_PATH"},
        {ENOSPC, "no space left on the device", room},
        {EDQUOT, "the disk quota is used up", room},
        {EFBIG, "the file would be too large", "raise the limit on file sizes"},
        {EMFILE, "too many open files in this process", limits},
        {ENFILE, "too many open files in the system", limits},
        {ENOMEM, "no memory for it", "raise the memory limit"},
        {EIO, "input or output error", room},
        {EPIPE, "nobody reads it", "keep the reader open"},
    };
    static const struct trouble unknown = {0, "the system refused", elsewhere};
    for (size_t i = 0; i < array_count(troubles); i++) {
        if (troubles[i].error == error)
            return &troubles[i];
    }
    return &unknown;
}

static void complain(unsigned profile, int error)
{
    const struct trouble *trouble = find_trouble(-error);
    print_format(dump.line, sizeof(dump.line),
                 "hpmalloc: %s profile (%s) not written to %s: %s (error %d); %s\n",
                 rows_profile_name(profile), dump.file.reason,
                 dump.file.path[0] != '\0' ? dump.file.path : "its file", trouble->text, -error,
                 trouble->advice);
    print_ready_line(dump.line);
}

static void announce(unsigned profile)
{
    static const char *const what[] = {"live", "allocated", "live at the peak", "allocated",
                                       "free but pinned"};
    const struct estimate *total = rows_estimate(&dump.snapshot.total, profile);
    double calibration = profile == DUMP_PROFILE_HEAP ? dump.snapshot.calibration : 1;
    print_format(dump.line, sizeof(dump.line),
                 "hpmalloc: %s profile (%s) written to %s: %lu samples, %.1f MiB %s (estimated)\n",
                 rows_profile_name(profile), dump.file.reason, dump.file.path, total->samples,
                 total->bytes * calibration / (double)MiB, what[profile]);
    print_ready_line(dump.line);
}

/* Writing to a pipe or past a limit raises a signal at the writer, and opening and writing are
 * places where a cancelled thread ends: a dump must do neither to the program. */
static void shield_locked(void)
{
    lock_assert_held(&dump.lock);
    dump.cancel_before = os_put_cancel_off();
    sigemptyset(&dump.blocked);
    sigaddset(&dump.blocked, SIGPIPE);
    sigaddset(&dump.blocked, SIGXFSZ);
    sigemptyset(&dump.pending_before);
    sigpending(&dump.pending_before);
    pthread_sigmask(SIG_BLOCK, &dump.blocked, &dump.mask_before);
}

/* Takes back a signal that we raised; one that was waiting before stays. */
static void swallow_locked(int signal_number)
{
    static const struct timespec no_time;
    if (sigismember(&dump.pending_before, signal_number) == 1 ||
        sigismember(&dump.pending_after, signal_number) != 1)
        return;
    sigemptyset(&dump.blocked);
    sigaddset(&dump.blocked, signal_number);
    while (sigtimedwait(&dump.blocked, NULL, &no_time) < 0 && errno == EINTR)
        continue;
}

static void unshield_locked(void)
{
    lock_assert_held(&dump.lock);
    sigemptyset(&dump.pending_after);
    sigpending(&dump.pending_after);
    swallow_locked(SIGPIPE);
    swallow_locked(SIGXFSZ);
    pthread_sigmask(SIG_SETMASK, &dump.mask_before, NULL);
    os_allow_cancel(dump.cancel_before);
}

static void forget_locked(void)
{
    symbols_free(&dump.table);
    snapshot_free(&dump.snapshot);
}

static bool wants_ages(uint64_t formats)
{
    return (formats >> DUMP_FORMAT_TEXT & 1) != 0 ||
           (option_number(OPTION_DUMP_LABELS) >> DUMP_LABEL_AGE & 1) != 0;
}

/* Who pins what is worked out only where it is shown: every thread's lists are walked for it. */
static bool take_rows_locked(struct snapshot *snapshot, bool is_calibrated, uint64_t profiles)
{
    lock_assert_held(&dump.lock);
    stats_collect(&dump.stats);
    if (!snapshot_take(snapshot))
        return false;
    if (is_calibrated)
        snapshot_calibrate(snapshot, dump.stats.live_bytes);
    if (profiles >> DUMP_PROFILE_PINNED & 1)
        snapshot->unpinned_bytes = pinned_charge(snapshot);
    return true;
}

static bool copy_rows_locked(const struct snapshot *snapshot)
{
    dump.snapshot = *snapshot;
    dump.snapshot.rows = os_map_whole(snapshot->mapped_bytes);
    if (dump.snapshot.rows == NULL)
        return false;
    memcpy(dump.snapshot.rows, snapshot->rows, snapshot->row_count * sizeof(*snapshot->rows));
    return true;
}

static bool want_names(enum dump_names names)
{
    return names == DUMP_NAMES_AS_OPTION ? option_number(OPTION_SYMBOLIZE) != SYMBOLIZE_OFF
                                         : names == DUMP_NAMES_ALL;
}

/* One picture for all files of a dump. */
static int prepare_locked(const struct dump_order *order, uint64_t profiles, uint64_t formats)
{
    if (!(order->to != NULL ? copy_rows_locked(order->to)
                            : take_rows_locked(&dump.snapshot, true, profiles)))
        return -ENOMEM;
    if (order->from != NULL)
        rows_subtract(&dump.snapshot, order->from, order->keeps_inuse);
    if ((!wants_ages(formats) || ages_take(&dump.snapshot.ages)) &&
        frames_resolve(&dump.table, &dump.snapshot, want_names(order->names)))
        return 0;
    snapshot_free(&dump.snapshot);
    return -ENOMEM;
}

static int take_picture_locked(uint64_t profiles, uint64_t formats)
{
    static const struct dump_order plain;
    return prepare_locked(&plain, profiles, formats);
}

static bool write_format(unsigned profile, unsigned format, int fd)
{
    switch (format) {
    case DUMP_FORMAT_TEXT:
        return text_write(fd, &dump.snapshot, &dump.table, &dump.stats, profile);
    case DUMP_FORMAT_LEGACY:
        return legacy_write(fd, &dump.snapshot, &dump.table, profile);
    case DUMP_FORMAT_COLLAPSED:
        return collapsed_write(fd, &dump.snapshot, &dump.table, profile);
    default:
        return pprof_write(fd, &dump.snapshot, &dump.table, &dump.stats, profile);
    }
}

static int write_locked(unsigned profile, unsigned format, int fd)
{
    return write_format(profile, format, fd) ? 0 : -errno;
}

static int write_file_locked(unsigned profile, unsigned format)
{
    int error = dumpfile_open(&dump.file);
    if (error != 0)
        return error;
    error = write_locked(profile, format, dump.file.fd);
    if (error != 0)
        dumpfile_discard(&dump.file);
    else
        error = dumpfile_publish(&dump.file);
    return error;
}

/* The caller has set what else the file's name is made of. */
static int dump_file_locked(unsigned profile, unsigned format)
{
    int error = write_file_locked(profile, format);
    if (error == 0)
        announce(profile);
    else
        complain(profile, error);
    return error;
}

static void begin_file_locked(const char *pattern, const char *reason)
{
    dump.file.pattern = pattern;
    dump.file.reason = reason;
    dump.file.ending = NULL;
    dump.file.profile = NULL;
    dump.file.is_one_of_many = false;
    dump.file.sequence = dump.last_sequence + 1;
    dump.file.path[0] = '\0';
}

static bool has_several(uint64_t set)
{
    return (set & (set - 1)) != 0;
}

static void retain_file_locked(void)
{
    int error = retain_file(&dump.file);
    if (error == 0)
        return;
    print_format(dump.line, sizeof(dump.line), "hpmalloc: old dump %s not removed: %s (error %d)\n",
                 retain_path(), find_trouble(-error)->text, -error);
    print_ready_line(dump.line);
}

/* False: it should have been written, but was not. */
static bool dump_file_of_set_locked(unsigned profile, unsigned format)
{
    uint64_t profiles = option_number(OPTION_DUMP_PROFILE);
    uint64_t formats = option_number(OPTION_DUMP_FORMAT);
    if ((profiles >> profile & 1) == 0 || (formats >> format & 1) == 0)
        return true;
    dump.file.ending = format_endings[format];
    dump.file.profile = has_several(profiles) ? rows_profile_name(profile) : NULL;
    dump.file.is_one_of_many = has_several(formats);
    if (dump_file_locked(profile, format) != 0)
        return false;
    retain_file_locked();
    return true;
}

/* The files of one dump share its number. */
static bool dump_set_locked(const char *reason)
{
    uint64_t live_bytes = profile_live_bytes();
    begin_file_locked(dump.pattern, reason);
    int error =
        take_picture_locked(option_number(OPTION_DUMP_PROFILE), option_number(OPTION_DUMP_FORMAT));
    if (error != 0) {
        complain(DUMP_PROFILE_HEAP, error);
        return false;
    }
    dump.file.wall_clock_ns = dump.snapshot.wall_clock_ns;
    bool done = true;
    for (unsigned profile = 0; profile < PROFILE_COUNT; profile++) {
        for (unsigned format = 0; format < FORMAT_COUNT; format++)
            done &= dump_file_of_set_locked(profile, format);
    }
    dump.last_sequence = dump.file.sequence;
    if (done)
        atomic_store_explicit(&dump.last_live_bytes, live_bytes, memory_order_relaxed);
    forget_locked();
    return done;
}

/* A request that comes while a dump is under way is answered by one more, in the same thread. In a
 * storm of requests that ends there: what is then still asked for waits for the next request, for a
 * program must not spend its life dumping. Another thread that dumps looks for requests when it has
 * let go of the lock. */
static void answer_requests(void)
{
    enum { ROUNDS_MAX = 2 };
    for (int round = 0; round < ROUNDS_MAX; round++) {
        if (atomic_load(&dump.requested) == NULL || !lock_try(&dump.lock))
            return;
        const char *reason = atomic_exchange(&dump.requested, NULL);
        if (reason != NULL) {
            shield_locked();
            dump_set_locked(reason);
            unshield_locked();
        }
        lock_release(&dump.lock);
    }
}

void dump_request(const char *reason)
{
    int saved = errno;
    if (dump.pattern != NULL) {
        atomic_store(&dump.requested, reason);
        answer_requests();
    }
    errno = saved;
}

/* Takes the lock for a caller that can wait. A handler that landed on a thread which holds one of
 * our locks cannot. */
static bool enter(void)
{
    if (lock_held_count() != 0)
        return false;
    lock_acquire(&dump.lock);
    shield_locked();
    return true;
}

static void leave(void)
{
    unshield_locked();
    lock_release(&dump.lock);
    answer_requests();
}

bool dump_all(const char *reason)
{
    int saved = errno;
    bool done = false;
    if (dump.pattern != NULL && enter()) {
        done = dump_set_locked(reason);
        leave();
    }
    errno = saved;
    return done;
}

uint64_t dump_last_live_bytes(void)
{
    return atomic_load_explicit(&dump.last_live_bytes, memory_order_relaxed);
}

static bool is_known(unsigned profile, unsigned format)
{
    return profile < PROFILE_COUNT && format < FORMAT_COUNT;
}

int dump_order_to_fd(const struct dump_order *order, int fd)
{
    int saved = errno;
    if (!is_known(order->profile, order->format))
        return -EINVAL;
    if (!enter())
        return -EDEADLK;
    int error = prepare_locked(order, (uint64_t)1 << order->profile, (uint64_t)1 << order->format);
    if (error == 0) {
        error = write_locked(order->profile, order->format, fd);
        forget_locked();
    }
    leave();
    errno = saved;
    return error;
}

int dump_to_fd(unsigned profile, unsigned format, int fd)
{
    const struct dump_order order = {.profile = profile, .format = format};
    return dump_order_to_fd(&order, fd);
}

int dump_take_picture(struct snapshot *picture, bool is_calibrated)
{
    int saved = errno;
    if (!enter())
        return -EDEADLK;
    bool done = take_rows_locked(picture, is_calibrated, ALL_PROFILES);
    leave();
    errno = saved;
    return done ? 0 : -ENOMEM;
}

int dump_names_to_fd(const uintptr_t *addresses, size_t count, int fd)
{
    int saved = errno;
    if (!enter())
        return -EDEADLK;
    int error = -ENOMEM;
    if (symbols_resolve(&dump.table, addresses, count, true)) {
        error = frames_write_names(fd, &dump.table) ? 0 : -errno;
        symbols_free(&dump.table);
    }
    leave();
    errno = saved;
    return error;
}

static int dump_to_path_locked(unsigned profile, unsigned format, const char *path,
                               const char *reason)
{
    begin_file_locked(path != NULL ? path : dump.pattern, reason);
    if (path == NULL)
        dump.file.ending = format_endings[format];
    int error = take_picture_locked((uint64_t)1 << profile, (uint64_t)1 << format);
    if (error != 0) {
        complain(profile, error);
        return error;
    }
    dump.file.wall_clock_ns = dump.snapshot.wall_clock_ns;
    error = dump_file_locked(profile, format);
    if (error == 0 && path == NULL)
        retain_file_locked();
    if (error == 0)
        dump.last_sequence = dump.file.sequence;
    forget_locked();
    return error;
}

int dump_to_path(unsigned profile, unsigned format, const char *path, const char *reason)
{
    int saved = errno;
    if (!is_known(profile, format) || (path == NULL && dump.pattern == NULL))
        return -EINVAL;
    if (!enter())
        return -EDEADLK;
    int error = dump_to_path_locked(profile, format, path, reason);
    leave();
    errno = saved;
    return error;
}

HPM_EARLY void dump_init(void)
{
    dumpfile_init();
    retain_init();
    dump.pattern = option_text(OPTION_DUMP_PATH);
}

bool dump_try_pause(void)
{
    return lock_try(&dump.lock);
}

void dump_resume(void)
{
    lock_release(&dump.lock);
    answer_requests();
}

void dump_fork_prepare(void)
{
    lock_acquire(&dump.lock);
}

void dump_fork_parent(void)
{
    lock_release(&dump.lock);
    answer_requests();
}

void dump_fork_child(void)
{
    dump.last_sequence = 0;
    retain_init();
    atomic_store(&dump.last_live_bytes, profile_live_bytes());
    atomic_store(&dump.requested, NULL);
    lock_reset(&dump.lock);
}
