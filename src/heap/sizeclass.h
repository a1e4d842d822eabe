/* Which sizes small objects come in.
 *
 * A class's objects lie in slabs of a whole number of heap pages. Each row is (largest size of the
 * class before, size, pages of a slab): sizes grow by at most 8/7, so that above 128 bytes an object
 * wastes at most 12.5 % of itself; powers of two are all there, so that an aligned request finds a
 * class; a slab has 8 to 512 objects and wastes at most 2.5 % at its end. sizeclass_test.c checks it. */
#ifndef HPM_HEAP_SIZECLASS_H
#define HPM_HEAP_SIZECLASS_H

#include "base/base.h"

enum { HEAP_PAGE_SHIFT = 13, HEAP_PAGE_BYTES = 1 << HEAP_PAGE_SHIFT };
enum { SMALL_MAX_BYTES = 32768, OBJECT_ALIGNMENT = 16, SLAB_OBJECTS_MAX = 512, SLAB_FILLS = 8 };

#define SIZECLASS_TABLE(X)                                                                         \
    X(0, 16, 1) X(16, 32, 2) X(32, 48, 2) X(48, 64, 2) X(64, 80, 2) X(80, 96, 2) X(96, 112, 2)     \
    X(112, 128, 2) X(128, 144, 2) X(144, 160, 2) X(160, 176, 2) X(176, 192, 2) X(192, 208, 2)      \
    X(208, 224, 2) X(224, 256, 2) X(256, 288, 2) X(288, 320, 2) X(320, 352, 2) X(352, 384, 2)      \
    X(384, 416, 2) X(416, 464, 2) X(464, 512, 2) X(512, 576, 2) X(576, 640, 2) X(640, 704, 2)      \
    X(704, 768, 2) X(768, 848, 2) X(848, 960, 2) X(960, 1024, 2) X(1024, 1152, 2)                  \
    X(1152, 1248, 2) X(1248, 1344, 2) X(1344, 1472, 2) X(1472, 1632, 2) X(1632, 1792, 2)           \
    X(1792, 2048, 2) X(2048, 2304, 4) X(2304, 2624, 9) X(2624, 2944, 4) X(2944, 3264, 4)           \
    X(3264, 3712, 5) X(3712, 4096, 4) X(4096, 4608, 8) X(4608, 5248, 9) X(5248, 5952, 8)           \
    X(5952, 6784, 10) X(6784, 7744, 18) X(7744, 8192, 8) X(8192, 9280, 15) X(9280, 10560, 13)      \
    X(10560, 11968, 19) X(11968, 13632, 15) X(13632, 15552, 19) X(15552, 16384, 16)                \
    X(16384, 18624, 23) X(18624, 21248, 21) X(21248, 24256, 24) X(24256, 27712, 31)                \
    X(27712, 31616, 31) X(31616, 32768, 32)

enum {
    SIZECLASS_NONE, // not plain small memory
#define X(previous, bytes, pages) SIZECLASS_OF_##bytes,
    SIZECLASS_TABLE(X)
#undef X
    SIZECLASS_COUNT
};

/* A class as the fast path carries it: its number times 4, so that one address mode with the
 * factor 8 reaches a thread's 32-byte list of the class, and a byte still holds it. */
enum { SIZECLASS_CODE_SCALE = 4, SIZECLASS_CODE_COUNT = SIZECLASS_COUNT * SIZECLASS_CODE_SCALE };
static_assert(SIZECLASS_CODE_COUNT <= 256, "a class's code fits a byte");

struct sizeclass {
    uint32_t bytes;
    uint16_t slab_pages;
    uint16_t slab_objects;
    uint64_t reciprocal;     // ceil(2^40 / bytes): divides offsets within a slab exactly
    uint16_t batch_first;    // objects a thread's list starts with
    uint16_t batch_max;      // and may grow to
    uint16_t fill_shift;     // objects out >> fill_shift: how full a slab is, in SLAB_FILLS steps
};

extern HPM_HIDDEN const struct sizeclass sizeclass_table[SIZECLASS_COUNT];
extern HPM_HIDDEN const uint8_t sizeclass_codes[SMALL_MAX_BYTES / OBJECT_ALIGNMENT + 1];

/* `bytes` is at most SMALL_MAX_BYTES. */
HPM_INLINE unsigned sizeclass_code_of(size_t bytes)
{
    return sizeclass_codes[(bytes + OBJECT_ALIGNMENT - 1) / OBJECT_ALIGNMENT];
}

HPM_INLINE unsigned sizeclass_from_code(unsigned code)
{
    return code / SIZECLASS_CODE_SCALE;
}

HPM_INLINE unsigned sizeclass_code(unsigned class)
{
    return class * SIZECLASS_CODE_SCALE;
}

HPM_INLINE size_t sizeclass_bytes(unsigned class)
{
    return sizeclass_table[class].bytes;
}

/* The code of the smallest class that holds `bytes` and whose objects are all multiples of
 * `alignment` (a power of two); 0 when no class does. */
unsigned sizeclass_code_aligned(size_t bytes, size_t alignment);

HPM_INLINE size_t pages_for(size_t bytes)
{
    return (bytes + HEAP_PAGE_BYTES - 1) >> HEAP_PAGE_SHIFT;
}

HPM_INLINE size_t bytes_of_pages(size_t pages)
{
    return pages << HEAP_PAGE_SHIFT;
}

#endif
