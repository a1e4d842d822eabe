/* One thread, plain objects: what differs is the mix of sizes, the live set, the order of frees. */
#include "workload.h"

#include <stdlib.h>
#include <string.h>

/* One size, freed at once and from a small window: a tight loop on one list. */
static void run_one_size(double scale)
{
    enum { WINDOW = 256, BYTES = 64 };
    void *window[WINDOW] = {NULL};
    struct worker worker;
    worker_init(&worker, 1);
    for (size_t n = scaled(scale, 16000000); n > 0; n--) {
        drop(&worker, make(&worker, BYTES));
        size_t i = n % WINDOW;
        drop(&worker, window[i]);
        window[i] = make(&worker, BYTES);
    }
    for (int i = 0; i < WINDOW; i++)
        drop(&worker, window[i]);
    worker_end(&worker);
}

/* Replaces random members of a live set, sizes log-uniform. */
static void replace_at_random(double scale, size_t live, size_t repeats, size_t low, size_t high)
{
    void **object = take_zeroed(live, sizeof *object);
    struct worker worker;
    worker_init(&worker, live);
    for (size_t i = 0; i < live; i++)
        object[i] = make(&worker, random_bytes(&worker, low, high));
    for (size_t n = scaled(scale, repeats); n > 0; n--) {
        size_t i = random_below(&worker, live);
        drop(&worker, object[i]);
        object[i] = make(&worker, random_bytes(&worker, low, high));
    }
    for (size_t i = 0; i < live; i++)
        drop(&worker, object[i]);
    free(object);
    worker_end(&worker);
}

static void run_mixed_hot(double scale)
{
    replace_at_random(scale, 1000, 10000000, 16, 512);
}

static void run_mixed_cold(double scale)
{
    replace_at_random(scale, 400000, 1000000, 16, 1024);
}

/* Every size from 1 byte to 16 KiB comes by, so every class is refilled and none is hot. */
static void run_all_sizes(double scale)
{
    enum { LIVE = 4096, SIZES = 16 * KIB };
    struct {
        unsigned char *memory;
        size_t bytes;
    } *slot = take_zeroed(LIVE, sizeof *slot);
    size_t bytes = 1;
    for (size_t n = scaled(scale, 3500000); n > 0; n--) {
        size_t i = n % LIVE;
        unsigned char *old = slot[i].memory;
        if (old)
            require(old[0] == (unsigned char)slot[i].bytes && old[slot[i].bytes - 1] == old[0],
                    "a block was overwritten");
        free(old);
        bytes = (bytes * 5 + 7) % SIZES;
        slot[i].bytes = bytes + 1;
        slot[i].memory = take_memory(bytes + 1);
        memset(slot[i].memory, (int)(unsigned char)(bytes + 1), bytes < 64 ? bytes + 1 : 64);
        slot[i].memory[bytes] = (unsigned char)(bytes + 1);
    }
    for (size_t i = 0; i < LIVE; i++)
        free(slot[i].memory);
    free(slot);
}

/* A stack that grows and shrinks: what was made last is dropped first. */
static void run_lifo(double scale)
{
    enum { DEPTH = 20000 };
    void **stack = take_memory(DEPTH * sizeof *stack);
    struct worker worker;
    worker_init(&worker, 3);
    for (size_t round = scaled(scale, 1000); round > 0; round--) {
        size_t depth = 1 + random_below(&worker, DEPTH);
        for (size_t i = 0; i < depth; i++)
            stack[i] = make(&worker, random_bytes(&worker, 16, 256));
        while (depth > 0)
            drop(&worker, stack[--depth]);
    }
    free(stack);
    worker_end(&worker);
}

/* A pipeline: what was made first is dropped first, a fixed distance behind. */
static void run_fifo(double scale)
{
    enum { DISTANCE = 30000 };
    void **pipe = take_zeroed(DISTANCE, sizeof *pipe);
    struct worker worker;
    worker_init(&worker, 4);
    for (size_t n = scaled(scale, 6000000); n > 0; n--) {
        size_t i = n % DISTANCE;
        drop(&worker, pipe[i]);
        pipe[i] = make(&worker, random_bytes(&worker, 16, 512));
    }
    for (size_t i = 0; i < DISTANCE; i++)
        drop(&worker, pipe[i]);
    free(pipe);
    worker_end(&worker);
}

static void shuffle(struct worker *worker, void **object, size_t count)
{
    for (size_t i = count - 1; i > 0; i--) {
        size_t other = random_below(worker, i + 1);
        void *kept = object[i];
        object[i] = object[other];
        object[other] = kept;
    }
}

/* Fills, drops all in random order, fills again: lists come back scrambled. */
static void run_random_order(double scale)
{
    enum { COUNT = 100000 };
    void **object = take_memory(COUNT * sizeof *object);
    struct worker worker;
    worker_init(&worker, 5);
    for (size_t round = scaled(scale, 28); round > 0; round--) {
        for (size_t i = 0; i < COUNT; i++)
            object[i] = make(&worker, random_bytes(&worker, 16, 256));
        shuffle(&worker, object, COUNT);
        for (size_t i = 0; i < COUNT; i++)
            drop(&worker, object[i]);
    }
    free(object);
    worker_end(&worker);
}

/* Fills with one size, drops nine of ten at random, fills the room with another size: memory that
 * the first size cannot give back costs the second in full. */
static void run_phase_change(double scale)
{
    static const size_t phase_bytes[] = {48, 200, 80, 1000, 32, 3000, 120, 500};
    enum { PHASES = sizeof phase_bytes / sizeof phase_bytes[0], FILL_BYTES = 20 * MIB };
    struct worker worker;
    worker_init(&worker, 6);
    for (size_t round = scaled(scale, 1); round > 0; round--) {
        void **object[PHASES];
        for (int phase = 0; phase < PHASES; phase++) {
            size_t count = FILL_BYTES / phase_bytes[phase];
            object[phase] = take_zeroed(count, sizeof(void *));
            for (size_t i = 0; i < count; i++)
                object[phase][i] = make(&worker, phase_bytes[phase]);
            for (size_t n = count * 2; n > 0; n--) {
                size_t i = random_below(&worker, count);
                drop(&worker, object[phase][i]);
                object[phase][i] = NULL;
            }
        }
        settle();
        for (int phase = 0; phase < PHASES; phase++) {
            for (size_t i = 0; i < FILL_BYTES / phase_bytes[phase]; i++)
                drop(&worker, object[phase][i]);
            free(object[phase]);
        }
    }
    worker_end(&worker);
}

const struct workload single_workloads[] = {
    {"one-size", 1, "one class hot: 64 bytes, freed at once or 256 later", run_one_size, 0},
    {"mixed-hot", 1, "16-512 bytes, random replacement, live set in cache", run_mixed_hot, 0},
    {"mixed-cold", 1, "16-1024 bytes, random replacement, live set far out of cache",
     run_mixed_cold, 0},
    {"all-sizes", 1, "every size from 1 byte to 16 KiB in turn: no class is hot", run_all_sizes, 0},
    {"lifo", 1, "16-256 bytes, dropped in the reverse order", run_lifo, 0},
    {"fifo", 1, "16-512 bytes, dropped in the order made, 30000 later", run_fifo, 0},
    {"random-order", 1, "16-256 bytes, 100000 made, then dropped in random order", run_random_order,
     0},
    {"phase-change", 1, "fill with one size, drop 90 % at random, fill with another",
     run_phase_change, 1},
    {NULL, 0, NULL, NULL, 0},
};
