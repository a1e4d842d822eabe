/* Every small object guarded (HPMALLOC_GUARD=1, each a sample): what is done beside it, or after it
 * was freed, is found where it is done, and told with its history. */
#define _GNU_SOURCE
#include "crime/ending.h"

static struct ending commit_guarded(const char *name)
{
    return commit(name,
                  (const char *[]){"HPMALLOC_SAMPLE_INTERVAL", "1", "HPMALLOC_GUARD", "1", NULL});
}

static bool ended_by(const struct ending *ending, int number)
{
    return WIFSIGNALED(ending->status) && WTERMSIG(ending->status) == number;
}

/* Whether `words` stand in the part of what was said that begins with `title`. */
static bool tells(const struct ending *ending, const char *title, const char *words)
{
    const char *part = strstr(ending->said, title);
    const char *found = part != NULL ? strstr(part, words) : NULL;
    const char *next = part != NULL ? strstr(part, "\n    it was") : NULL;
    return found != NULL && (next == NULL || found < next);
}

/* The line has the announced address as first %p and, where the object begins at another, that as
 * its second. */
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void check_line(const char *name, const struct ending *ending, const char *line,
                       long object_offset)
{
    char body[300], should_say[320];
    char *address = (char *)strtoull(ending->address, NULL, 16);
    snprintf(body, sizeof(body), line, (void *)address, (void *)(address + object_offset));
    snprintf(should_say, sizeof(should_say), "hpmalloc: %s\n", body);
    if (strncmp(ending->said, should_say, strlen(should_say)) != 0)
        tap_fail(__FILE__, __LINE__, "%s said: %s# not: %s", name, ending->said, should_say);
}

static struct ending check_fault(const char *name, const char *line, long object_offset)
{
    struct ending ending = commit_guarded(name);
    check_line(name, &ending, line, object_offset);
    if (!ended_by(&ending, SIGSEGV))
        tap_fail(__FILE__, __LINE__, "%s: wait status %#x, not SIGSEGV", name, ending.status);
    CHECK(tells(&ending, "    the access:\n        ", "main"));
    CHECK(!tells(&ending, "    the access:\n", "the access:\n        0x"));
    return ending;
}

static struct ending check_abort(const char *name, const char *line)
{
    struct ending ending = commit_guarded(name);
    check_line(name, &ending, line, 0);
    if (!ended_by(&ending, SIGABRT))
        tap_fail(__FILE__, __LINE__, "%s: wait status %#x, not SIGABRT", name, ending.status);
    CHECK(tells(&ending, "    found as it is freed:\n", "main"));
    CHECK(tells(&ending, "    it was allocated:\n", "main"));
    return ending;
}

#if defined(__x86_64__)
#define READ  "read"
#define WRITE "write"
#else
#define READ  "access"
#define WRITE "access"
#endif

TEST(guard, an_innocent_program_ends_in_silence)
{
    struct ending ending = commit_guarded("no_crime");
    CHECK_EQUAL(ending.status, 0);
    CHECK_TEXT(ending.said, "");
}

TEST(guard, an_overflow_is_found_where_it_is_done)
{
    check_fault("overflow_at_page_by_1",
                "overflow at %p: " WRITE " of byte 1 past the end of %p, object of 64 bytes", -64);
    check_fault("overflow_at_page_by_2000",
                "overflow at %p: " WRITE " of byte 2000 past the end of %p, object of 64 bytes",
                -64 - 1999);
    struct ending ending = check_fault(
        "read_past_page",
        "overflow at %p: " READ " of byte 1 past the end of %p, object of 64 bytes", -64);
    CHECK(tells(&ending, "    it was allocated:\n", "allocate_at_page"));
    CHECK(strstr(ending.said, "it was freed") == NULL);
}

TEST(guard, an_underflow_is_found_where_it_is_done)
{
    check_fault("underflow_at_page_by_1",
                "underflow at %p: " WRITE " of byte 1 before the start of %p, object of 64 bytes",
                1);
}

TEST(guard, what_stays_within_the_page_is_found_as_the_object_is_freed)
{
    check_abort("overflow_by_1",
                "overflow of %p: object of 70 bytes, written to up to byte 1 past its end");
    check_abort("overflow_by_zero",
                "overflow of %p: object of 70 bytes, written to up to byte 1 past its end");
    check_abort("overflow_by_8",
                "overflow of %p: object of 70 bytes, written to up to byte 8 past its end");
    check_abort("underflow_by_1",
                "underflow of %p: object of 64 bytes, written to up to byte 1 before its start");
}

TEST(guard, use_after_free_is_told_with_who_freed_it)
{
    struct ending ending =
        check_fault("read_after_free",
                    "use after free at %p: " READ " 8 bytes into %p, freed object of 64 bytes", -8);
    CHECK(tells(&ending, "    it was freed:\n", "freed_block"));
    CHECK(tells(&ending, "    it was allocated:\n", "freed_block"));
    check_fault("write_after_free",
                "use after free at %p: " WRITE " 8 bytes into %p, freed object of 64 bytes", -8);
}

TEST(guard, a_double_free_is_told_with_who_freed_it_first)
{
    struct ending ending = check_abort("free_twice_small", "double free of %p: object of 64 bytes");
    CHECK(tells(&ending, "    it was freed:\n", "free_twice"));
    check_abort("free_again_in_thread", "double free of %p: object of 64 bytes");
    check_abort("resize_freed_small", "double free of %p: object of 64 bytes");
}

TEST(guard, a_pointer_into_an_object)
{
    check_abort("free_inside_small", "free of %p: it points 16 bytes into an object of 64 bytes");
}

#ifdef HPM_REPLACE
enum { HAS_OUR_SIGACTION = true };
#else
enum { HAS_OUR_SIGACTION = false };
#endif

TEST(guard, the_programs_handler_comes_after_the_report)
{
    if (!HAS_OUR_SIGACTION)
        SKIP("sigaction is left alone, as malloc is");
    struct ending ending = commit_guarded("read_after_free_with_handler");
    CHECK(WIFEXITED(ending.status) && WEXITSTATUS(ending.status) == SIGSEGV);
    CHECK(strncmp(ending.said, "hpmalloc: use after free at ", 28) == 0);
    CHECK(strstr(ending.said, "\nthe program's handler\n") != NULL);
}

TEST(guard, a_handler_may_jump_out_and_stays_what_the_program_made_it)
{
    if (!HAS_OUR_SIGACTION)
        SKIP("sigaction is left alone, as malloc is");
    struct ending ending = commit_guarded("read_after_free_and_live");
    CHECK_EQUAL(ending.status, 0);
    CHECK(strncmp(ending.said, "hpmalloc: use after free at ", 28) == 0);
}

TEST(guard, a_handler_runs_on_the_stack_it_asked_for_even_once)
{
    struct ending ending = commit_guarded("read_after_free_on_stack");
    CHECK(WIFEXITED(ending.status) && WEXITSTATUS(ending.status) == SIGSEGV);
}

TEST(guard, a_fault_elsewhere_is_the_programs_own)
{
    struct ending ending = commit_guarded("wild_read");
    CHECK(ended_by(&ending, SIGSEGV));
    CHECK_TEXT(ending.said, "");
}
