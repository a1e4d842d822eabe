/* The kernel refuses memory at the n-th call, for every n: this program's own mmap, mremap and
 * madvise stand before the C library's. What cannot be had is NULL with ENOMEM; nothing that was
 * had is lost; and afterwards all is as it was. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hpmalloc.h"
#include "tap.h"

#ifdef __SANITIZE_THREAD__
TEST(exhaustion, every_call_refused_harms_nothing)
{
    SKIP("the sanitizer's own calls would be refused, too");
}
#else

static _Atomic long calls;
static long refused_from, refused_upto; // calls by number, the last one not among them
static _Atomic long refusals;

static bool is_refused(void)
{
    long number = atomic_fetch_add(&calls, 1);
    if (number < refused_from || number >= refused_upto)
        return false;
    refusals++;
    errno = ENOMEM;
    return true;
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (is_refused())
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
}

void *mremap(void *address, size_t old_bytes, size_t new_bytes, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    void *target = (flags & MREMAP_FIXED) != 0 ? va_arg(arguments, void *) : NULL;
    va_end(arguments);
    if (is_refused())
        return MAP_FAILED;
    return (void *)syscall(SYS_mremap, address, old_bytes, new_bytes, flags, target);
}

int madvise(void *address, size_t bytes, int advice)
{
    return is_refused() ? -1 : (int)syscall(SYS_madvise, address, bytes, advice);
}

static void refuse(long from, long upto)
{
    refused_from = from;
    refused_upto = upto;
    refusals = calls = 0;
}

enum { BLOCKS = 300, ROUNDS = 3 };

struct held {
    unsigned char *block;
    size_t bytes;
};

/* What a run saw go wrong that must not. */
struct faults {
    int contents, errors, lives;
    int nulls; // allowed while calls are refused
};

static size_t size_of(int i)
{
    static const size_t sizes[] = {1,     24,    130,    600,      3000,
                                   17000, 40000, 300000, 3u << 20, 40u << 20};
    int rare = i % 50 == 0 ? 9 : i % 20 == 0 ? 8 : i % 7;
    return sizes[rare] + (size_t)(i % 13);
}

static void fill(struct held *held, int i)
{
    held->block[0] = (unsigned char)i;
    held->block[held->bytes - 1] = (unsigned char)(i + 1);
}

static void look(const struct held *held, int i, struct faults *faults)
{
    faults->contents += held->bytes > 1 && held->block[0] != (unsigned char)i;
    faults->contents += held->block[held->bytes - 1] != (unsigned char)(i + 1);
}

static void *take(int i, size_t bytes, struct faults *faults)
{
    errno = 0;
    void *block = i % 5 == 0   ? hpm_calloc(1, bytes)
                  : i % 5 == 1 ? hpm_aligned_alloc((size_t)16 << i % 10, bytes)
                               : hpm_malloc(bytes);
    if (block == NULL) {
        faults->nulls++;
        faults->errors += errno != ENOMEM;
    }
    return block;
}

static void resize(struct held *held, int i, struct faults *faults)
{
    size_t bytes = i % 3 == 0 ? held->bytes / 2 + 1 : held->bytes + held->bytes / 2 + 1;
    errno = 0;
    unsigned char *moved = hpm_realloc(held->block, bytes);
    if (moved == NULL) {
        faults->nulls++;
        faults->errors += errno != ENOMEM;
        return;
    }
    held->block = moved;
    faults->contents += held->bytes > 1 && moved[0] != (unsigned char)i;
    held->bytes = bytes;
    fill(held, i);
}

static void work(struct faults *faults)
{
    static _Thread_local struct held held[BLOCKS];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            if (held[i].block == NULL) {
                held[i].block = take(i, held[i].bytes = size_of(i), faults);
                if (held[i].block != NULL)
                    fill(&held[i], i);
            } else if (i % 4 == round) {
                resize(&held[i], i, faults);
            }
        }
        for (int i = round % 2; i < BLOCKS; i += 2) {
            if (held[i].block == NULL)
                continue;
            look(&held[i], i, faults);
            hpm_free(held[i].block);
            held[i].block = NULL;
        }
    }
    for (int i = 0; i < BLOCKS; i++) {
        if (held[i].block != NULL)
            look(&held[i], i, faults);
        hpm_free(held[i].block);
        held[i].block = NULL;
    }
}

static void *work_elsewhere(void *faults)
{
    work(faults);
    return NULL;
}

/* On this thread, on a new one, and for a reader of profiles. */
static void work_everywhere(struct faults *faults)
{
    pthread_t thread;
    work(faults);
    if (pthread_create(&thread, NULL, work_elsewhere, faults) == 0)
        pthread_join(thread, NULL);
    int fd = open("/dev/null", O_WRONLY);
    hpm_profile_write(HPM_PROFILE_HEAP, HPM_FORMAT_TEXT, fd);
    hpm_profile_write(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, fd);
    close(fd);
}

static uint64_t live_bytes(void)
{
    struct hpm_stats stats = {0};
    hpm_stats_get(&stats, sizeof(stats));
    return stats.live_bytes;
}

/* Not recorded, or without their stacks. */
static uint64_t lost_samples(void)
{
    struct hpm_stats stats = {0};
    hpm_stats_get(&stats, sizeof(stats));
    return stats.lost_samples + stats.other_samples;
}

struct outcome {
    struct faults during, after;
    long calls, refusals;
    uint64_t lost_samples;
    int status; // of its process; -1: it told nothing
};

static void *do_nothing(void *unused)
{
    return unused;
}

/* In a child, so that each n finds the library as it starts. What the C library allocates for a
 * first thread it keeps for the next. */
static long first_refused, last_refused;

static void try_in_child(int result)
{
    struct outcome outcome = {0};
    pthread_t thread;
    if (pthread_create(&thread, NULL, do_nothing, NULL) == 0)
        pthread_join(thread, NULL);
    uint64_t before = live_bytes();
    hpm_profile_set_interval(16384);
    refuse(first_refused, last_refused);
    work_everywhere(&outcome.during);
    outcome.calls = calls;
    outcome.refusals = refusals;
    refuse(0, 0);
    outcome.during.lives = live_bytes() != before;
    work_everywhere(&outcome.after);
    outcome.after.lives = live_bytes() != before;
    _exit(write(result, &outcome, sizeof(outcome)) == sizeof(outcome) ? 0 : 1);
}

static struct outcome in_child(void (*play)(int))
{
    struct outcome outcome = {0};
    int pipes[2], status = -1;
    CHECK_EQUAL(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        play(pipes[1]);
    }
    close(pipes[1]);
    ssize_t got = read(pipes[0], &outcome, sizeof(outcome));
    close(pipes[0]);
    waitpid(child, &status, 0);
    outcome.status = got == sizeof(outcome) ? status : -1;
    return outcome;
}

static struct outcome try(long from, long upto)
{
    first_refused = from;
    last_refused = upto;
    struct outcome outcome = in_child(try_in_child);
    bool is_well = outcome.status == 0 && outcome.during.contents == 0 &&
                   outcome.during.errors == 0 && outcome.during.lives == 0 &&
                   outcome.after.contents == 0 && outcome.after.nulls == 0 &&
                   outcome.after.lives == 0;
    if (!is_well)
        tap_fail(
            __FILE__, __LINE__,
            "refused from %ld up to %ld: status %#x; during: %d contents, %d errnos, %d lives; "
            "after: %d contents, %d NULLs, %d lives",
            from, upto, outcome.status, outcome.during.contents, outcome.during.errors,
            outcome.during.lives, outcome.after.contents, outcome.after.nulls, outcome.after.lives);
    return outcome;
}

TEST(exhaustion, one_call_refused_at_every_place_harms_nothing)
{
    struct outcome whole = try(0, 0);
    CHECK(whole.calls > 50);
    CHECK_EQUAL(whole.during.nulls, 0);
    long step = whole.calls / 60 + 1, with_nulls = 0, without = 0;
    if (getenv("EXHAUSTION_ALL") != NULL)
        step = 1;
    for (long n = 0; n < whole.calls && !tap.has_failed; n += step) {
        struct outcome outcome = try(n, n + 1);
        *(outcome.during.nulls != 0 ? &with_nulls : &without) += 1;
    }
    printf("# %ld calls; one refused: %ld times an allocation failed, %ld times none did\n",
           whole.calls, with_nulls, without);
    CHECK(with_nulls > 0 && without > 0);
}

TEST(exhaustion, all_calls_refused_from_every_place_on_harm_nothing)
{
    struct outcome whole = try(0, 0);
    long step = getenv("EXHAUSTION_ALL") != NULL ? 1 : whole.calls / 40 + 1, refused = 0;
    for (long n = 0; n < whole.calls && !tap.has_failed; n += step)
        refused += try(n, INT32_MAX).refusals;
    CHECK(refused > whole.calls);
}

enum { OBJECTS = 100000 };

static int allocate_objects(void **objects)
{
    int nulls = 0;
    for (int i = 0; i < OBJECTS; i++)
        nulls += (objects[i] = hpm_malloc(16)) == NULL;
    return nulls;
}

/* Pages that were freed are there for the program, and none for records. */
static void sample_without_room(int result)
{
    static void *blocks[1000], *objects[2][OBJECTS];
    struct outcome outcome = {0};
    for (int i = 0; i < 1000; i++)
        blocks[i] = hpm_malloc(32000);
    for (int i = 0; i < 1000; i++)
        hpm_free(blocks[i]);
    hpm_profile_set_interval(1);
    refuse(0, INT32_MAX);
    outcome.during.nulls = allocate_objects(objects[0]);
    outcome.refusals = refusals;
    refuse(0, 0);
    outcome.lost_samples = lost_samples();
    outcome.after.nulls = allocate_objects(objects[1]);
    outcome.after.lives = (int)(lost_samples() - outcome.lost_samples);
    _exit(write(result, &outcome, sizeof(outcome)) == sizeof(outcome) ? 0 : 1);
}

TEST(exhaustion, without_room_samples_are_lost_and_no_allocation)
{
    struct outcome outcome = in_child(sample_without_room);
    printf("# %ld calls refused, %llu samples lost\n", outcome.refusals,
           (unsigned long long)outcome.lost_samples);
    CHECK(outcome.refusals > 0 && outcome.lost_samples > 1000);
    CHECK_EQUAL(outcome.during.nulls, 0);
    CHECK_EQUAL(outcome.after.nulls, 0);
    CHECK_EQUAL(outcome.after.lives, 0);
}
#endif
