#define _GNU_SOURCE
#include <math.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/options.h"
#include "fake_snapshot.h"
#include "prof/sampler.h"
#include "report/frames.h"
#include "report/legacy.h"
#include "tap.h"

enum { INTERVAL = 524288 };

static char shown[1 << 16];

__attribute__((noinline)) static void one_caller(void)
{
    __asm__ volatile("nop");
}

static const uintptr_t two_frames[2] = {(uintptr_t)one_caller + 2, 0x1234};

static bool write_and_show(const struct snapshot *snapshot, unsigned profile)
{
    struct symbol_table table;
    int fd = memfd_create("profile", 0);
    bool done =
        frames_resolve(&table, snapshot, true) && legacy_write(fd, snapshot, &table, profile);
    ssize_t length = pread(fd, shown, sizeof(shown) - 1, 0);
    shown[length > 0 ? length : 0] = '\0';
    symbols_free(&table);
    close(fd);
    return done;
}

static bool begins_with(const char *text)
{
    if (strncmp(shown, text, strlen(text)) != 0)
        printf("# begins with: %.100s\n", shown);
    return strncmp(shown, text, strlen(text)) == 0;
}

/* Samples of one interval: what they stand for is their number by 1/p. */
static struct profile_row row_of_samples(const struct stack *stack, size_t bytes, uint64_t alloc,
                                         uint64_t inuse)
{
    double weight = -1 / expm1(-(double)bytes / INTERVAL);
    struct profile_row row = fake_row(stack, bytes, (double)inuse * weight);
    row.alloc.samples = alloc;
    row.alloc.objects = (double)alloc * weight;
    row.alloc.bytes = row.alloc.objects * (double)bytes;
    row.inuse.samples = inuse;
    sampler_set_interval(INTERVAL);
    return row;
}

TEST(legacy, samples_of_one_interval_are_written_raw)
{
    struct stack *stack = fake_stack(two_frames, 2, false);
    struct profile_row rows[2] = {row_of_samples(stack, 48, 9, 4),
                                  row_of_samples(stack, 4096, 3, 1)};
    struct snapshot snapshot = fake_snapshot(rows, 2);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP));
    CHECK(begins_with("heap profile: 5: 4288 [12: 12720] @ heap_v2/524288\n"));
    CHECK(strstr(shown, "\n4: 192 [9: 432] @ 0x") != NULL);
    CHECK(strstr(shown, "\n1: 4096 [3: 12288] @ 0x") != NULL);
}

TEST(legacy, what_one_interval_does_not_explain_is_written_unbiased)
{
    struct stack *stack = fake_stack(two_frames, 2, false);
    struct profile_row rows[2] = {row_of_samples(stack, 48, 9, 4), fake_row(stack, 100, 7)};
    struct snapshot snapshot = fake_snapshot(rows, 2);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP));
    CHECK(strstr(shown, "\n7: 700 [14: 1400] @ 0x") != NULL);
    CHECK(strstr(shown, "@ heapprofile\n") != NULL);
    rows[1] = rows[0];
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP));
    CHECK(strstr(shown, "@ heap_v2/524288\n") != NULL);
    sampler_set_interval(INTERVAL / 2);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP));
    CHECK(strstr(shown, "@ heapprofile\n") != NULL);
}

/* Readers take a file for one of two columns when the pairs are alike or the second is nothing. */
TEST(legacy, the_header_keeps_four_columns)
{
    struct stack *stack = fake_stack(two_frames, 2, false);
    struct profile_row row = row_of_samples(stack, 48, 4, 4);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP));
    CHECK(begins_with("heap profile: 4: 192 [4: 193] @ heap_v2/524288\n"));
    snapshot = fake_snapshot(NULL, 0);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP));
    CHECK(begins_with("heap profile: 0: 0 [0: 1] @ heap_v2/524288\n"));
}

/* Readers refuse the whole file for such a line. */
TEST(legacy, no_bytes_are_of_no_object)
{
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 1000, 0.2);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP));
    CHECK(strstr(shown, "\n1: 200 [1: 400] @ 0x") != NULL);
}

TEST(legacy, addresses_are_those_that_calls_return_to)
{
    char wanted[64];
    struct profile_row row = row_of_samples(fake_stack(two_frames, 2, false), 48, 9, 4);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP));
    snprintf(wanted, sizeof(wanted), "] @ 0x%lx 0x1234\n", (unsigned long)two_frames[0]);
    CHECK(strstr(shown, wanted) != NULL);
}

/* A line without an address is none to google-pprof. */
TEST(legacy, samples_without_a_stack_have_an_address)
{
    struct profile_row row = row_of_samples(NULL, 48, 9, 4);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP));
    CHECK(strstr(shown, "\n4: 192 [9: 432] @ 0x1\n") != NULL);
}

TEST(legacy, mappings_read_as_the_kernel_writes_them)
{
    char path[4096] = {0}, found[4096];
    unsigned long start, limit, offset;
    struct snapshot snapshot = fake_snapshot(NULL, 0);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP));
    CHECK(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
    const char *mappings = strstr(shown, "\nMAPPED_LIBRARIES:\n");
    CHECK(mappings != NULL);
    CHECK_EQUAL(sscanf(mappings, "\nMAPPED_LIBRARIES:\n%lx-%lx r-xp %lx 00:00 0 %4095s", &start,
                       &limit, &offset, found),
                4);
    CHECK_EQUAL(strcmp(path, found), 0);
    CHECK(start <= two_frames[0] && two_frames[0] < limit);
}

TEST(legacy, a_comment_tells_how_far_raw_values_are_off_the_exact_count)
{
    struct profile_row row = row_of_samples(fake_stack(two_frames, 2, false), 48, 9, 4);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP));
    CHECK(strstr(shown, "by the exact count") == NULL);
    snapshot.calibration = 1.25;
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP));
    CHECK(strstr(shown, "# raw: by the exact count, 1.250000 of what") != NULL);
}

TEST(legacy, a_descriptor_that_takes_nothing_is_an_error)
{
    struct snapshot snapshot = fake_snapshot(NULL, 0);
    struct symbol_table table;
    CHECK(frames_resolve(&table, &snapshot, true));
    CHECK(!legacy_write(-1, &snapshot, &table, DUMP_PROFILE_HEAP));
    symbols_free(&table);
}
