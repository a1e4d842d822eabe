/* Every name of the C library's allocator that is replaced. Needs no header of the library: the
 * same program links dynamically and statically. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdint.h>
#include <unistd.h>

#include "api/glibc_names.h"
#include "tap.h"

/* Tests look at blocks after a call that failed to take them, which gcc warns of. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wuse-after-free"
#endif

void cfree(void *block);
void free_sized(void *block, size_t bytes);
void free_aligned_sized(void *block, size_t alignment, size_t bytes);

/* Sizes around every border: classes, pages, small to large, large to huge. */
static const size_t sizes[] = {0,     1,     7,      8,      15,       16,       17,      24,
                               100,   128,   129,    1000,   1024,     4095,     4096,    4097,
                               8192,  32767, 32768,  32769,  65536,    100000,   1 << 20, 2097152,
                               2097153, 5000000, 33554431, 33554432, 40000001};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

/* Requests no machine can meet; hidden from the compiler, which would complain. */
static volatile size_t too_large[] = {SIZE_MAX, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1,
                                      PTRDIFF_MAX, (size_t)1 << 60, (size_t)1 << 48};
enum { TOO_LARGE = sizeof(too_large) / sizeof(too_large[0]) };

static bool is_aligned(const void *block, size_t alignment)
{
    return (uintptr_t)block % alignment == 0;
}

static bool is_filled(const void *block, int with, size_t bytes)
{
    const unsigned char *at = block;
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != with)
            return false;
    }
    return true;
}

/* Whether a block is as asked for, down to its last byte. */
static void check_block(void *block, size_t bytes, size_t alignment)
{
    CHECK(block != NULL && is_aligned(block, alignment));
    CHECK(malloc_usable_size(block) >= bytes);
    memset(block, 0xd7, malloc_usable_size(block));
}

#define CHECK_FAILS(call)                                                                          \
    do {                                                                                           \
        errno = 0;                                                                                 \
        CHECK((call) == NULL);                                                                     \
        CHECK_EQUAL(errno, ENOMEM);                                                                \
    } while (0)

TEST(malloc, blocks_hold_their_size_and_are_aligned_to_16)
{
    for (int i = 0; i < SIZES; i++) {
        void *block = malloc(sizes[i]);
        check_block(block, sizes[i], 16);
        free(block);
    }
}

TEST(malloc, of_zero_bytes_yields_distinct_blocks)
{
    void *a = malloc(0), *b = malloc(0);
    CHECK(a != NULL && b != NULL && a != b);
    free(a);
    free(b);
}

TEST(malloc, what_cannot_be_met_is_null_and_enomem)
{
    for (int i = 0; i < TOO_LARGE; i++)
        CHECK_FAILS(malloc(too_large[i]));
}

TEST(malloc, live_blocks_do_not_overlap)
{
    enum { BLOCKS = 20000 };
    static unsigned char *blocks[BLOCKS];
    size_t wrong = 0;
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(1 + i % 3000);
        memset(blocks[i], (int)(i % 251), 1 + i % 3000);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        wrong += !is_filled(blocks[i], (int)(i % 251), 1 + i % 3000);
        free(blocks[i]);
    }
    CHECK_EQUAL(wrong, 0);
}

TEST(free, of_null_is_nothing)
{
    free(NULL);
    cfree(NULL);
    free_sized(NULL, 0);
    free_aligned_sized(NULL, 16, 0);
}

TEST(free, keeps_errno)
{
    for (int i = 0; i < SIZES; i++) {
        void *block = malloc(sizes[i]);
        errno = 4711;
        free(block);
        CHECK_EQUAL(errno, 4711);
    }
}

TEST(free, has_four_names_that_do_the_same)
{
    for (int i = 0; i < SIZES; i++) {
        cfree(malloc(sizes[i]));
        free_sized(malloc(sizes[i]), sizes[i]);
        free_aligned_sized(aligned_alloc(64, sizes[i]), 64, sizes[i]);
    }
}

TEST(calloc, memory_is_zeroed_after_it_was_dirty)
{
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < SIZES; i++) {
            char *block = calloc(1, sizes[i]);
            CHECK(block != NULL && is_aligned(block, 16));
            CHECK(is_filled(block, 0, sizes[i]));
            check_block(block, sizes[i], 16);
            free(block);
        }
    }
}

TEST(calloc, products_that_overflow_are_null_and_enomem)
{
    volatile size_t half = SIZE_MAX / 2 + 1;
    CHECK_FAILS(calloc(half, 2));
    CHECK_FAILS(calloc(2, half));
    CHECK_FAILS(calloc(half, half));
    CHECK_FAILS(calloc(too_large[4], 1));
    void *none = calloc(0, half);
    CHECK(none != NULL);
    free(none);
}

TEST(realloc, keeps_contents_between_all_sizes)
{
    for (int from = 0; from < SIZES; from++) {
        for (int to = 1; to < SIZES; to++) {
            char *block = malloc(sizes[from]);
            memset(block, 0x41, sizes[from]);
            char *moved = realloc(block, sizes[to]);
            size_t kept = sizes[from] < sizes[to] ? sizes[from] : sizes[to];
            CHECK(moved != NULL && is_filled(moved, 0x41, kept));
            check_block(moved, sizes[to], 16);
            free(moved);
        }
    }
}

TEST(realloc, of_null_allocates_and_to_zero_frees)
{
    void *block = realloc(NULL, 100);
    check_block(block, 100, 16);
    CHECK(realloc(block, 0) == NULL);
    void *large = malloc(100000);
    CHECK(realloc(large, 0) == NULL);
}

TEST(realloc, that_fails_leaves_the_block_as_it_was)
{
    size_t from[] = {100, 100000, 40000000};
    for (int i = 0; i < 3; i++) {
        char *block = malloc(from[i]);
        memset(block, 0x42, from[i]);
        for (int n = 0; n < TOO_LARGE; n++)
            CHECK_FAILS(realloc(block, too_large[n]));
        CHECK(is_filled(block, 0x42, from[i]));
        free(block);
    }
}

TEST(realloc, to_much_less_gives_memory_back)
{
    size_t from[] = {30000, 1000000, 40000000, 100000000};
    for (int i = 0; i < 4; i++) {
        void *block = realloc(malloc(from[i]), 100);
        CHECK(malloc_usable_size(block) < 1000);
        free(block);
    }
    void *block = realloc(malloc(100000000), 40000000);
    CHECK(malloc_usable_size(block) < 41000000);
    free(block);
}

TEST(realloc, growing_bit_by_bit_keeps_contents)
{
    size_t bytes = 16;
    unsigned char *block = calloc(1, bytes);
    for (; bytes < 80000000; bytes += bytes / 2) {
        block = realloc(block, bytes + bytes / 2);
        CHECK(block[bytes - 1] == (bytes == 16 ? 0 : 0x43));
        memset(block + bytes, 0x43, bytes / 2);
    }
    CHECK(is_filled(block + 16, 0x43, bytes - 16));
    free(block);
}

TEST(reallocarray, products_that_overflow_are_refused_and_others_met)
{
    volatile size_t half = SIZE_MAX / 2 + 1;
    char *block = reallocarray(NULL, 10, 10);
    check_block(block, 100, 16);
    CHECK_FAILS(reallocarray(block, half, 2));
    CHECK(is_filled(block, 0xd7, 100));
    block = reallocarray(block, 1000, 10);
    CHECK(is_filled(block, 0xd7, 100));
    free(block);
}

TEST(posix_memalign, meets_every_alignment_and_size)
{
    for (size_t alignment = sizeof(void *); alignment <= (size_t)1 << 26; alignment *= 2) {
        for (int i = 0; i < SIZES; i += 3) {
            void *block = NULL;
            errno = 4711;
            CHECK_EQUAL(posix_memalign(&block, alignment, sizes[i]), 0);
            CHECK_EQUAL(errno, 4711);
            check_block(block, sizes[i], alignment);
            free(block);
        }
    }
}

TEST(posix_memalign, refuses_alignments_that_are_none_and_leaves_all_as_it_was)
{
    size_t alignments[] = {0, 1, 2, 4, 7, 12, 24, 4097, SIZE_MAX};
    for (int i = 0; i < 9; i++) {
        void *block = &block;
        errno = 4711;
        CHECK_EQUAL(posix_memalign(&block, alignments[i], 100), EINVAL);
        CHECK(block == &block);
        CHECK_EQUAL(errno, 4711);
    }
    void *block = &block;
    errno = 4711;
    CHECK_EQUAL(posix_memalign(&block, 64, too_large[0]), ENOMEM);
    CHECK_EQUAL(posix_memalign(&block, 64, too_large[3]), ENOMEM);
    CHECK(block == &block);
    CHECK_EQUAL(errno, 4711);
}

TEST(aligned_alloc, meets_powers_of_two_and_refuses_others)
{
    for (size_t alignment = 1; alignment <= 1 << 20; alignment *= 2) {
        void *block = aligned_alloc(alignment, 100);
        check_block(block, 100, alignment);
        free(block);
    }
    volatile size_t odd = 48, none = 0;
    errno = 0;
    CHECK(aligned_alloc(odd, 96) == NULL);
    CHECK_EQUAL(errno, EINVAL);
    errno = 0;
    CHECK(aligned_alloc(none, 96) == NULL);
    CHECK_EQUAL(errno, EINVAL);
    CHECK_FAILS(aligned_alloc(64, too_large[0]));
    CHECK_FAILS(aligned_alloc(4096, too_large[3]));
}

TEST(memalign, rounds_alignments_up_to_a_power_of_two)
{
    for (size_t alignment = 0; alignment < 5000; alignment += 37) {
        void *block = memalign(alignment, 100);
        size_t power = 16;
        while (power < alignment)
            power *= 2;
        check_block(block, 100, power);
        free(block);
    }
    CHECK_FAILS(memalign(64, too_large[0]));
    CHECK(memalign((size_t)too_large[2] + 1, 1) == NULL);
}

TEST(valloc, begins_at_a_page_and_pvalloc_fills_its_last_one)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < SIZES; i++) {
        void *block = valloc(sizes[i]);
        check_block(block, sizes[i], page);
        free(block);
        block = pvalloc(sizes[i]);
        check_block(block, (sizes[i] + page - 1) / page * page, page);
        free(block);
    }
    CHECK_FAILS(valloc(too_large[0]));
    CHECK_FAILS(pvalloc(too_large[0]));
    CHECK_FAILS(pvalloc(too_large[3]));
}

TEST(aligned_blocks, can_be_resized_and_keep_their_contents)
{
    for (size_t alignment = 32; alignment <= 65536; alignment *= 2) {
        char *block = aligned_alloc(alignment, 5000);
        memset(block, 0x44, 5000);
        block = realloc(block, 50000);
        CHECK(is_filled(block, 0x44, 5000));
        free(block);
    }
}

TEST(malloc_usable_size, of_null_is_0)
{
    CHECK_EQUAL(malloc_usable_size(NULL), 0);
}

TEST(malloc_trim, gives_free_memory_back)
{
    enum { BLOCKS = 500 };
    static void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = memset(malloc(40000), 1, 40000);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    CHECK_EQUAL(malloc_trim(0), 1);
    CHECK_EQUAL(malloc_trim(0), 0);
}

TEST(mallinfo2, shows_what_is_in_use)
{
    struct mallinfo2 before = mallinfo2();
    void *small[100], *large = malloc(10000000);
    for (int i = 0; i < 100; i++)
        small[i] = malloc(1000);
    struct mallinfo2 now = mallinfo2();
    CHECK(now.uordblks - before.uordblks >= 10100000);
    CHECK(now.uordblks - before.uordblks < 10300000);
    CHECK(now.arena >= now.uordblks);
    CHECK_EQUAL(now.arena - now.uordblks, now.fordblks);
    free(large);
    for (int i = 0; i < 100; i++)
        free(small[i]);
    CHECK(mallinfo2().uordblks < before.uordblks + 100000);
}

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
TEST(mallinfo, is_mallinfo2_in_ints)
{
    void *block = malloc(3000000);
    struct mallinfo2 wide = mallinfo2();
    struct mallinfo narrow = mallinfo();
    CHECK_EQUAL(narrow.uordblks, wide.uordblks);
    CHECK_EQUAL(narrow.arena, wide.arena);
    free(block);
}

TEST(mallinfo, stops_at_the_greatest_int)
{
    void *blocks[3];
    for (int i = 0; i < 3; i++)
        blocks[i] = malloc((size_t)1 << 30);
    struct mallinfo2 wide = mallinfo2();
    CHECK(wide.hblkhd >= (size_t)3 << 30 && wide.hblks >= 3);
    CHECK_EQUAL(mallinfo().hblkhd, INT_MAX);
    CHECK_EQUAL(mallinfo().hblks, wide.hblks);
    for (int i = 0; i < 3; i++)
        free(blocks[i]);
    CHECK(mallinfo2().hblkhd <= wide.hblkhd - ((size_t)3 << 30));
    CHECK_EQUAL(mallinfo2().hblks, wide.hblks - 3);
}

TEST(mallinfo2, shows_what_is_free)
{
    static void *blocks[1000];
    for (int i = 0; i < 1000; i++)
        blocks[i] = malloc(3000);
    malloc_trim(0); // else what was kept before may decay meanwhile
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < 1000; i++) {
        if (i % 100 != 0) // what keeps its neighbours from going back as whole pages
            free(blocks[i]);
    }
    struct mallinfo2 after = mallinfo2();
    CHECK_EQUAL(before.uordblks - after.uordblks, 990 * 3264);
    CHECK(after.fordblks - before.fordblks > 2000000);
    CHECK(after.keepcost > before.keepcost);
    CHECK(after.smblks > 0 && after.fsmblks >= after.smblks * 16);
    CHECK(after.ordblks > before.ordblks);
    for (int i = 0; i < 1000; i += 100)
        free(blocks[i]);
}

TEST(malloc_trim, keeps_as_much_as_is_said)
{
    void *block = malloc(20000000);
    free(memset(block, 1, 20000000));
    CHECK_EQUAL(malloc_trim(10000000), 1);
    size_t kept = mallinfo2().keepcost;
    CHECK(kept > 7000000 && kept < 13000000);
    CHECK_EQUAL(malloc_trim(20000000), 0);
    CHECK_EQUAL(malloc_trim(0), 1);
    CHECK(mallinfo2().keepcost == 0);
}

TEST(mallopt, takes_any_parameter)
{
    CHECK_EQUAL(mallopt(M_MMAP_THRESHOLD, 100000), 1);
    CHECK_EQUAL(mallopt(12345, 0), 1);
    check_block(malloc(200000), 200000, 16);
}

TEST(malloc_info, writes_xml_to_a_stream)
{
    char *text = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    CHECK_EQUAL(malloc_info(0, stream), 0);
    fclose(stream);
    CHECK(strncmp(text, "<malloc version=", 16) == 0);
    CHECK(strstr(text, "</malloc>\n") != NULL && strstr(text, "%") == NULL);
    free(text);
    errno = 0;
    CHECK_EQUAL(malloc_info(1, stdout), -1);
    CHECK_EQUAL(errno, EINVAL);
}

TEST(malloc_stats, writes_lines_to_stderr)
{
    int ends[2], saved = dup(STDERR_FILENO);
    static char text[1 << 15];
    CHECK_EQUAL(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    malloc_stats();
    dup2(saved, STDERR_FILENO);
    close(ends[1]);
    ssize_t bytes = read(ends[0], text, sizeof(text) - 1);
    text[bytes > 0 ? bytes : 0] = '\0';
    CHECK(strstr(text, "  live: asked for by the program") != NULL);
    CHECK(strstr(text, "  resident memory of the process") != NULL);
    CHECK(strchr(text, '%') == NULL);
    close(ends[0]);
    close(saved);
}
