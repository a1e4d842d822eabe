/* Random calls of the allocator, each answer held against what must be so: a block is aligned, as long
 * as asked for, zeroed where that was promised, and nobody else writes into it while it lives. What a
 * block should hold is known from its seed, kept apart from it; two blocks that overlap spoil each
 * other's.
 *
 * A player has slots of its own and shares mailboxes with the others: what is put into one is freed,
 * resized or kept by whoever finds it. Moves come from a seed, or from the bytes of a fuzzer. */
#ifndef HPM_TESTS_ORACLE_H
#define HPM_TESTS_ORACLE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hpmalloc.h"

enum { ORACLE_SLOTS = 512, ORACLE_MAILBOXES = 256 };
enum { WHOLE_MAX = 1024, HEAD_WORDS = 32, SPARSE_WORDS = 32, HUGE_SPARSE_WORDS = 8192 };
#define ORACLE_HUGE_MIN ((size_t)32 << 20)

enum how { HOW_PLAIN, HOW_ALIGNED };

struct oracle_block {
    unsigned char *start; // NULL: none
    size_t bytes;         // as asked for
    size_t alignment;
    uint64_t seed;
    enum how how; // what a sized free has to be told
};

struct oracle_mailbox {
    atomic_flag is_taken;
    struct oracle_block block;
};

struct oracle_player {
    struct oracle_block slots[ORACLE_SLOTS];
    uint64_t random;
    const uint8_t *input, *input_end; // NULL: by the seed
    size_t bytes_max;                 // of a block
};

static struct oracle_mailbox oracle_mailboxes[ORACLE_MAILBOXES];
static const char *oracle_replay = "";

/* By the allocator's own names where malloc is not replaced. */
#ifdef HPM_REPLACE
#include <malloc.h>
void free_sized(void *block, size_t bytes);
void free_aligned_sized(void *block, size_t alignment, size_t bytes);
#else
#define malloc                    hpm_malloc
#define calloc                    hpm_calloc
#define realloc                   hpm_realloc
#define reallocarray(p, n, bytes) hpm_realloc((p), (n) * (bytes))
#define aligned_alloc             hpm_aligned_alloc
#define memalign                  hpm_aligned_alloc
#define posix_memalign(p, a, n)   ((*(p) = hpm_aligned_alloc((a), (n))) != NULL ? 0 : ENOMEM)
#define free                      hpm_free
#define free_sized                hpm_free_sized
#define free_aligned_sized(p, a, n) hpm_free(p)
#define malloc_usable_size        hpm_usable_size
#endif

static inline void oracle_fail(const char *what, const struct oracle_block *block, size_t at)
{
    fprintf(stderr, "oracle: %s: block %p of %zu bytes aligned to %zu, byte %zu; again: %s\n", what,
            (void *)block->start, block->bytes, block->alignment, at, oracle_replay);
    abort();
}

/* A number of `bits` bits; the end of the input is all zeroes. */
static inline uint64_t oracle_draw(struct oracle_player *player, unsigned bits)
{
    if (player->input == NULL) {
        player->random = player->random * 6364136223846793005u + 1442695040888963407u;
        return player->random >> (64 - bits);
    }
    uint64_t number = 0;
    for (unsigned got = 0; got < bits && player->input < player->input_end; got += 8)
        number = number << 8 | *player->input++;
    return number & (((uint64_t)1 << bits) - 1);
}

static inline uint64_t oracle_word(uint64_t seed, size_t at)
{
    return (seed + at) * 0x9e3779b97f4a7c15u;
}

/* The offsets of the words that are written and checked: all of a short block; of a long one the
 * first, which must meet those of any block that it lies in, and one in so many. */
static inline size_t oracle_next(size_t at, size_t bytes)
{
    if (bytes <= WHOLE_MAX || at < (HEAD_WORDS - 1) * sizeof(uint64_t))
        return at + sizeof(uint64_t);
    size_t sparse = bytes < ORACLE_HUGE_MIN ? SPARSE_WORDS : HUGE_SPARSE_WORDS;
    size_t step = sparse * sizeof(uint64_t);
    return (at / step + 1) * step;
}

static inline void oracle_put(unsigned char *at, uint64_t word, size_t bytes)
{
    memcpy(at, &word, bytes);
}

/* The last bytes are always written. */
static inline void oracle_fill(const struct oracle_block *block)
{
    size_t words = block->bytes & ~(sizeof(uint64_t) - 1);
    for (size_t at = 0; at < words; at = oracle_next(at, block->bytes))
        oracle_put(block->start + at, oracle_word(block->seed, at), sizeof(uint64_t));
    oracle_put(block->start + words, oracle_word(block->seed, words), block->bytes - words);
    if (block->bytes > WHOLE_MAX)
        oracle_put(block->start + words - 8, oracle_word(block->seed, words - 8), 8);
}

static inline void oracle_check_word(const struct oracle_block *block, size_t at, size_t bytes)
{
    uint64_t is, should_be = oracle_word(block->seed, at);
    memcpy(&is, block->start + at, sizeof(is) < bytes ? sizeof(is) : bytes);
    if (memcmp(&is, &should_be, bytes) != 0)
        oracle_fail("contents changed", block, at);
}

/* The first `bytes` of it; past them a realloc may have cut it. */
static inline void oracle_check(const struct oracle_block *block, size_t bytes)
{
    size_t words = bytes & ~(sizeof(uint64_t) - 1), all = block->bytes & ~(sizeof(uint64_t) - 1);
    for (size_t at = 0; at < words; at = oracle_next(at, block->bytes))
        oracle_check_word(block, at, sizeof(uint64_t));
    if (words == all && bytes == block->bytes) {
        oracle_check_word(block, words, bytes - words);
        if (bytes > WHOLE_MAX)
            oracle_check_word(block, words - 8, 8);
    }
}

static inline void oracle_check_zeroed(const struct oracle_block *block)
{
    size_t step = block->bytes < ORACLE_HUGE_MIN ? 1 : 4096;
    for (size_t at = 0; at < block->bytes; at += step) {
        if (block->start[at] != 0)
            oracle_fail("calloc is not zeroed", block, at);
    }
}

static inline void oracle_accept(struct oracle_block *block, struct oracle_player *player)
{
    if (block->start == NULL)
        oracle_fail("no memory", block, 0);
    if ((uintptr_t)block->start % block->alignment != 0)
        oracle_fail("not aligned", block, 0);
    if (malloc_usable_size(block->start) < block->bytes)
        oracle_fail("shorter than asked for", block, 0);
    block->seed = oracle_draw(player, 24);
    oracle_fill(block);
}

static inline size_t oracle_bytes(struct oracle_player *player)
{
    uint64_t dice = oracle_draw(player, 16), number = oracle_draw(player, 24);
    if (dice < 40000)
        return number % 257;
    if (dice < 60000)
        return number % 2049;
    if (dice < 65300)
        return number % 16385;
    if (dice < 65500)
        return number % (64 << 10);
    if (dice < 65534)
        return number % (600 << 10) % player->bytes_max;
    size_t bytes = ORACLE_HUGE_MIN + number % (2 << 20);
    return oracle_draw(player, 5) == 0 && bytes < player->bytes_max ? bytes : number % 100;
}

/* Blocks of up to 8 bytes may be aligned to 8. */
static inline size_t natural_alignment(size_t bytes)
{
    return bytes <= 8 ? 8 : 16;
}

static inline size_t random_alignment(struct oracle_player *player)
{
    uint64_t shift = oracle_draw(player, 4);
    return (size_t)8 << (shift < 15 ? shift % 7 : 7 + oracle_draw(player, 3));
}

static inline void alloc_aligned(struct oracle_block *block, struct oracle_player *player)
{
    void *start = NULL;
    size_t alignment = block->alignment = random_alignment(player);
    block->how = HOW_ALIGNED;
    switch (oracle_draw(player, 2)) {
    case 0:
        start = posix_memalign(&start, alignment, block->bytes) == 0 ? start : NULL;
        break;
    case 1:
        start = memalign(alignment, block->bytes);
        break;
    case 2:
        start = hpm_aligned_alloc(alignment, block->bytes);
        break;
    default:
        start = aligned_alloc(alignment, block->bytes);
    }
    block->start = start;
}

static inline void oracle_alloc(struct oracle_block *block, struct oracle_player *player)
{
    size_t bytes = oracle_bytes(player);
    *block = (struct oracle_block){.bytes = bytes, .alignment = natural_alignment(bytes)};
    uint64_t dice = oracle_draw(player, 4);
    if (dice == 0) {
        alloc_aligned(block, player);
    } else if (dice <= 2) {
        block->start = dice == 1 ? calloc(1, bytes) : hpm_calloc(bytes, 1);
        if (block->start != NULL)
            oracle_check_zeroed(block);
    } else if (dice == 3) {
        block->start = hpm_malloc(bytes);
    } else if (dice == 4) {
        block->start = realloc(NULL, bytes);
    } else {
        block->start = malloc(bytes);
    }
    oracle_accept(block, player);
}

static inline void oracle_free(struct oracle_block *block, struct oracle_player *player)
{
    uint64_t dice = oracle_draw(player, 3);
    oracle_check(block, block->bytes);
    if (dice <= 1 && block->how == HOW_PLAIN)
        free_sized(block->start, block->bytes);
    else if (dice == 2 && block->how == HOW_PLAIN)
        hpm_free_sized(block->start, block->bytes);
    else if (dice <= 2)
        free_aligned_sized(block->start, block->alignment, block->bytes);
    else if (dice == 3)
        hpm_free(block->start);
    else
        free(block->start);
    block->start = NULL;
}

static inline void oracle_resize(struct oracle_block *block, struct oracle_player *player)
{
    struct oracle_block old = *block;
    size_t bytes = oracle_bytes(player);
    oracle_check(block, block->bytes);
    if (bytes == 0) {
        oracle_free(block, player);
        return;
    }
    uint64_t dice = oracle_draw(player, 2);
    void *start = dice == 0   ? reallocarray(block->start, bytes, 1)
                  : dice == 1 ? hpm_realloc(block->start, bytes)
                              : realloc(block->start, bytes);
    old.start = start;
    if (start == NULL)
        oracle_fail("no memory to resize", block, 0);
    oracle_check(&old, bytes < old.bytes ? bytes : old.bytes);
    *block = (struct oracle_block){
        .start = start, .bytes = bytes, .alignment = natural_alignment(bytes)};
    oracle_accept(block, player);
}

/* What lies in the mailbox, and what is at hand, change places. */
static inline void oracle_hand_over(struct oracle_block *block, struct oracle_player *player)
{
    struct oracle_mailbox *box = &oracle_mailboxes[oracle_draw(player, 8) % ORACLE_MAILBOXES];
    if (atomic_flag_test_and_set_explicit(&box->is_taken, memory_order_acquire))
        return;
    struct oracle_block found = box->block;
    box->block = *block;
    *block = found;
    atomic_flag_clear_explicit(&box->is_taken, memory_order_release);
}

static inline void oracle_step(struct oracle_player *player)
{
    struct oracle_block *block = &player->slots[oracle_draw(player, 9) % ORACLE_SLOTS];
    uint64_t dice = oracle_draw(player, 4);
    if (dice <= 1)
        oracle_hand_over(block, player);
    else if (block->start == NULL)
        oracle_alloc(block, player);
    else if (dice == 2)
        oracle_resize(block, player);
    else
        oracle_free(block, player);
}

static inline void oracle_free_all(struct oracle_player *player)
{
    for (size_t i = 0; i < ORACLE_SLOTS; i++) {
        if (player->slots[i].start != NULL)
            oracle_free(&player->slots[i], player);
    }
}

static inline void oracle_empty_mailboxes(struct oracle_player *player)
{
    for (size_t i = 0; i < ORACLE_MAILBOXES; i++) {
        if (oracle_mailboxes[i].block.start != NULL)
            oracle_free(&oracle_mailboxes[i].block, player);
    }
}

#endif
