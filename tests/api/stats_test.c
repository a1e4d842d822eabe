/* The library's own numbers against what the program did, and against the kernel's account. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hpmalloc.h"
#include "tap.h"

static struct hpm_stats now(void)
{
    struct hpm_stats stats;
    CHECK_EQUAL(hpm_stats_get(&stats, sizeof(stats)), 0);
    return stats;
}

static size_t own_bytes(const struct hpm_stats *stats)
{
    return stats->live_bytes - stats->live_untouched_bytes + stats->thread_cache_bytes +
           stats->central_bytes + stats->slab_free_bytes + stats->span_free_bytes +
           stats->metadata_bytes;
}

/* Resident bytes of what can be ours: mappings without a name, but for those that continue a file's
 * (what it keeps zeroed). */
static size_t nameless_resident_bytes(size_t *all)
{
    char line[5000], name[5000];
    unsigned long start, end, file_end = 0;
    size_t kibs, sum = 0;
    bool is_nameless = false;
    FILE *file = fopen("/proc/self/smaps", "r");
    *all = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        name[0] = '\0';
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %s", &start, &end, name) >= 2) {
            is_nameless = name[0] == '\0' && start != file_end;
            if (name[0] != '\0')
                file_end = end;
        } else if (sscanf(line, "Rss: %zu kB", &kibs) == 1) {
            *all += kibs * 1024;
            sum += is_nameless ? kibs * 1024 : 0;
        }
    }
    fclose(file);
    return sum;
}

static bool is_within_2_percent(size_t a, size_t b)
{
    printf("# %zu and %zu: %+.2f %%\n", a, b, 100 * ((double)a / (double)b - 1));
    return (a < b ? b - a : a - b) * 50 <= b;
}

/* The main thread has allocated before: its own stack and what the C library keeps are small. */
static void check_against_the_kernel(void)
{
    size_t all, nameless = nameless_resident_bytes(&all);
    struct hpm_stats stats = now();
    CHECK_EQUAL(stats.residency_assumed, 0);
    CHECK(is_within_2_percent(own_bytes(&stats), nameless));
    CHECK(is_within_2_percent(stats.resident_bytes, all));
}

enum { SMALL = 150000, LARGE = 60 };
static char *small[SMALL], *large[LARGE];

static void *fill(void *argument)
{
    uint64_t state = (uintptr_t)argument;
    for (int i = (int)(uintptr_t)argument - 1; i < SMALL; i += 4) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t bytes = (size_t)1 << (state >> 60) % 13;
        small[i] = hpm_malloc(bytes);
        memset(small[i], 1, bytes);
    }
    return NULL;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { IS_ALONE = false };
#else
enum { IS_ALONE = true };
#endif

TEST(stats, the_account_is_the_kernels_within_2_percent)
{
    if (tap_is_emulated())
        SKIP("the kernel counts the emulator's memory too");
    if (!IS_ALONE)
        SKIP("the sanitizer's memory has no name either");
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, fill, (void *)(i + 1));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    check_against_the_kernel();
    for (int i = 0; i < SMALL; i++) {
        if (i % 3 != 0)
            hpm_free(small[i]);
    }
    check_against_the_kernel();
}

TEST(stats, large_blocks_count_as_far_as_they_were_written)
{
    if (tap_is_emulated())
        SKIP("the kernel counts the emulator's memory too");
    if (!IS_ALONE)
        SKIP("the sanitizer's memory has no name either");
    struct hpm_stats before = now();
    for (int i = 0; i < LARGE; i++) {
        size_t bytes = (size_t)(i + 1) << 20;
        large[i] = hpm_malloc(bytes);
        memset(large[i], 1, bytes / 10);
    }
    struct hpm_stats after = now();
    CHECK(after.live_untouched_bytes - before.live_untouched_bytes > ((size_t)1600 << 20));
    CHECK(after.live_untouched_bytes - before.live_untouched_bytes < ((size_t)1700 << 20));
    check_against_the_kernel();
    for (int i = 0; i < LARGE; i += 2)
        hpm_free(large[i]);
    check_against_the_kernel();
    hpm_release_memory((size_t)1 << 40);
    check_against_the_kernel();
    CHECK(now().span_free_bytes < 1 << 20);
}

TEST(stats, counts_are_exact)
{
    static void *objects[1000];
    struct hpm_stats before = now();
    for (int i = 0; i < 1000; i++)
        objects[i] = hpm_malloc(1000);
    void *block = hpm_malloc(1 << 20), *huge = hpm_malloc(48 << 20);
    struct hpm_stats after = now();
    CHECK_EQUAL(after.live_objects - before.live_objects, 1002);
    CHECK_EQUAL(after.live_small_bytes - before.live_small_bytes, 1000 * 1024);
    CHECK_EQUAL(after.live_large_bytes - before.live_large_bytes, 49 << 20);
    CHECK_EQUAL(after.live_huge_bytes - before.live_huge_bytes, 48 << 20);
    CHECK_EQUAL(after.live_huge_blocks - before.live_huge_blocks, 1);
    CHECK_EQUAL(after.live_bytes, after.live_small_bytes + after.live_large_bytes);
    CHECK(after.map_calls > before.map_calls);
    hpm_free(block);
    hpm_free(huge);
    for (int i = 0; i < 1000; i++)
        hpm_free(objects[i]);
    struct hpm_stats last = now();
    CHECK_EQUAL(last.live_bytes, before.live_bytes);
    CHECK_EQUAL(last.live_objects, before.live_objects);
    hpm_release_memory(SIZE_MAX);
    CHECK(now().unmap_calls > after.unmap_calls);
}

TEST(stats, classes_add_up_to_the_whole)
{
    struct hpm_stats stats = now();
    struct hpm_class_stats class;
    uint64_t live = 0, cached = 0, central = 0, last_bytes = 0;
    unsigned number = 0;
    for (; hpm_stats_get_class(number, &class, sizeof(class)) == 0; number++) {
        CHECK(class.object_bytes > last_bytes);
        last_bytes = class.object_bytes;
        uint64_t objects = class.live_objects + class.thread_cache_objects + class.central_objects +
                           class.slab_objects;
        CHECK(objects * class.object_bytes <= class.slab_bytes);
        CHECK(objects * class.object_bytes * 100 >= class.slab_bytes * 97);
        live += class.live_objects * class.object_bytes;
        cached += class.thread_cache_objects * class.object_bytes;
        central += class.central_objects * class.object_bytes;
    }
    CHECK(number > 50);
    CHECK_EQUAL(last_bytes, 32768);
    CHECK_EQUAL(live, stats.live_small_bytes);
    CHECK_EQUAL(cached, stats.thread_cache_bytes);
    CHECK_EQUAL(central, stats.central_bytes);
    CHECK_EQUAL(hpm_stats_get_class(number, &class, sizeof(class)), -ENOENT);
    CHECK_EQUAL(hpm_stats_get_class(0, &class, 0), -EINVAL);
}

TEST(stats, callers_built_with_another_header_are_served)
{
    struct {
        struct hpm_stats stats;
        uint64_t later[2], guard;
    } longer = {.later = {1, 2}, .guard = 3};
    CHECK_EQUAL(hpm_stats_get(&longer.stats, sizeof(longer) - 8), 0);
    CHECK(longer.later[0] == 0 && longer.later[1] == 0 && longer.guard == 3);
    uint64_t shorter[3] = {0, 0, 7};
    CHECK_EQUAL(hpm_stats_get((struct hpm_stats *)shorter, 16), 0);
    CHECK(shorter[1] == longer.stats.live_bytes && shorter[2] == 7);
    CHECK_EQUAL(hpm_stats_get(&longer.stats, 0), -EINVAL);
}

TEST(stats, the_profilers_cost_is_measured)
{
    size_t interval = hpm_profile_interval();
    struct hpm_stats before = now();
    hpm_profile_set_interval(1000);
    for (int i = 0; i < 100000; i++)
        hpm_free(hpm_malloc(100));
    struct hpm_stats after = now();
    hpm_profile_set_interval(interval);
    uint64_t samples = after.samples - before.samples;
    if (samples == 0 && interval == 0)
        return;
    CHECK(samples > 9000 && samples < 11000);
    CHECK_EQUAL(after.sample_interval_bytes, 1000);
    CHECK_EQUAL(after.lost_samples, 0);
    CHECK(after.sample_nanoseconds - before.sample_nanoseconds > samples * 20);
    CHECK(after.sample_nanoseconds - before.sample_nanoseconds < samples * 1000000);
    CHECK(after.sample_metadata_bytes > 0 && after.sample_metadata_bytes < 1 << 22);
    printf("# %lu samples, %lu ns each\n", samples,
           (after.sample_nanoseconds - before.sample_nanoseconds) / samples);
}

TEST(stats, what_was_asked_for_is_estimated)
{
    static void *objects[20000];
    size_t interval = hpm_profile_interval();
    hpm_profile_set_interval(4096);
    struct hpm_stats before = now();
    for (int i = 0; i < 20000; i++)
        objects[i] = hpm_malloc(1030);
    struct hpm_stats after = now();
    hpm_profile_set_interval(interval);
    double live = (double)(after.live_bytes - before.live_bytes);
    CHECK_EQUAL(after.live_bytes - before.live_bytes, 20000 * 1152);
    if (after.samples != before.samples)
        CHECK((double)after.live_requested_bytes < (double)after.live_bytes - 0.03 * live);
    for (int i = 0; i < 20000; i++)
        hpm_free(objects[i]);
}

static size_t write_to_pipe(enum hpm_stats_format format, char *text, size_t size)
{
    char name[] = "/tmp/stats_test.XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    CHECK_EQUAL(hpm_stats_write(fd, format), 0);
    ssize_t bytes = pread(fd, text, size - 1, 0);
    close(fd);
    text[bytes > 0 ? bytes : 0] = '\0';
    return strlen(text);
}

TEST(stats, each_format_says_the_same)
{
    static char text[1 << 16];
    char line[100];
    struct hpm_stats stats = now();
    CHECK(write_to_pipe(HPM_STATS_JSON, text, sizeof(text)) > 1000);
    snprintf(line, sizeof(line), "\"live_bytes\": %lu,\n", stats.live_bytes);
    CHECK(strstr(text, line) != NULL && text[0] == '{');
    CHECK(strcmp(text + strlen(text) - 3, "]}\n") == 0);
    CHECK(write_to_pipe(HPM_STATS_PROMETHEUS, text, sizeof(text)) > 1000);
    snprintf(line, sizeof(line), "\nhpmalloc_live_bytes %lu\n", stats.live_bytes);
    CHECK(strstr(text, line) != NULL);
    CHECK(write_to_pipe(HPM_STATS_TEXT, text, sizeof(text)) > 1000);
    snprintf(line, sizeof(line), "%lu live objects of", stats.live_objects);
    CHECK(strstr(text, line) != NULL);
    CHECK_EQUAL(hpm_stats_write(1, 3), -EINVAL);
    CHECK_EQUAL(hpm_stats_write(-1, HPM_STATS_JSON), -EBADF);
}

static _Atomic int is_over;
static _Atomic int handled, refused;
static struct hpm_stats seen_by_handler;
static int null_fd;

static void on_signal(int number)
{
    (void)number;
    for (int format = 0; format < 3; format++) {
        int error = hpm_stats_write(null_fd, format);
        if (error != 0 && error != -EDEADLK)
            abort();
        refused += error == -EDEADLK;
    }
    hpm_stats_get(&seen_by_handler, sizeof(seen_by_handler));
    handled++;
}

static void *churn(void *argument)
{
    while (!is_over)
        hpm_free(hpm_malloc(40000));
    return argument;
}

/* Between two mallocs of a thread, and in the middle of one. The thread moves on between two signals:
 * one that waits is taken where the last one was. */
TEST(stats, a_handler_may_ask)
{
    pthread_t thread;
    null_fd = open("/dev/null", O_WRONLY);
    signal(SIGUSR1, on_signal);
    pthread_create(&thread, NULL, churn, NULL);
    for (int i = 0; i < 300; i++) {
        int before = handled;
        pthread_kill(thread, SIGUSR1);
        while (handled == before)
            sched_yield();
        for (volatile int pause = 0; pause < i * 37 % 1000; pause++)
            continue;
    }
    is_over = 1;
    printf("# refused %d of %d\n", refused, 3 * handled);
    pthread_join(thread, NULL);
    signal(SIGUSR1, SIG_DFL);
    CHECK(seen_by_handler.live_bytes > 0);
}

static void *write_on(void *argument)
{
    while (!is_over)
        hpm_stats_write(null_fd, HPM_STATS_PROMETHEUS);
    return argument;
}

TEST(stats, the_child_of_a_fork_can_write_them_though_another_thread_was_about_to)
{
    pthread_t thread;
    is_over = 0;
    pthread_create(&thread, NULL, write_on, NULL);
    for (int i = 0; i < 50; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            alarm(10);
            _exit(hpm_stats_write(null_fd, HPM_STATS_JSON) != 0);
        }
        waitpid(child, &status, 0);
        CHECK_EQUAL(status, 0);
    }
    is_over = 1;
    pthread_join(thread, NULL);
}
