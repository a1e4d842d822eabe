/* HPMALLOC_HARDENED=1: what costs too much to look at otherwise is found as well, with samples
 * between guard pages or without. */
#define _GNU_SOURCE
#include "crime/ending.h"

static void check_found_as(const char *name, const char *line, const char *other)
{
    ending_check(name,
                 (const char *[]){"HPMALLOC_HARDENED", "1", "HPMALLOC_SAMPLE_INTERVAL", "0", NULL},
                 line, other);
}

static void check_found(const char *name, const char *line)
{
    check_found_as(name, line, line);
}

static struct ending commit_hardened(const char *name)
{
    return commit(name, (const char *[]){"HPMALLOC_HARDENED", "1", NULL});
}

#define DOUBLE_FREE    "double free of %s: object of 64 bytes"
#define MEMORY_IS_FREE "double free of %s: its memory is free already"
#define NOT_OURS       "free of %s: not allocated by hpmalloc, or freed and gone"

static void check_innocent(const char *name)
{
    struct ending ending = commit_hardened(name);
    CHECK_EQUAL(ending.status, 0);
    CHECK_TEXT(ending.said, "");
}

TEST(hardened, an_innocent_program_ends_in_silence)
{
    check_innocent("no_crime");
    check_innocent("free_with_right_size");
    check_innocent("free_with_right_alignment");
}

TEST(hardened, an_object_freed_twice)
{
    check_found("free_twice_small", DOUBLE_FREE);
    check_found("free_twice_beside_live", DOUBLE_FREE);
    check_found("free_twice_large", MEMORY_IS_FREE);
    check_found("free_twice_largest_small", MEMORY_IS_FREE);
    check_found("free_twice_huge", NOT_OURS);
    check_found("free_large_again_in_thread", MEMORY_IS_FREE);
}

TEST(hardened, an_object_freed_again_after_others)
{
    check_found("free_again_after_10", DOUBLE_FREE);
    check_found("free_again_after_1000", DOUBLE_FREE);
    check_found_as("free_again_after_100000", MEMORY_IS_FREE, NOT_OURS);
    check_found("free_again_in_thread", DOUBLE_FREE);
    check_found("free_again_beside_thread", DOUBLE_FREE);
}

TEST(hardened, a_pointer_into_an_object_or_a_block)
{
    check_found("free_inside_small", "free of %s: it points 16 bytes into an object of 80 bytes");
    check_found("free_misaligned", "free of %s: it points 1 bytes into an object of 80 bytes");
    check_found("free_inside_large",
                "free of %s: it points 4096 bytes into a block of 100000 bytes");
    check_found("resize_inside_large",
                "free of %s: it points 8192 bytes into a block of 100000 bytes");
}

TEST(hardened, a_pointer_to_what_is_not_ours)
{
    check_found("free_stack", NOT_OURS);
    check_found("free_global", NOT_OURS);
    check_found("free_foreign", NOT_OURS);
    check_found("free_wild", NOT_OURS);
    check_found("resize_global", NOT_OURS);
    check_found("measure_global", NOT_OURS);
}

TEST(hardened, realloc_of_a_freed_object)
{
    check_found("resize_freed_small", DOUBLE_FREE);
    check_found("resize_freed_small_to_more", DOUBLE_FREE);
    check_found("resize_freed_large", MEMORY_IS_FREE);
}

TEST(hardened, an_overflow_is_found_as_the_object_is_freed)
{
    check_found("overflow_by_1",
                "overflow of %s: object of 70 bytes, written to up to byte 1 past its end");
    check_found("overflow_by_zero",
                "overflow of %s: object of 70 bytes, written to up to byte 1 past its end");
    check_found("overflow_by_8",
                "overflow of %s: object of 70 bytes, written to up to byte 8 past its end");
    check_found("overflow_large_by_1",
                "overflow of %s: block of 100000 bytes, written to up to byte 1 past its end");
    check_found("overflow_huge_by_1",
                "overflow of %s: block of 40000000 bytes, written to up to byte 1 past its end");
}

TEST(hardened, an_overflow_is_found_as_the_object_is_resized_or_the_program_ends)
{
    check_found("overflow_and_resize",
                "overflow of %s: object of 70 bytes, written to up to byte 1 past its end");
    check_found("overflow_and_end",
                "overflow of %s: object of 70 bytes, written to up to byte 1 past its end");
    check_found("overflow_large_and_end",
                "overflow of %s: block of 100000 bytes, written to up to byte 1 past its end");
}

TEST(hardened, a_write_after_free_is_found_when_the_memory_is_wanted_again_or_the_program_ends)
{
    const char *line =
        "write after free of %s: object of 64 bytes, freed, and written to at byte 8";
    check_found("write_into_freed", line);
    check_found("write_into_freed_and_go_on", line);
    check_found("write_everywhere_in_freed",
                "write after free of %s: object of 64 bytes, freed, and written to at byte 0");
}

TEST(hardened, freed_memory_has_no_pointers_in_it)
{
    struct ending ending = commit_hardened("follow_freed_pointer");
    CHECK(WIFSIGNALED(ending.status) && WTERMSIG(ending.status) == SIGSEGV);
}

static void check_refused(const char *name, const char *access)
{
    char line[200];
    struct ending ending = commit_hardened(name);
    char *address = (char *)strtoull(ending.address, NULL, 16);
    snprintf(
        line, sizeof(line),
        "hpmalloc: use after free at %p: %s 5000 bytes into %p, freed block\n    the access:\n",
        (void *)address, access, (void *)(address - 5000));
    CHECK(WIFSIGNALED(ending.status) && WTERMSIG(ending.status) == SIGSEGV);
    if (strncmp(ending.said, line, strlen(line)) != 0)
        tap_fail(__FILE__, __LINE__, "%s said: %s", name, ending.said);
}

TEST(hardened, a_freed_large_block_cannot_be_touched)
{
#if defined(__x86_64__)
    check_refused("read_freed_large", "read");
    check_refused("write_freed_large", "write");
#else
    check_refused("read_freed_large", "access");
    check_refused("write_freed_large", "access");
#endif
}

TEST(hardened, a_sized_free_of_another_size_or_alignment)
{
    check_found("free_with_wrong_size",
                "sized free of %s: object of 70 bytes, freed as one of 71 bytes");
    check_found("free_large_with_wrong_size",
                "sized free of %s: object of 100000 bytes, freed as one of 99999 bytes");
#ifdef HPM_REPLACE
    check_found("free_with_wrong_alignment",
                "aligned free of %s: object aligned to 64 bytes, freed as aligned to 128");
#endif
}

TEST(hardened, samples_lie_between_guard_pages)
{
    const char *const variables[] = {"HPMALLOC_HARDENED", "1", "HPMALLOC_SAMPLE_INTERVAL", "1",
                                     NULL};
    struct ending ending = commit("read_after_free", variables);
    CHECK(WIFSIGNALED(ending.status) && WTERMSIG(ending.status) == SIGSEGV);
    CHECK(strncmp(ending.said, "hpmalloc: use after free at ", 28) == 0);
}
