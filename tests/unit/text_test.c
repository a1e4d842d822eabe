#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/options.h"
#include "fake_snapshot.h"
#include "report/frames.h"
#include "report/text.h"
#include "tap.h"

static char shown[1 << 20];

/* Numbers of which no two sums are alike. */
static const struct hpm_stats fake_stats = {.live_bytes = 100000001,
                                        .thread_cache_bytes = 2000003,
                                        .central_bytes = 300007,
                                        .slab_free_bytes = 40009,
                                        .span_free_bytes = 5000011,
                                        .released_bytes = 77,
                                        .metadata_bytes = 600013,
                                        .live_untouched_bytes = 7000021,
                                            .live_objects = 1234,
                                        .threads = 5,
                                        .resident_bytes = 200000000};

static bool write_and_show(const struct snapshot *snapshot, const struct hpm_stats *stats,
                           unsigned profile, bool want_names)
{
    struct symbol_table table;
    int fd = memfd_create("profile", 0);
    bool done = frames_resolve(&table, snapshot, want_names) &&
                text_write(fd, snapshot, &table, stats, profile);
    ssize_t length = pread(fd, shown, sizeof(shown) - 1, 0);
    shown[length > 0 ? length : 0] = '\0';
    symbols_free(&table);
    close(fd);
    return done;
}

static bool says(const char *text)
{
    if (strstr(shown, text) == NULL)
        printf("# does not say: %s\n", text);
    return strstr(shown, text) != NULL;
}

__attribute__((noinline)) static void one_caller(void)
{
    __asm__ volatile("nop");
}

__attribute__((noinline)) static void other_caller(void)
{
    __asm__ volatile("nop");
}

static const uintptr_t two_frames[2] = {(uintptr_t)one_caller + 2, (uintptr_t)other_caller + 2};

/* Adds up the first column from the first empty line on; the last number is the sum. */
static void check_account(long long resident)
{
    long long sum = 0, bytes, last = 0;
    int rows = 0;
    const char *at = strstr(shown, "\n\n");
    CHECK(at != NULL);
    for (at += 2; sscanf(at, " %lld  ", &bytes) == 1 && strncmp(at, "        ", 3) == 0; rows++) {
        sum += last;
        last = bytes;
        at = strchr(at, '\n') + 1;
    }
    CHECK_EQUAL(rows, 10);
    CHECK_EQUAL(last, resident);
    CHECK_EQUAL(sum, resident);
}

TEST(text, the_account_adds_up_to_the_resident_memory)
{
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 48, 10);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, &fake_stats, DUMP_PROFILE_HEAP, true));
    check_account(200000000);
    /* Half of what is charged was asked for. */
    CHECK(says("        50000000     47.7 MiB  live: asked for by the program"));
    CHECK(says("        50000001     47.7 MiB  live: rounding up to size classes"));
    CHECK(says("        -7000021  -   6.7 MiB  live: never written, or swapped out"));
    CHECK(says("         2000003      1.9 MiB  free, in the caches of threads"));
    CHECK(says("          300007    293.0 KiB  free, in central lists"));
    CHECK(says("           40009     39.1 KiB  free, in slabs that hold live objects"));
    CHECK(says("         5000011      4.8 MiB  free pages kept"));
    CHECK(says("          600013    586.0 KiB  tables of the allocator and the profiler"));
    CHECK(says("not of this allocator"));
    CHECK(says("1234 live objects of 5 threads"));
}

TEST(text, memory_that_is_not_resident_is_taken_off)
{
    struct hpm_stats stats = fake_stats;
    struct snapshot snapshot = fake_snapshot(NULL, 0);
    stats.resident_bytes = 50000000;
    CHECK(write_and_show(&snapshot, &stats, DUMP_PROFILE_HEAP, true));
    check_account(50000000);
    CHECK(says("of the above not resident"));
    CHECK(strstr(shown, "the kernel does not tell") == NULL);
    stats.residency_assumed = 1;
    CHECK(write_and_show(&snapshot, &stats, DUMP_PROFILE_HEAP, true));
    CHECK(says("the kernel does not tell which pages are resident"));
}

TEST(text, without_a_resident_size_the_account_is_of_ours_alone)
{
    struct hpm_stats stats = fake_stats;
    struct snapshot snapshot = fake_snapshot(NULL, 0);
    stats.resident_bytes = 0;
    CHECK(write_and_show(&snapshot, &stats, DUMP_PROFILE_HEAP, true));
    check_account(100000001 - 7000021 + 2000003 + 300007 + 40009 + 5000011 + 600013);
    CHECK(says("No samples."));
}

TEST(text, the_head_tells_moment_interval_and_losses)
{
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 48, 10);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, &fake_stats, DUMP_PROFILE_HEAP, true));
    CHECK(says("heap profile, 20231114T221320Z\n"));
    CHECK(says("one sample each 512 KiB on average; 2 samples of live objects, 4 in all\n"));
    CHECK(says("7 samples were lost for want of memory, 3 are under [other]\n"));
    CHECK(says("; by exact count   95.4 MiB\n"));
}

TEST(text, the_sizes_of_one_stack_are_one_row)
{
    const struct stack *stack = fake_stack(two_frames, 2, false);
    struct profile_row rows[3] = {fake_row(stack, 3 << 20, 4), fake_row(NULL, 1 << 20, 1),
                                  fake_row(stack, 4 << 20, 1)};
    struct snapshot snapshot = fake_snapshot(rows, 3);
    CHECK(write_and_show(&snapshot, &fake_stats, DUMP_PROFILE_HEAP, true));
    /* 16 MiB; the variances 9 and 16 add up to 25, two more samples of 25/16 make it 29.9, and
     * 1.96 * 5.47 = 10.7. */
    CHECK(
        says("    1.   16.0 MiB \xc2\xb1   10.7 MiB   94.1 %           5 objects        4 samples\n"
             "        one_caller+0x2\n        other_caller+0x2\n\n"));
    CHECK(
        says("    2.    1.0 MiB \xc2\xb1    3.4 MiB    5.9 %           1 objects        2 samples\n"
             "        [other]\n"));
    CHECK(strstr(shown, "    3. ") == NULL);
}

TEST(text, an_allocs_profile_shows_what_was_ever_allocated)
{
    struct profile_row rows[2] = {fake_row(NULL, 1 << 20, 6),
                                  fake_row(fake_stack(two_frames, 2, false), 1 << 20, 5)};
    rows[0].alloc.bytes = 8 << 20;
    struct snapshot snapshot = fake_snapshot(rows, 2);
    CHECK(write_and_show(&snapshot, &fake_stats, DUMP_PROFILE_ALLOCS, true));
    CHECK(says("allocs profile"));
    CHECK(
        says("    1.   10.0 MiB \xc2\xb1    2.8 MiB   55.6 %          10 objects        4 samples\n"
             "        one_caller"));
    CHECK(says("    2.    8.0 MiB"));
    CHECK(says("were ever allocated\n"));
}

TEST(text, stacks_whose_objects_are_all_freed_are_left_out)
{
    struct profile_row rows[2] = {fake_row(fake_stack(two_frames, 1, false), 1 << 20, 6),
                                  fake_row(fake_stack(two_frames + 1, 1, false), 1 << 20, 5)};
    rows[1].inuse.bytes = rows[1].inuse.objects = 0;
    rows[1].inuse.samples = 0;
    struct snapshot snapshot = fake_snapshot(rows, 2);
    CHECK(write_and_show(&snapshot, &fake_stats, DUMP_PROFILE_HEAP, true));
    CHECK(says("one_caller"));
    CHECK(strstr(shown, "other_caller") == NULL);
}

TEST(text, frames_without_names_show_address_and_file)
{
    uintptr_t frames[2] = {two_frames[0], 0x1234};
    struct profile_row row = fake_row(fake_stack(frames, 2, true), 48, 10);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    char line[200];
    CHECK(write_and_show(&snapshot, &fake_stats, DUMP_PROFILE_HEAP, false));
    snprintf(line, sizeof(line), "        0x%lx (/", frames[0]);
    CHECK(says(line));
    CHECK(says("        0x1234\n        [truncated]\n"));
}

TEST(text, it_says_which_stacks_were_cut_where_and_why)
{
    uintptr_t made_at_run_time[1] = {0x1234};
    struct stack *stacks[5];
    struct profile_row rows[5];
    for (int i = 0; i < 5; i++) {
        stacks[i] = fake_stack(i == 4 ? made_at_run_time : two_frames, 1, false);
        rows[i] = fake_row(stacks[i], 1 << 20, 5);
    }
    stacks[1]->end = STACK_TOO_DEEP;
    stacks[2]->end = STACK_UNREADABLE;
    stacks[3]->end = stacks[4]->end = STACK_NO_RULE;
    rows[4].alloc.samples = 24;
    struct snapshot snapshot = fake_snapshot(rows, 5);
    CHECK(write_and_show(&snapshot, &fake_stats, DUMP_PROFILE_HEAP, true));
    CHECK(says("stacks: 10.0 % of 40 samples have whole ones\n"
               "stacks: 10.0 % are cut off at 128 frames\n"
               "stacks: 10.0 % stop in /"));
    CHECK(says("text_test: what its unwind data leads to is no stack\nstacks: 10.0 % stop in /"));
    CHECK(says("text_test: no unwind data there, and no frame pointer to go by\n"));
    CHECK(says("stacks: 60.0 % stop in code of no file (made at run time?): no unwind data"));
}

TEST(text, a_descriptor_that_takes_nothing_is_an_error)
{
    struct snapshot snapshot = fake_snapshot(NULL, 0);
    struct symbol_table table;
    CHECK(frames_resolve(&table, &snapshot, true));
    CHECK(!text_write(-1, &snapshot, &table, &fake_stats, DUMP_PROFILE_HEAP));
    symbols_free(&table);
}
