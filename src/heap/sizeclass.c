#include "heap/sizeclass.h"

enum {
    BATCH_FIRST_BYTES = 4096,
    BATCH_FIRST_OBJECTS = 32,
    BATCH_MAX_BYTES = 32768,
    BATCH_MAX_OBJECTS = 512,
    BATCH_MIN_OBJECTS = 1,
};

#define CLAMP(n, low, high) ((n) < (low) ? (low) : (n) > (high) ? (high) : (n))

/* log2 of the objects of a slab, rounded up, less the 3 that make 8 steps. */
#define FILL_SHIFT(objects) (29 - __builtin_clz((objects)-1))

#define X(previous, size, pages)                                                                   \
    {                                                                                              \
        .bytes = (size),                                                                           \
        .slab_pages = (pages),                                                                     \
        .slab_objects = (pages)*HEAP_PAGE_BYTES / (size),                                          \
        .reciprocal = (((uint64_t)1 << 40) + (size)-1) / (size),                                   \
        .batch_first = CLAMP(BATCH_FIRST_BYTES / (size), BATCH_MIN_OBJECTS, BATCH_FIRST_OBJECTS),  \
        .batch_max = CLAMP(BATCH_MAX_BYTES / (size), BATCH_MIN_OBJECTS, BATCH_MAX_OBJECTS),        \
        .fill_shift = FILL_SHIFT((pages)*HEAP_PAGE_BYTES / (size)),                                \
    },
const struct sizeclass sizeclass_table[SIZECLASS_COUNT] = {{0}, SIZECLASS_TABLE(X)};
#undef X

#define X(previous, bytes, pages)                                                                  \
    [(previous) / OBJECT_ALIGNMENT + 1 ...(bytes) / OBJECT_ALIGNMENT] =                            \
        SIZECLASS_OF_##bytes * SIZECLASS_CODE_SCALE,
const uint8_t sizeclass_codes[SMALL_MAX_BYTES / OBJECT_ALIGNMENT + 1] = {
    [0] = SIZECLASS_OF_16 * SIZECLASS_CODE_SCALE, SIZECLASS_TABLE(X)};
#undef X

unsigned sizeclass_code_aligned(size_t bytes, size_t alignment)
{
    if (alignment > HEAP_PAGE_BYTES || bytes > SMALL_MAX_BYTES)
        return 0;
    size_t rounded = round_up(max_size(bytes, 1), alignment);
    if (rounded > SMALL_MAX_BYTES)
        return 0;
    unsigned class = sizeclass_from_code(sizeclass_code_of(rounded));
    while (sizeclass_bytes(class) % alignment != 0)
        class++;
    return sizeclass_code(class);
}
