#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/lock.h"
#include "heap/pagemap.h"
#include "report/statsfile.h"
#include "tap.h"

/* What the figures are made of does not matter here. */
static const struct hpm_stats fake_stats = {.resident_bytes = 200000000,
                                            .live_bytes = 100000001,
                                            .live_untouched_bytes = 7000021,
                                            .metadata_bytes = 600013,
                                            .live_requested_bytes = 90000001,
                                            .samples = 100,
                                            .sample_nanoseconds = 12003004005,
                                            .sample_interval_bytes = 524288,
                                            .map_calls = 11,
                                            .wake_calls = 12,
                                            .contended_locks = 13};

static char shown[1 << 16];

static void show_stats(enum hpm_stats_format format, const struct hpm_stats *stats)
{
    static struct output output;
    int fd = memfd_create("stats", 0);
    output_begin(&output, fd);
    statsfile_print(&output, stats, format);
    CHECK(output_finish(&output));
    ssize_t length = pread(fd, shown, sizeof(shown) - 1, 0);
    shown[length > 0 ? length : 0] = '\0';
    close(fd);
}

static void show(enum hpm_stats_format format)
{
    show_stats(format, &fake_stats);
}

static bool says(const char *text)
{
    if (strstr(shown, text) == NULL)
        printf("# does not say: %s\n", text);
    return strstr(shown, text) != NULL;
}

TEST(statsfile, prometheus_has_base_units_and_labels)
{
    show(HPM_STATS_PROMETHEUS);
    CHECK(says("# TYPE hpmalloc_profile_seconds_total counter\n"
               "hpmalloc_profile_seconds_total 12.003004005\n"));
    CHECK(says("hpmalloc_heap_resident_bytes{part=\"metadata\"} 600013\n"
               "hpmalloc_heap_resident_bytes{part=\"live\"} 92999980\n"
               "# HELP hpmalloc_live_bytes "));
    CHECK(says("\nhpmalloc_system_calls_total{call=\"mmap\"} 11\n"));
    CHECK(says("{call=\"futex_wake\"} 12\n# HELP hpmalloc_contended_locks_total "));
    CHECK(says("hpmalloc_contended_locks_total 13\n# HELP hpmalloc_size_class_live_objects "));
    CHECK(says("\nhpmalloc_size_class_slabs{object_bytes=\"32768\"} 0\n"));
}

TEST(statsfile, text_is_an_account_with_its_costs)
{
    show(HPM_STATS_TEXT);
    CHECK(says("        90000001     85.8 MiB  live: asked for by the program"));
    CHECK(says("       106400007    101.5 MiB  not of this allocator"));
    CHECK(says("Profiling: 100 samples, one each 512 KiB on average"));
    CHECK(says("Profiling took 12.003004 s, 120030040 ns a sample"));
}

/* Numbers by their places, so that none stands for another. */
TEST(statsfile, json_has_every_number_once)
{
    enum { NUMBERS = sizeof(struct hpm_stats) / sizeof(uint64_t) };
    union {
        struct hpm_stats stats;
        uint64_t numbers[NUMBERS];
    } all;
    for (uint64_t i = 0; i < NUMBERS; i++)
        all.numbers[i] = 1000 + i;
    show_stats(HPM_STATS_JSON, &all.stats);
    for (uint64_t i = 0; i < NUMBERS; i++) {
        char number[20];
        snprintf(number, sizeof(number), ": %lu,\n", 1000 + i);
        CHECK(says(number));
    }
    CHECK(says("\"live_bytes\": 1001,\n"));
}

TEST(statsfile, a_handler_that_interrupted_the_library_is_refused)
{
    static struct lock lock = LOCK_INITIAL(LOCK_META);
    int fd = open("/dev/null", O_WRONLY);
    lock_acquire(&lock);
    CHECK_EQUAL(statsfile_write(fd, HPM_STATS_TEXT), -EDEADLK);
    lock_release(&lock);
    CHECK_EQUAL(statsfile_write(fd, HPM_STATS_TEXT), 0);
    close(fd);
}

TEST(statsfile, errno_is_kept_and_what_went_wrong_is_said)
{
    errno = 77;
    CHECK_EQUAL(statsfile_write(-1, HPM_STATS_JSON), -EBADF);
    CHECK_EQUAL(errno, 77);
}
