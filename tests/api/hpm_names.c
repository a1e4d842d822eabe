/* The allocator by its own names, in every build. */
#include <errno.h>
#include <stdint.h>

#include "hpmalloc.h"
#include "tap.h"

static const size_t sizes[] = {0, 1, 16, 100, 1024, 32768, 32769, 1000000, 40000000};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static volatile size_t impossible = SIZE_MAX - 100;

TEST(hpm_malloc, blocks_hold_their_size_and_hpm_free_keeps_errno)
{
    for (int i = 0; i < SIZES; i++) {
        char *block = hpm_malloc(sizes[i]);
        CHECK(block != NULL && (uintptr_t)block % 16 == 0);
        CHECK(hpm_usable_size(block) >= sizes[i]);
        memset(block, 1, hpm_usable_size(block));
        errno = 4711;
        hpm_free(block);
        CHECK_EQUAL(errno, 4711);
    }
    hpm_free(NULL);
}

TEST(hpm_malloc, what_cannot_be_met_is_null_and_enomem)
{
    errno = 0;
    CHECK(hpm_malloc(impossible) == NULL);
    CHECK_EQUAL(errno, ENOMEM);
    errno = 0;
    CHECK(hpm_calloc(impossible, 2) == NULL);
    CHECK_EQUAL(errno, ENOMEM);
    errno = 0;
    CHECK(hpm_aligned_alloc(64, impossible) == NULL);
    CHECK_EQUAL(errno, ENOMEM);
}

TEST(hpm_calloc, memory_is_zeroed)
{
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < SIZES; i++) {
            char *block = hpm_calloc(1, sizes[i]);
            size_t nonzero = 0;
            for (size_t at = 0; at < sizes[i]; at++)
                nonzero += block[at] != 0;
            CHECK_EQUAL(nonzero, 0);
            memset(block, 0xff, sizes[i]);
            hpm_free_sized(block, sizes[i]);
        }
    }
}

TEST(hpm_realloc, keeps_contents)
{
    char *block = hpm_realloc(NULL, 10);
    memcpy(block, "contents", 9);
    for (int i = 3; i < SIZES; i++) {
        block = hpm_realloc(block, sizes[i]);
        CHECK_TEXT(block, "contents");
    }
    block = hpm_realloc(block, 9);
    CHECK_TEXT(block, "contents");
    CHECK(hpm_realloc(block, 0) == NULL);
}

TEST(hpm_aligned_alloc, meets_powers_of_two_and_refuses_others)
{
    for (size_t alignment = 1; alignment <= 1 << 22; alignment *= 2) {
        void *block = hpm_aligned_alloc(alignment, 1000);
        CHECK(block != NULL && (uintptr_t)block % alignment == 0);
        hpm_free(block);
    }
    errno = 0;
    CHECK(hpm_aligned_alloc(24, 100) == NULL);
    CHECK_EQUAL(errno, EINVAL);
}

TEST(hpm_nallocx, tells_what_a_block_will_hold)
{
    for (int i = 0; i < SIZES; i++) {
        void *block = hpm_malloc(sizes[i]);
        CHECK_EQUAL(hpm_nallocx(sizes[i]), hpm_usable_size(block));
        hpm_free(block);
    }
    CHECK_EQUAL(hpm_nallocx(SIZE_MAX), 0);
}

TEST(hpm_usable_size, of_null_is_0)
{
    CHECK_EQUAL(hpm_usable_size(NULL), 0);
}

TEST(hpm_release_memory, gives_about_what_was_asked_for_and_no_more_than_there_is)
{
    enum { BLOCKS = 200, REGION_BYTES = 1 << 21 };
    static void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = memset(hpm_malloc(50000), 1, 50000);
    for (int i = 0; i < BLOCKS; i++)
        hpm_free(blocks[i]);
    size_t some = hpm_release_memory(1000000);
    CHECK(some >= 1000000 && some <= 1000000 + REGION_BYTES);
    CHECK(hpm_release_memory(SIZE_MAX) >= BLOCKS * 50000 - some);
    CHECK_EQUAL(hpm_release_memory(SIZE_MAX), 0);
}

TEST(hpm_version, is_the_headers)
{
    CHECK_TEXT(hpm_version(), HPM_VERSION);
}

/* As a header of C++ it is used in cxx_test.cc. */
TEST(hpm_profile_interval, is_what_was_set_and_the_default_before)
{
    size_t initial = hpm_profile_interval();
    CHECK_EQUAL(initial, 524288);
    CHECK_EQUAL(hpm_profile_set_interval(4096), 0);
    CHECK_EQUAL(hpm_profile_interval(), 4096);
    CHECK_EQUAL(hpm_profile_set_interval(0), 0);
    CHECK_EQUAL(hpm_profile_interval(), 0);
    CHECK_EQUAL(hpm_profile_set_interval((size_t)1 << 40), 0);
    CHECK_EQUAL(hpm_profile_set_interval(((size_t)1 << 40) + 1), -EINVAL);
    CHECK_EQUAL(hpm_profile_interval(), (size_t)1 << 40);
    CHECK_EQUAL(hpm_profile_set_interval(initial), 0);
}
