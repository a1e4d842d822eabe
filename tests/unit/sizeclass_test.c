#include "heap/sizeclass.h"
#include "tap.h"

static size_t class_bytes_for(size_t bytes)
{
    return sizeclass_bytes(sizeclass_from_code(sizeclass_code_of(bytes)));
}

TEST(sizeclass, sizes_rise_from_16_to_the_largest_small_size)
{
    CHECK_EQUAL(sizeclass_bytes(SIZECLASS_NONE + 1), 16);
    for (unsigned class = SIZECLASS_NONE + 2; class < SIZECLASS_COUNT; class++)
        CHECK(sizeclass_bytes(class) > sizeclass_bytes(class - 1));
    CHECK_EQUAL(sizeclass_bytes(SIZECLASS_COUNT - 1), SMALL_MAX_BYTES);
}

TEST(sizeclass, every_size_maps_to_the_smallest_class_that_holds_it)
{
    unsigned class = 1;
    for (size_t bytes = 0; bytes <= SMALL_MAX_BYTES; bytes++) {
        if (bytes > sizeclass_bytes(class))
            class++;
        if (sizeclass_code_of(bytes) != sizeclass_code(class))
            CHECK_EQUAL(sizeclass_code_of(bytes), sizeclass_code(class));
    }
    CHECK_EQUAL(class, SIZECLASS_COUNT - 1);
}

TEST(sizeclass, above_128_bytes_an_object_wastes_at_most_an_eighth)
{
    for (size_t bytes = 129; bytes <= SMALL_MAX_BYTES; bytes++) {
        size_t waste = class_bytes_for(bytes) - bytes;
        if (waste * 8 > class_bytes_for(bytes))
            CHECK_EQUAL(waste, class_bytes_for(bytes) / 8);
    }
}

TEST(sizeclass, above_128_bytes_the_average_waste_is_below_6_percent)
{
    double shares = 0;
    for (size_t bytes = 129; bytes <= SMALL_MAX_BYTES; bytes++)
        shares += (double)(class_bytes_for(bytes) - bytes) / (double)class_bytes_for(bytes);
    double average = shares / (SMALL_MAX_BYTES - 128);
    CHECK(average < 0.06);
    printf("# average waste %.2f %%\n", average * 100);
}

TEST(sizeclass, every_power_of_two_is_a_class)
{
    for (size_t bytes = 16; bytes <= SMALL_MAX_BYTES; bytes *= 2)
        CHECK_EQUAL(class_bytes_for(bytes), bytes);
}

TEST(sizeclass, a_slab_holds_8_to_512_objects_and_wastes_at_most_a_fortieth)
{
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++) {
        const struct sizeclass *c = &sizeclass_table[class];
        size_t bytes = bytes_of_pages(c->slab_pages);
        CHECK_EQUAL(c->slab_objects, bytes / c->bytes);
        CHECK(c->slab_objects >= 8 && c->slab_objects <= SLAB_OBJECTS_MAX);
        CHECK((bytes - (size_t)c->slab_objects * c->bytes) * 40 <= bytes);
    }
}

TEST(sizeclass, the_reciprocal_divides_every_offset_of_a_slab)
{
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++) {
        const struct sizeclass *c = &sizeclass_table[class];
        size_t wrong = 0;
        for (size_t offset = 0; offset < bytes_of_pages(c->slab_pages); offset++)
            wrong += offset * c->reciprocal >> 40 != offset / c->bytes;
        CHECK_EQUAL(wrong, 0);
    }
}

/* As slab_put_run does it. */
TEST(sizeclass, what_the_reciprocal_leaves_tells_beginnings_of_objects_from_other_places)
{
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++) {
        const struct sizeclass *c = &sizeclass_table[class];
        size_t wrong = 0;
        for (size_t offset = 0; offset < bytes_of_pages(c->slab_pages); offset++) {
            bool is_other = (uint16_t)(offset * c->reciprocal >> 24) != 0;
            wrong += is_other != (offset % c->bytes != 0);
        }
        CHECK_EQUAL(wrong, 0);
    }
}

TEST(sizeclass, lists_begin_small_and_may_grow)
{
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++) {
        const struct sizeclass *c = &sizeclass_table[class];
        CHECK(c->batch_first >= 1 && c->batch_first <= c->batch_max);
        CHECK(c->batch_max <= SLAB_OBJECTS_MAX);
    }
}

static bool is_smallest_aligned(unsigned class, size_t bytes, size_t alignment)
{
    if (sizeclass_bytes(class) < bytes || sizeclass_bytes(class) % alignment != 0)
        return false;
    for (unsigned smaller = 1; smaller < class; smaller++) {
        if (sizeclass_bytes(smaller) >= bytes && sizeclass_bytes(smaller) % alignment == 0)
            return false;
    }
    return true;
}

TEST(sizeclass, an_aligned_request_finds_the_smallest_class_of_aligned_objects)
{
    for (size_t alignment = 1; alignment <= HEAP_PAGE_BYTES; alignment *= 2) {
        for (size_t bytes = 0; bytes <= SMALL_MAX_BYTES; bytes += 97) {
            unsigned code = sizeclass_code_aligned(bytes, alignment);
            CHECK(code != 0 && is_smallest_aligned(sizeclass_from_code(code), bytes, alignment));
        }
    }
}

TEST(sizeclass, what_no_class_can_hold_or_align_has_no_aligned_class)
{
    CHECK_EQUAL(sizeclass_code_aligned(1, 2 * HEAP_PAGE_BYTES), 0);
    CHECK_EQUAL(sizeclass_code_aligned(SMALL_MAX_BYTES + 1, 16), 0);
    CHECK_EQUAL(sizeclass_code_aligned(SIZE_MAX, 4096), 0);
    CHECK(sizeclass_code_aligned(SMALL_MAX_BYTES, HEAP_PAGE_BYTES) != 0);
}
