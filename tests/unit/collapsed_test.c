#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/options.h"
#include "fake_snapshot.h"
#include "report/collapsed.h"
#include "report/frames.h"
#include "tap.h"

static char shown[1 << 16];

__attribute__((noinline)) static void one_caller(void)
{
    __asm__ volatile("nop");
}

/* A name that would be two frames and a value. Compilers disagree on how to ask for it. */
__asm__(".pushsection .text\n"
        ".globl \"odd;caller of 9\"\n"
        ".type \"odd;caller of 9\", %function\n"
        "\"odd;caller of 9\": nop; nop; nop; nop\n"
        ".size \"odd;caller of 9\", 4\n"
        ".popsection\n"
        ".pushsection .data.rel, \"aw\"\n"
        ".balign 8\n"
        ".globl odd_caller\n"
        "odd_caller: .quad \"odd;caller of 9\"\n"
        ".popsection\n");
extern const uintptr_t odd_caller;

static uintptr_t two_frames[2] = {(uintptr_t)one_caller + 2};

__attribute__((constructor)) static void set_odd_frame(void)
{
    two_frames[1] = odd_caller + 2;
}

static bool write_and_show(const struct snapshot *snapshot, unsigned profile, bool want_names)
{
    struct symbol_table table;
    int fd = memfd_create("profile", 0);
    bool done = frames_resolve(&table, snapshot, want_names) &&
                collapsed_write(fd, snapshot, &table, profile);
    ssize_t length = pread(fd, shown, sizeof(shown) - 1, 0);
    shown[length > 0 ? length : 0] = '\0';
    symbols_free(&table);
    close(fd);
    return done;
}

static bool is_shown(const char *text)
{
    if (strcmp(shown, text) != 0)
        printf("# shown: %.200s\n", shown);
    return strcmp(shown, text) == 0;
}

TEST(collapsed, a_line_is_a_stack_from_the_root_and_its_bytes)
{
    struct stack *stack = fake_stack(two_frames, 2, false);
    struct profile_row rows[2] = {fake_row(stack, 48, 10), fake_row(stack, 100, 1)};
    struct snapshot snapshot = fake_snapshot(rows, 2);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(is_shown("odd:caller_of_9;one_caller 580\n"));
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_ALLOCS, true));
    CHECK(is_shown("odd:caller_of_9;one_caller 1160\n"));
}

TEST(collapsed, stacks_without_a_value_are_left_out)
{
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 48, 0);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(is_shown(""));
}

TEST(collapsed, what_is_cut_off_or_unknown_says_so)
{
    struct profile_row rows[2] = {fake_row(fake_stack(two_frames, 1, true), 48, 10),
                                  fake_row(NULL, 16, 1)};
    struct snapshot snapshot = fake_snapshot(rows, 2);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(is_shown("[truncated];one_caller 480\n[other] 16\n"));
}

TEST(collapsed, frames_without_a_name_are_places_in_files_or_addresses)
{
    const uintptr_t frames[2] = {(uintptr_t)one_caller + 2, 0x1234};
    struct profile_row row = fake_row(fake_stack(frames, 2, false), 48, 10);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    unsigned long offset;
    int length = 0;
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, false));
    sscanf(shown, "0x1233;collapsed_test+0x%lx 480\n%n", &offset, &length);
    CHECK(length > 0 && shown[length] == '\0');
}

TEST(collapsed, a_descriptor_that_takes_nothing_is_an_error)
{
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 48, 10);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    struct symbol_table table;
    CHECK(frames_resolve(&table, &snapshot, true));
    CHECK(!collapsed_write(-1, &snapshot, &table, DUMP_PROFILE_HEAP));
    symbols_free(&table);
}
