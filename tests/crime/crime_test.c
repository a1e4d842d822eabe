/* Each crime ends with one line that says what was done, and abort(). */
#define _GNU_SOURCE
#include "crime/ending.h"

static void check_found_as(const char *name, const char *interval, const char *line,
                           const char *other)
{
    ending_check(name, (const char *[]){"HPMALLOC_SAMPLE_INTERVAL", interval, NULL}, line, other);
}

static void check_found(const char *name, const char *interval, const char *line)
{
    check_found_as(name, interval, line, line);
}

/* Found at any interval: with every object a sample, with few, with none. */
#define DOUBLE_FREE    "double free of %s: object of 64 bytes"
#define MEMORY_IS_FREE "double free of %s: its memory is free already"
#define NOT_OURS       "free of %s: not allocated by hpmalloc, or freed and gone"

TEST(crime, an_innocent_program_ends_in_silence)
{
    struct ending ending = commit("no_crime", (const char *[]){NULL});
    CHECK_EQUAL(ending.status, 0);
    CHECK_TEXT(ending.said, "");
}

TEST(crime, a_small_block_freed_twice)
{
    check_found("free_twice_small", "512k", DOUBLE_FREE);
    check_found("free_twice_small", "0", DOUBLE_FREE);
    check_found("free_twice_largest_small", "0", "double free of %s: object of 32768 bytes");
}

TEST(crime, a_sampled_block_freed_twice)
{
    check_found("free_twice_beside_live", "1", DOUBLE_FREE);
    check_found("free_twice_small", "1", DOUBLE_FREE);
}

TEST(crime, a_large_block_freed_twice)
{
    check_found("free_twice_large", "512k", MEMORY_IS_FREE);
    check_found("free_twice_large", "1", MEMORY_IS_FREE);
}

TEST(crime, a_huge_block_freed_twice)
{
    check_found("free_twice_huge", "512k", MEMORY_IS_FREE);
}

TEST(crime, a_small_block_freed_again_after_others)
{
    check_found("free_again_after_10", "0", DOUBLE_FREE);
    check_found_as("free_again_after_1000", "0", DOUBLE_FREE, MEMORY_IS_FREE);
    check_found_as("free_again_after_1000", "512k", DOUBLE_FREE, MEMORY_IS_FREE);
}

TEST(crime, a_small_block_freed_again_after_its_slab_went_back)
{
    check_found_as("free_again_after_100000", "0", NOT_OURS, MEMORY_IS_FREE);
}

TEST(crime, a_small_block_freed_again_after_the_thread_that_freed_it_ended)
{
    check_found("free_again_in_thread", "0", DOUBLE_FREE);
}

TEST(crime, a_block_freed_twice_by_a_thread_that_is_cancelled)
{
    check_found("free_twice_when_cancelled", "0", DOUBLE_FREE);
    check_found("free_twice_when_cancelled", "1", DOUBLE_FREE);
}

TEST(crime, a_small_block_freed_again_while_another_thread_keeps_it)
{
    check_found("free_again_beside_thread", "0", DOUBLE_FREE);
}

TEST(crime, a_pointer_into_a_small_block)
{
    const char *line = "free of %s: it points 16 bytes into an object of 64 bytes";
    check_found("free_inside_small", "0", line);
    check_found("free_inside_small", "512k", line);
    check_found("free_inside_small", "1", line);
    check_found("free_inside_small_odd", "0",
                "free of %s: it points 333 bytes into an object of 1024 bytes");
}

TEST(crime, a_pointer_into_a_large_block)
{
    const char *line = "free of %s: it points 4096 bytes into a block of 106496 bytes";
    check_found("free_inside_large", "512k", line);
    check_found("free_inside_large", "1", line);
}

TEST(crime, a_pointer_into_a_huge_block)
{
    check_found("free_inside_huge", "512k",
                "free of %s: it points 4096 bytes into a block of 40001536 bytes");
    check_found("free_far_inside_huge", "512k", NOT_OURS);
}

TEST(crime, a_pointer_that_is_not_aligned)
{
    check_found("free_misaligned", "0", "free of %s: it points 1 bytes into an object of 64 bytes");
    check_found("free_misaligned", "1", "free of %s: it points 1 bytes into an object of 64 bytes");
    check_found("free_misaligned_by_half", "512k",
                "free of %s: it points 8 bytes into an object of 64 bytes");
    check_found("free_misaligned_large", "512k",
                "free of %s: it points 1 bytes into a block of 106496 bytes");
}

TEST(crime, a_large_block_freed_again_by_another_thread)
{
    check_found("free_large_again_in_thread", "512k", MEMORY_IS_FREE);
}

TEST(crime, a_pointer_to_nowhere)
{
    check_found("free_wild", "512k", NOT_OURS);
    check_found("free_text", "512k", NOT_OURS);
    check_found("free_code", "512k", NOT_OURS);
}

TEST(crime, a_block_of_another_allocator)
{
    check_found("free_foreign", "512k", NOT_OURS);
}

TEST(crime, a_pointer_to_the_stack)
{
    check_found("free_stack", "512k", NOT_OURS);
}

TEST(crime, a_pointer_to_a_global)
{
    check_found("free_global", "512k", NOT_OURS);
}

TEST(crime, a_pointer_to_a_mapping_of_the_programs_own)
{
    check_found("free_mapping", "512k", NOT_OURS);
}

TEST(crime, a_pointer_near_null)
{
    check_found("free_near_null", "512k", NOT_OURS);
}

TEST(crime, realloc_of_what_is_not_ours)
{
    check_found("resize_global", "512k", NOT_OURS);
}

TEST(crime, realloc_of_a_pointer_to_the_stack_or_to_nowhere)
{
    check_found("resize_stack", "512k", NOT_OURS);
    check_found("resize_wild", "512k", NOT_OURS);
}

TEST(crime, realloc_of_a_freed_small_block)
{
    check_found("resize_freed_small", "0", DOUBLE_FREE);
    check_found("resize_freed_small_to_more", "0", DOUBLE_FREE);
    check_found("resize_freed_small", "1", DOUBLE_FREE);
}

TEST(crime, realloc_of_a_freed_large_block)
{
    check_found("resize_freed_large", "512k", MEMORY_IS_FREE);
    check_found("resize_freed_huge", "512k", MEMORY_IS_FREE);
}

TEST(crime, realloc_of_a_pointer_into_a_block)
{
    check_found("resize_inside_small", "0",
                "free of %s: it points 16 bytes into an object of 64 bytes");
    check_found("resize_inside_large", "0",
                "free of %s: it points 8192 bytes into a block of 106496 bytes");
    check_found("resize_inside_huge", "0",
                "free of %s: it points 4096 bytes into a block of 40001536 bytes");
    check_found("resize_misaligned", "512k",
                "free of %s: it points 1 bytes into an object of 64 bytes");
}

TEST(crime, asking_for_the_size_of_what_is_not_ours)
{
    check_found("measure_global", "512k", NOT_OURS);
}

TEST(crime, asking_for_the_size_of_what_is_freed_or_inside_a_block)
{
    check_found("measure_freed_large", "512k", MEMORY_IS_FREE);
    check_found("measure_inside_large", "512k",
                "free of %s: it points 4096 bytes into a block of 106496 bytes");
}

TEST(crime, a_freed_block_that_is_written_to_is_found_now_and_then_or_at_the_end)
{
    const char *line =
        "write after free of %s: object of 64 bytes, freed, and written to at byte 8";
    check_found("write_into_freed", "0", line);
    check_found("write_into_freed", "512k", line);
    struct ending ending = commit("write_into_freed_each_round", (const char *[]){NULL});
    CHECK(WIFSIGNALED(ending.status) && WTERMSIG(ending.status) == SIGABRT);
    CHECK(strncmp(ending.said, "hpmalloc: write after free of ", 30) == 0);
}

/* A list of freed objects that goes another way is seen at the first object that is none, or not
 * free: which one that is depends on how far the list was used. */
static void check_broken_list(const char *name, const char *interval)
{
    struct ending ending =
        commit(name, (const char *[]){"HPMALLOC_SAMPLE_INTERVAL", interval, NULL});
    if (!WIFSIGNALED(ending.status) || WTERMSIG(ending.status) != SIGABRT)
        tap_fail(__FILE__, __LINE__, "%s: wait status %#x, not SIGABRT", name, ending.status);
    if (strncmp(ending.said, "hpmalloc: write after free of ", 30) != 0 &&
        strncmp(ending.said, "hpmalloc: free list of objects of ", 34) != 0)
        tap_fail(__FILE__, __LINE__, "%s said: %s", name, ending.said);
}

TEST(crime, a_freed_block_that_is_written_over_or_whose_link_is_redirected)
{
    static const char *const names[] = {"overflow_into_freed",
                                        "overflow_into_freed_medium",
                                        "write_all_of_freed_and_go_on",
                                        "write_all_of_freed_medium_and_go_on",
                                        "redirect_freed_link_to_global",
                                        "redirect_freed_link_to_object",
                                        "redirect_freed_link_to_misaligned"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        check_broken_list(names[i], "0");
        check_broken_list(names[i], "1g");
    }
}
