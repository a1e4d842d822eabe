#include "report/huffman.h"

#include <string.h>

#include "base/sort.h"

enum {
    BLOCK_END = 256,
    FIRST_LENGTH = 257,
    LAST_LENGTH = 285,
    LITERALS = 286,
    DISTANCES = 30,
    RUNS = 19, // how the code lengths of a block are themselves coded
    RUN_REPEAT = 16,
    RUN_ZEROES = 17,
    RUN_MANY_ZEROES = 18,
    CODE_BITS_MAX = 15,
    RUN_BITS_MAX = 7,
};

/* A code over symbols, from how often each occurs. */
struct code {
    uint32_t occurrences[LITERALS];
    uint8_t lengths[LITERALS]; // in bits; 0: does not occur
    uint16_t bits[LITERALS];   // the first to be sent in the lowest place
};

/* A symbol of any of the codes, and the bits behind it that tell values of one symbol apart. */
struct coded {
    unsigned symbol, extra, extra_bits;
};

static struct {
    struct code literals, distances, runs;

    /* The tree that is being built: leaves, the rarest first, then the nodes above them. */
    uint64_t leaves[LITERALS]; // occurrences, and below them the symbol
    uint32_t weights[2 * LITERALS];
    uint16_t parents[2 * LITERALS];
    uint8_t depths[2 * LITERALS];

    /* The code lengths of a block, and the same in runs. */
    uint8_t lengths[LITERALS + DISTANCES];
    uint8_t run_symbols[LITERALS + DISTANCES], run_extras[LITERALS + DISTANCES];
    size_t run_count;
} block;

void bits_put(struct bit_stream *stream, uint32_t value, unsigned count)
{
    stream->bits |= (uint64_t)value << stream->count;
    stream->count += count;
    if (stream->count >= 32) {
        output_write(stream->output, &stream->bits, 4);
        stream->bits >>= 32;
        stream->count -= 32;
    }
}

void bits_fill_byte(struct bit_stream *stream)
{
    bits_put(stream, 0, (8 - stream->count % 8) % 8);
}

void bits_flush(struct bit_stream *stream)
{
    output_write(stream->output, &stream->bits, stream->count / 8);
    stream->count = 0;
}

static unsigned log2_of(size_t n)
{
    return 63 - (unsigned)__builtin_clzl(n);
}

static unsigned low_bits(size_t value, unsigned count)
{
    return (unsigned)(value & (((size_t)1 << count) - 1));
}

/* From 8 on, four lengths' codes share a number of extra bits. */
static struct coded code_of_length(size_t length)
{
    size_t above = length - MATCH_MIN;
    if (length == MATCH_MAX)
        return (struct coded){LAST_LENGTH, 0, 0};
    if (above < 8)
        return (struct coded){FIRST_LENGTH + (unsigned)above, 0, 0};
    unsigned extra_bits = log2_of(above) - 2;
    unsigned symbol = FIRST_LENGTH + 4 * (extra_bits + 1) + (above >> extra_bits & 3);
    return (struct coded){symbol, low_bits(above, extra_bits), extra_bits};
}

/* From 4 on, two distances' codes share a number of extra bits. */
static struct coded code_of_distance(size_t above)
{
    if (above < 4)
        return (struct coded){(unsigned)above, 0, 0};
    unsigned extra_bits = log2_of(above) - 1;
    unsigned symbol = 2 * (extra_bits + 1) + (above >> extra_bits & 1);
    return (struct coded){symbol, low_bits(above, extra_bits), extra_bits};
}

/* Readers disagree about codes of fewer than two symbols: there are always two. */
static size_t sort_leaves(struct code *code, size_t symbols)
{
    size_t count = 0;
    for (size_t i = 0; i < symbols; i++)
        count += code->occurrences[i] != 0;
    for (size_t i = 0; count < 2; i++) {
        count += code->occurrences[i] == 0;
        code->occurrences[i] += code->occurrences[i] == 0;
    }
    count = 0;
    for (size_t i = 0; i < symbols; i++) {
        if (code->occurrences[i] != 0)
            block.leaves[count++] = (uint64_t)code->occurrences[i] << 16 | i;
    }
    sort_words(block.leaves, count);
    return count;
}

/* Joins the two lightest of all until one is left. Nodes are made in the order of their weights, so
 * the lightest is the first of the leaves or the first of the nodes not yet joined. */
static void join_leaves(size_t count)
{
    size_t leaf = 0, node = count;
    for (size_t i = 0; i < count; i++)
        block.weights[i] = (uint32_t)(block.leaves[i] >> 16);
    for (size_t next = count; next < 2 * count - 1; next++) {
        block.weights[next] = 0;
        for (int i = 0; i < 2; i++) {
            bool is_leaf =
                leaf < count && (node == next || block.weights[leaf] <= block.weights[node]);
            size_t lightest = is_leaf ? leaf++ : node++;
            block.parents[lightest] = (uint16_t)next;
            block.weights[next] += block.weights[lightest];
        }
    }
}

/* Huffman's code; returns how many bits its longest word has. */
static unsigned measure_lengths(struct code *code, size_t symbols)
{
    size_t count = sort_leaves(code, symbols);
    join_leaves(count);
    block.depths[2 * count - 2] = 0;
    for (size_t i = 2 * count - 2; i-- > 0;)
        block.depths[i] = block.depths[block.parents[i]] + 1;
    memset(code->lengths, 0, sizeof(code->lengths));
    for (size_t i = 0; i < count; i++)
        code->lengths[block.leaves[i] & 0xffff] = block.depths[i];
    return block.depths[0];
}

/* Words of one length follow one another as numbers, and those of the next length follow these. */
static void number_words(struct code *code, size_t symbols)
{
    uint32_t next = 0;
    for (unsigned length = 1; length <= CODE_BITS_MAX; length++, next <<= 1) {
        for (size_t i = 0; i < symbols; i++) {
            if (code->lengths[i] != length)
                continue;
            uint32_t reversed = 0;
            for (unsigned bit = 0; bit < length; bit++)
                reversed |= (next >> bit & 1) << (length - 1 - bit);
            code->bits[i] = (uint16_t)reversed;
            next++;
        }
    }
}

/* Where the rarest symbols' words come out too long, occurrences are levelled until they fit. */
static void make_code(struct code *code, size_t symbols, unsigned bits_max)
{
    while (measure_lengths(code, symbols) > bits_max) {
        for (size_t i = 0; i < symbols; i++)
            code->occurrences[i] = (code->occurrences[i] + 1) / 2;
    }
    number_words(code, symbols);
}

static void count_tokens(const uint32_t *tokens, size_t count)
{
    memset(&block, 0, sizeof(block));
    block.literals.occurrences[BLOCK_END] = 1;
    for (size_t i = 0; i < count; i++) {
        size_t length = tokens[i] >> 16;
        if (length == 0) {
            block.literals.occurrences[tokens[i]]++;
            continue;
        }
        block.literals.occurrences[code_of_length(length).symbol]++;
        block.distances.occurrences[code_of_distance(tokens[i] & 0xffff).symbol]++;
    }
}

static void add_run(unsigned symbol, size_t extra)
{
    block.run_symbols[block.run_count] = (uint8_t)symbol;
    block.run_extras[block.run_count++] = (uint8_t)extra;
    block.runs.occurrences[symbol]++;
}

/* Adds the first of `same` equal lengths, and more when there is a run for them; returns how many
 * it added. The repeat of a length other than 0 needs that length before it. */
static size_t add_lengths(unsigned length, size_t same, bool is_repeat)
{
    if (length == 0 && same >= 11) {
        same = min_size(same, 138);
        add_run(RUN_MANY_ZEROES, same - 11);
    } else if (length == 0 && same >= 3) {
        add_run(RUN_ZEROES, same - 3);
    } else if (length != 0 && is_repeat && same >= 3) {
        same = min_size(same, 6);
        add_run(RUN_REPEAT, same - 3);
    } else {
        same = 1;
        add_run(length, 0);
    }
    return same;
}

static void make_runs(size_t count)
{
    for (size_t at = 0; at < count;) {
        unsigned length = block.lengths[at];
        size_t same = 1;
        while (at + same < count && block.lengths[at + same] == length)
            same++;
        at += add_lengths(length, same, at > 0 && block.lengths[at - 1] == length);
    }
    make_code(&block.runs, RUNS, RUN_BITS_MAX);
}

static void put_symbol(struct bit_stream *stream, const struct code *code, unsigned symbol)
{
    bits_put(stream, code->bits[symbol], code->lengths[symbol]);
}

static void put_coded(struct bit_stream *stream, const struct code *code, struct coded coded)
{
    put_symbol(stream, code, coded.symbol);
    bits_put(stream, coded.extra, coded.extra_bits);
}

static void put_runs(struct bit_stream *stream)
{
    for (size_t i = 0; i < block.run_count; i++) {
        unsigned symbol = block.run_symbols[i];
        put_symbol(stream, &block.runs, symbol);
        if (symbol >= RUN_REPEAT)
            bits_put(stream, block.run_extras[i],
                     symbol == RUN_REPEAT   ? 2
                     : symbol == RUN_ZEROES ? 3
                                            : 7);
    }
}

/* The codes, told by the lengths of their words, and these in runs. The lengths of the runs' own
 * words are sent in an order that puts those seldom used last, where they can be left out. */
static void put_codes(struct bit_stream *stream)
{
    static const uint8_t order[RUNS] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                        11, 4,  12, 3, 13, 2, 14, 1, 15};
    size_t literals = LITERALS, distances = DISTANCES, runs = RUNS;
    while (block.literals.lengths[literals - 1] == 0)
        literals--;
    while (block.distances.lengths[distances - 1] == 0)
        distances--;
    memcpy(block.lengths, block.literals.lengths, literals);
    memcpy(block.lengths + literals, block.distances.lengths, distances);
    make_runs(literals + distances);
    while (runs > 4 && block.runs.lengths[order[runs - 1]] == 0)
        runs--;
    bits_put(stream, (uint32_t)literals - 257, 5);
    bits_put(stream, (uint32_t)distances - 1, 5);
    bits_put(stream, (uint32_t)runs - 4, 4);
    for (size_t i = 0; i < runs; i++)
        bits_put(stream, block.runs.lengths[order[i]], 3);
    put_runs(stream);
}

static void put_tokens(struct bit_stream *stream, const uint32_t *tokens, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = tokens[i] >> 16;
        if (length == 0) {
            put_symbol(stream, &block.literals, tokens[i]);
            continue;
        }
        put_coded(stream, &block.literals, code_of_length(length));
        put_coded(stream, &block.distances, code_of_distance(tokens[i] & 0xffff));
    }
    put_symbol(stream, &block.literals, BLOCK_END);
}

void huffman_put_block(struct bit_stream *stream, const uint32_t *tokens, size_t count)
{
    count_tokens(tokens, count);
    make_code(&block.literals, LITERALS, CODE_BITS_MAX);
    make_code(&block.distances, DISTANCES, CODE_BITS_MAX);
    bits_put(stream, 4, 3);
    put_codes(stream);
    put_tokens(stream, tokens, count);
}

/* An empty block in the fixed code, in which the end is seven zeroes. */
void huffman_put_end(struct bit_stream *stream)
{
    bits_put(stream, 3, 3);
    bits_put(stream, 0, 7);
}
