/* A loop of malloc and free and nothing else, for bench/instructions to count under callgrind.
 * The objects are not touched: every instruction beside the loop's is the allocator's. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZES = 4096, BATCH = 64, LOW_BYTES = 16, HIGH_BYTES = 256 };

static uint16_t size_table[SIZES];

static void sizes_init(void)
{
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < SIZES; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        size_table[i] = (uint16_t)(LOW_BYTES + random % (HIGH_BYTES - LOW_BYTES + 1));
    }
}

/* The compiler would leave out a block that nobody looks at. */
static inline void *seen(void *object)
{
    __asm__ volatile("" : "+r"(object) : : "memory");
    return object;
}

/* Named by bench/instructions, which looks for the calls that these two make. */
__attribute__((noinline)) static void loop_immediate(size_t pairs)
{
    for (size_t i = 0; i < pairs; i++)
        free(seen(malloc(size_table[i % SIZES])));
}

__attribute__((noinline)) static void loop_batch(size_t pairs)
{
    void *object[BATCH];
    for (size_t i = 0; i < pairs; i += BATCH) {
        for (size_t k = 0; k < BATCH; k++)
            object[k] = seen(malloc(size_table[(i + k) % SIZES]));
        for (size_t k = 0; k < BATCH; k++)
            free(object[k]);
    }
}

static void usage(FILE *out)
{
    fputs(
        "usage: pairs immediate|batch PAIRS\n"
        "\n"
        "Makes and frees blocks of 16-256 bytes, sizes from a table that is always the same: each\n"
        "freed at once (immediate), or 64 made and then freed in the same order (batch).\n"
        "bench/instructions counts what that takes.\n"
        "\n"
        "example: pairs batch 1000000\n",
        out);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    size_t pairs = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    sizes_init();
    if (pairs > 0 && strcmp(argv[1], "immediate") == 0) {
        loop_immediate(pairs);
    } else if (pairs > 0 && strcmp(argv[1], "batch") == 0) {
        loop_batch(pairs);
    } else {
        usage(stderr);
        return 2;
    }
    return 0;
}
