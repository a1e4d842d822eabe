#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "report/gzip.h"
#include "report/output.h"
#include "tap.h"

enum { INPUT_BYTES = 3 << 20 };

static unsigned char input[INPUT_BYTES], unpacked[INPUT_BYTES + 1];

/* Packs in pieces of a size, unpacks with a program that is not ours, and compares; returns the
 * packed size, 0 when anything is wrong. */
static size_t round_trip(size_t bytes, size_t piece)
{
    char command[64];
    int fd = memfd_create("packed", 0);
    gzip_begin(fd);
    for (size_t at = 0; at < bytes; at += piece)
        gzip_write(input + at, bytes - at < piece ? bytes - at : piece);
    bool done = gzip_finish();
    size_t packed = (size_t)lseek(fd, 0, SEEK_CUR);
    snprintf(command, sizeof(command), "gzip -dc < /proc/self/fd/%d", fd);
    FILE *pipe = popen(command, "r");
    size_t got = fread(unpacked, 1, sizeof(unpacked), pipe);
    done = pclose(pipe) == 0 && done && got == bytes && memcmp(input, unpacked, bytes) == 0;
    close(fd);
    return done ? packed : 0;
}

static uint64_t next_random(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
}

static bool has_gzip(void)
{
    return system("gzip --version >/dev/null 2>&1") == 0;
}

TEST(gzip, nothing_makes_a_whole_file)
{
    if (!has_gzip())
        SKIP("no gzip here");
    CHECK(round_trip(0, 1) > 0);
}

TEST(gzip, text_shrinks_to_a_third_and_comes_back)
{
    if (!has_gzip())
        SKIP("no gzip here");
    size_t bytes = 0;
    while (bytes < 200000)
        bytes += (size_t)sprintf((char *)input + bytes, "frame_%lu+0x%lx in library_%lu.so\n",
                                 next_random() % 300, next_random() % 4096, next_random() % 5);
    size_t packed = round_trip(bytes, 1000);
    CHECK(packed > 0 && packed < bytes / 3);
}

TEST(gzip, pieces_of_any_size_make_the_same_file)
{
    if (!has_gzip())
        SKIP("no gzip here");
    size_t packed = round_trip(200000, 1000);
    CHECK(packed > 0);
    CHECK_EQUAL(round_trip(200000, 1), packed);
    CHECK_EQUAL(round_trip(200000, 32768), packed);
    CHECK_EQUAL(round_trip(200000, 200000), packed);
}

TEST(gzip, one_byte_repeated_shrinks_to_almost_nothing)
{
    if (!has_gzip())
        SKIP("no gzip here");
    memset(input, 0, sizeof(input));
    size_t packed = round_trip(sizeof(input), 100000);
    CHECK(packed > 0 && packed < sizeof(input) / 100);
}

TEST(gzip, noise_grows_by_little_and_comes_back)
{
    if (!has_gzip())
        SKIP("no gzip here");
    for (size_t i = 0; i < 300000; i++)
        input[i] = (unsigned char)next_random();
    size_t packed = round_trip(300000, 7777);
    CHECK(packed > 0 && packed < 300000 * 17 / 16);
}

/* Matches of every length and distance, for each has its own code. */
TEST(gzip, repeats_of_every_length_and_distance_come_back)
{
    if (!has_gzip())
        SKIP("no gzip here");
    size_t at = 0;
    while (at < 40000)
        input[at++] = (unsigned char)next_random();
    while (at < sizeof(input) - 300) {
        size_t length = 3 + next_random() % 256, distance = 1 + (next_random() % 32768 >> at % 15);
        for (size_t i = 0; i < length; i++, at++)
            input[at] = input[at - distance];
        input[at++] = (unsigned char)next_random();
    }
    CHECK(round_trip(at, 65536) > 0);
}

TEST(gzip, a_second_stream_knows_nothing_of_the_first)
{
    if (!has_gzip())
        SKIP("no gzip here");
    size_t first = round_trip(100000, 5000), again = round_trip(100000, 5000);
    CHECK(first > 0);
    CHECK_EQUAL(again, first);
}

TEST(gzip, a_write_that_fails_is_reported_at_the_end)
{
    gzip_begin(-1);
    gzip_write(input, sizeof(input));
    errno = 0;
    CHECK(!gzip_finish());
    CHECK_EQUAL(errno, EBADF);
}

TEST(output, what_is_printed_arrives_in_order)
{
    static struct output output;
    static char text[100000];
    int fd = memfd_create("output", 0);
    size_t length = 0;
    output_begin(&output, fd);
    for (int i = 0; i < 5000; i++) {
        length += (size_t)sprintf(text + length, "%d,", i);
        output_print(&output, "%d,", i);
    }
    output_text(&output, "end");
    CHECK(output_finish(&output));
    length += (size_t)sprintf(text + length, "end");
    CHECK_EQUAL(pread(fd, unpacked, sizeof(unpacked), 0), length);
    CHECK_EQUAL(memcmp(text, unpacked, length), 0);
    close(fd);
}

TEST(output, the_first_error_stays)
{
    static struct output output;
    output_begin(&output, -1);
    output_write(&output, input, 20000);
    output.fd = open("/dev/full", O_WRONLY);
    output_write(&output, input, 20000);
    errno = 0;
    CHECK(!output_finish(&output));
    CHECK_EQUAL(errno, EBADF);
    close(output.fd);
}
