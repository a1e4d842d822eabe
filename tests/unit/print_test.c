#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/print.h"
#include "tap.h"

/* Formats as print does and as libc does, and compares. */
#define CHECK_LIKE_LIBC(...)                                                                       \
    do {                                                                                           \
        char ours[200], theirs[200];                                                               \
        size_t length = print_format(ours, sizeof(ours), __VA_ARGS__);                             \
        snprintf(theirs, sizeof(theirs), __VA_ARGS__);                                             \
        CHECK_TEXT(ours, theirs);                                                                  \
        CHECK_EQUAL(length, strlen(theirs));                                                       \
    } while (0)

TEST(print, numbers_look_as_in_libc)
{
    CHECK_LIKE_LIBC("%d %d %d", 0, -1, 2147483647);
    CHECK_LIKE_LIBC("%u %x %lu %lx", 4294967295u, 0xdeadbeef, ~0ul, ~0ul);
    CHECK_LIKE_LIBC("%zu %ld %lld", sizeof(int), (long)-5, -9223372036854775807ll - 1);
    CHECK_LIKE_LIBC("[%5d|%-5d|%05d|%5u]", 42, 42, -42, 7u);
    CHECK_LIKE_LIBC("[%08x|%2x|%016lx]", 0xabcu, 0xabcu, 0x7fffffffffffful);
    CHECK_LIKE_LIBC("[%*d|%-*d]", 6, 12, 6, 12);
    CHECK_LIKE_LIBC("%p", (void *)0x1234abcd);
}

TEST(print, texts_look_as_in_libc)
{
    CHECK_LIKE_LIBC("%s|%10s|%-10s|%.3s|%.*s", "abc", "abc", "abc", "abcdef", 2, "abcdef");
    CHECK_LIKE_LIBC("%c%c 100%%", 'x', 'y');
    CHECK_LIKE_LIBC("%s", "");
}

TEST(print, doubles_look_as_in_libc)
{
    static const double values[] = {0,    0.04, 0.06, 1,     9.96,      10,
                                    -5.5, 1e12, 1e17, 0.001, 123456.789};
    for (size_t i = 0; i < array_count(values); i++) {
        CHECK_LIKE_LIBC("%.0f|%.1f|%.3f", values[i], values[i], values[i] / 100);
        CHECK_LIKE_LIBC("%12.2f|%-12.1f|", values[i], values[i]);
    }
}

TEST(print, doubles_beyond_all_sizes_are_huge)
{
    char text[40];
    print_format(text, sizeof(text), "%f %6.1f", 1e30, 1.0 / 0.0);
    CHECK_TEXT(text, "huge   huge");
}

TEST(print, a_missing_text_is_said_to_be_null)
{
    char text[40];
    const char *volatile none = NULL;
    print_format(text, sizeof(text), "%s", none);
    CHECK_TEXT(text, "(null)");
}

TEST(print, what_does_not_fit_is_cut_and_closed)
{
    char text[8] = "xxxxxxx";
    CHECK_EQUAL(print_format(text, 5, "%s", "abcdefgh"), 4);
    CHECK_TEXT(text, "abcd");
    CHECK_EQUAL(text[5], 'x');
    CHECK_EQUAL(print_format(text, 0, "abc"), 0);
    CHECK_EQUAL(print_format(text, 1, "%d", 12345), 0);
    CHECK_TEXT(text, "");
}

TEST(print, moments_are_in_utc)
{
    char text[32];
    const uint64_t second = 1000000000;
    print_time(text, sizeof(text), 0);
    CHECK_TEXT(text, "19700101T000000Z");
    print_time(text, sizeof(text), 951782399 * second);
    CHECK_TEXT(text, "20000228T235959Z");
    print_time(text, sizeof(text), 951782400 * second);
    CHECK_TEXT(text, "20000229T000000Z");
    print_time(text, sizeof(text), 1767323045 * second + 999999999);
    CHECK_TEXT(text, "20260102T030405Z");
    CHECK_EQUAL(print_time(text, sizeof(text), 4107542400 * second), 16);
    CHECK_TEXT(text, "21000301T000000Z");
}

/* What a call says on stderr. */
static const char *said_by(void (*call)(void))
{
    static char said[1024];
    int fd = memfd_create("stderr", 0), kept = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    call();
    dup2(kept, STDERR_FILENO);
    ssize_t length = pread(fd, said, sizeof(said) - 1, 0);
    said[length > 0 ? length : 0] = '\0';
    tap_cut_emulator(said);
    close(fd);
    close(kept);
    return said;
}

static void say_a_line(void)
{
    print_line("%d objects", 3);
}

static void say_a_ready_line(void)
{
    print_ready_line("hpmalloc: ready\n");
}

static void say_a_long_line(void)
{
    print_line("%0900d", 1);
}

static void die_in_a_child(void)
{
    pid_t child = fork();
    int status = 0;
    if (child == 0)
        die("double free of %p", (void *)0x10);
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

TEST(print, a_line_says_who_speaks)
{
    CHECK_TEXT(said_by(say_a_line), "hpmalloc: 3 objects\n");
    CHECK_TEXT(said_by(say_a_ready_line), "hpmalloc: ready\n");
}

TEST(print, a_long_line_still_ends)
{
    const char *said = said_by(say_a_long_line);
    CHECK(strlen(said) <= 512);
    CHECK_EQUAL(said[strlen(said) - 1], '\n');
}

TEST(print, quiet_silences_lines_but_not_last_words)
{
    print_set_quiet(true);
    CHECK_TEXT(said_by(say_a_line), "");
    CHECK_TEXT(said_by(say_a_ready_line), "");
    CHECK_TEXT(said_by(die_in_a_child), "hpmalloc: double free of 0x10\n");
    print_set_quiet(false);
}

TEST(print, errno_stays_as_it_was)
{
    int kept = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    errno = 99;
    print_line("nobody hears this");
    print_ready_line("nor this\n");
    int after = errno;
    dup2(kept, STDERR_FILENO);
    close(kept);
    CHECK_EQUAL(after, 99);
}

static void ignore(int signal_number)
{
    (void)signal_number;
}

TEST(print, everything_is_written_through_short_writes_and_interruptions)
{
    static char sent[1 << 20], received[1 << 20];
    int ends[2];
    CHECK_EQUAL(pipe(ends), 0);
    memset(sent, 'y', sizeof(sent));
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = ignore}, NULL);
    if (fork() == 0) {
        ualarm(1000, 1000);
        _exit(print_write_all(ends[1], sent, sizeof(sent)) ? 0 : 1);
    }
    close(ends[1]);
    usleep(50000); // the pipe is full, and writes are interrupted before they begin
    size_t total = 0;
    for (ssize_t got; (got = read(ends[0], received + total, 5000)) > 0; usleep(100))
        total += (size_t)got;
    int status = 1;
    wait(&status);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(total, sizeof(sent));
    CHECK_EQUAL(memcmp(sent, received, sizeof(sent)), 0);
    close(ends[0]);
}

TEST(print, a_write_that_fails_says_so)
{
    errno = 0;
    CHECK(!print_write_all(-1, "x", 1));
    CHECK_EQUAL(errno, EBADF);
}
