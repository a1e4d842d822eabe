#include "inflate.h"

#include <stdlib.h>
#include <string.h>

enum {
    FAST_BITS = 10,
    CODE_BITS_MAX = 15,
    LITERALS = 288,
    DISTANCES = 32,
    LENGTH_CODES = 19,
    END_OF_BLOCK = 256,
    COPY_MAX = 258,
};

/* A prefix code: short ones by a table of what comes next, longer ones by counting (a code of n
 * bits is one of `count[n]` in a row). */
struct code {
    uint16_t fast[1 << FAST_BITS]; // symbol << 4 | bits; 0: longer, or none
    uint16_t count[CODE_BITS_MAX + 1], symbols[LITERALS];
};

struct inflater {
    const uint8_t *next, *limit;
    uint64_t bits; // not yet used, the next one lowest
    unsigned bit_count;
    size_t missing_bits; // that were made up behind the end
    uint8_t *out;
    size_t out_bytes, capacity, member_start;
    const char *trouble;
    struct code literals, distances;
};

static bool fail(struct inflater *in, const char *trouble)
{
    if (in->trouble == NULL)
        in->trouble = trouble;
    return false;
}

/* Eight bytes at once where there are as many: what the buffer has no room for is read again. */
static void refill(struct inflater *in)
{
    if (in->limit - in->next >= 8) {
        uint64_t ahead;
        memcpy(&ahead, in->next, sizeof(ahead));
        in->bits |= ahead << in->bit_count;
        in->next += (63 - in->bit_count) >> 3;
        in->bit_count |= 56;
        return;
    }
    while (in->bit_count <= 56) {
        if (in->next < in->limit)
            in->bits |= (uint64_t)*in->next++ << in->bit_count;
        else
            in->missing_bits += 8;
        in->bit_count += 8;
    }
}

static unsigned take_bits(struct inflater *in, unsigned count)
{
    if (in->bit_count < count)
        refill(in);
    unsigned value = (unsigned)(in->bits & ((1u << count) - 1));
    in->bits >>= count;
    in->bit_count -= count;
    return value;
}

static bool is_past_end(const struct inflater *in)
{
    return in->missing_bits > in->bit_count;
}

static unsigned reversed(unsigned code, unsigned bits)
{
    unsigned result = 0;
    for (unsigned i = 0; i < bits; i++)
        result |= (code >> i & 1) << (bits - 1 - i);
    return result;
}

/* False: more codes than there is room for. Fewer are allowed: a lone distance needs one bit. */
static bool has_room(const struct code *code)
{
    int left = 1;
    for (unsigned bits = 1; bits <= CODE_BITS_MAX; bits++) {
        left = 2 * left - code->count[bits];
        if (left < 0)
            return false;
    }
    return true;
}

static void fill_fast(struct code *code, unsigned value, unsigned symbol, unsigned bits)
{
    for (unsigned at = reversed(value, bits); at < 1u << FAST_BITS; at += 1u << bits)
        code->fast[at] = (uint16_t)(symbol << 4 | bits);
}

static bool build(struct code *code, const uint8_t *lengths, unsigned count)
{
    uint16_t place[CODE_BITS_MAX + 2] = {0};
    memset(code, 0, sizeof(*code));
    for (unsigned i = 0; i < count; i++)
        code->count[lengths[i]]++;
    code->count[0] = 0;
    if (!has_room(code))
        return false;
    for (unsigned bits = 1; bits <= CODE_BITS_MAX; bits++)
        place[bits + 1] = (uint16_t)(place[bits] + code->count[bits]);
    for (unsigned i = 0; i < count; i++) {
        if (lengths[i] != 0)
            code->symbols[place[lengths[i]]++] = (uint16_t)i;
    }
    for (unsigned bits = 1, value = 0, at = 0; bits <= FAST_BITS; bits++, value <<= 1) {
        for (unsigned i = 0; i < code->count[bits]; i++)
            fill_fast(code, value++, code->symbols[at++], bits);
    }
    return true;
}

static int take_symbol_slow(struct inflater *in, const struct code *code)
{
    int value = 0, first = 0, at = 0;
    for (unsigned bits = 1; bits <= CODE_BITS_MAX; bits++) {
        value |= (int)take_bits(in, 1);
        if (value - first < code->count[bits])
            return code->symbols[at + value - first];
        at += code->count[bits];
        first = (first + code->count[bits]) << 1;
        value <<= 1;
    }
    return -1;
}

static inline int take_symbol(struct inflater *in, const struct code *code)
{
    if (in->bit_count < CODE_BITS_MAX)
        refill(in);
    unsigned entry = code->fast[in->bits & ((1u << FAST_BITS) - 1)];
    if (unlikely(entry == 0))
        return take_symbol_slow(in, code);
    in->bits >>= entry & 15;
    in->bit_count -= entry & 15;
    return (int)(entry >> 4);
}

/* Room for `bytes` more. */
static bool reserve(struct inflater *in, size_t bytes)
{
    if (likely(in->capacity - in->out_bytes >= bytes))
        return true;
    size_t wanted = max_size(2 * in->capacity, in->out_bytes + bytes + KiB);
    if (in->out_bytes + bytes > INFLATE_BYTES_MAX)
        return fail(in, "it unpacks to more than 2 GiB");
    uint8_t *larger = realloc(in->out, wanted);
    if (larger == NULL)
        return fail(in, "there is not enough memory to unpack it");
    in->out = larger;
    in->capacity = wanted;
    return true;
}

static bool copy_stored(struct inflater *in)
{
    take_bits(in, in->bit_count & 7);
    unsigned length = take_bits(in, 16), check = take_bits(in, 16);
    if (is_past_end(in))
        return fail(in, "it ends in the middle");
    if (length != (~check & 0xffff))
        return fail(in, "its packed data makes no sense");
    if (!reserve(in, length))
        return false;
    for (; length > 0; length--)
        in->out[in->out_bytes++] = (uint8_t)take_bits(in, 8);
    return !is_past_end(in) || fail(in, "it ends in the middle");
}

static bool copy_match(struct inflater *in, int symbol)
{
    static const uint16_t lengths[] = {3,  4,  5,  6,   7,   8,   9,   10,  11, 13,
                                       15, 17, 19, 23,  27,  31,  35,  43,  51, 59,
                                       67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint8_t length_bits[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                          2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    unsigned row = (unsigned)symbol - END_OF_BLOCK - 1;
    if (row >= array_count(lengths))
        return fail(in, "its packed data makes no sense");
    size_t length = lengths[row] + take_bits(in, length_bits[row]);
    int code = take_symbol(in, &in->distances);
    if (code < 0 || code > 29)
        return fail(in, "its packed data makes no sense");
    unsigned extra = code < 4 ? 0 : (unsigned)code / 2 - 1;
    size_t base = code < 4 ? (size_t)code + 1 : ((size_t)(2 + (code & 1)) << extra) + 1;
    size_t distance = base + take_bits(in, extra);
    if (distance > in->out_bytes - in->member_start)
        return fail(in, "its packed data makes no sense");
    uint8_t *target = in->out + in->out_bytes;
    const uint8_t *from = target - distance;
    for (size_t i = 0; i < length; i++)
        target[i] = from[i];
    in->out_bytes += length;
    return true;
}

static bool copy_coded(struct inflater *in)
{
    for (;;) {
        int symbol = take_symbol(in, &in->literals);
        if (unlikely(symbol < 0))
            return fail(in, "its packed data makes no sense");
        if (unlikely(is_past_end(in)))
            return fail(in, "it ends in the middle");
        if (symbol == END_OF_BLOCK)
            return true;
        if (!reserve(in, COPY_MAX))
            return false;
        if (symbol < END_OF_BLOCK)
            in->out[in->out_bytes++] = (uint8_t)symbol;
        else if (!copy_match(in, symbol))
            return false;
    }
}

static void set_fixed_codes(struct inflater *in)
{
    uint8_t lengths[LITERALS];
    memset(lengths, 8, 144);
    memset(lengths + 144, 9, 112);
    memset(lengths + 256, 7, 24);
    memset(lengths + 280, 8, 8);
    build(&in->literals, lengths, LITERALS);
    memset(lengths, 5, DISTANCES);
    build(&in->distances, lengths, DISTANCES);
}

/* Lengths of codes, themselves packed: 16 repeats the last, 17 and 18 are runs of nought. */
static bool take_lengths(struct inflater *in, uint8_t *lengths, unsigned count)
{
    for (unsigned at = 0; at < count;) {
        int symbol = take_symbol(in, &in->literals);
        if (symbol < 0 || (symbol == 16 && at == 0))
            return false;
        if (symbol < 16) {
            lengths[at++] = (uint8_t)symbol;
            continue;
        }
        uint8_t repeated = symbol == 16 ? lengths[at - 1] : 0;
        unsigned times = symbol == 16   ? 3 + take_bits(in, 2)
                         : symbol == 17 ? 3 + take_bits(in, 3)
                                        : 11 + take_bits(in, 7);
        if (times > count - at)
            return false;
        memset(lengths + at, repeated, times);
        at += times;
    }
    return true;
}

static bool take_codes(struct inflater *in)
{
    static const uint8_t order[LENGTH_CODES] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                11, 4,  12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[LITERALS + DISTANCES] = {0};
    unsigned literals = take_bits(in, 5) + 257, distances = take_bits(in, 5) + 1;
    unsigned count = take_bits(in, 4) + 4;
    for (unsigned i = 0; i < count; i++)
        lengths[order[i]] = (uint8_t)take_bits(in, 3);
    if (literals > 286 || !build(&in->literals, lengths, LENGTH_CODES))
        return false;
    memset(lengths, 0, sizeof(lengths));
    return take_lengths(in, lengths, literals + distances) &&
           build(&in->distances, lengths + literals, distances) &&
           build(&in->literals, lengths, literals);
}

static bool inflate_blocks(struct inflater *in)
{
    bool is_last = false, done = true;
    while (done && !is_last) {
        is_last = take_bits(in, 1);
        unsigned kind = take_bits(in, 2);
        if (kind == 0) {
            done = copy_stored(in);
            continue;
        }
        if (kind == 1)
            set_fixed_codes(in);
        else if (kind != 2 || !take_codes(in))
            return fail(in, is_past_end(in) ? "it ends in the middle"
                                            : "its packed data makes no sense");
        done = copy_coded(in);
    }
    return done;
}

static void fill_crc_table(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
        table[i] = value;
    }
}

static uint32_t crc_of(const uint8_t *data, size_t bytes)
{
    static uint32_t table[256];
    if (table[1] == 0)
        fill_crc_table(table);
    uint32_t crc = ~0u;
    for (size_t i = 0; i < bytes; i++)
        crc = crc >> 8 ^ table[(crc ^ data[i]) & 255];
    return ~crc;
}

static uint32_t adler_of(const uint8_t *data, size_t bytes)
{
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < bytes; i++) {
        a = (a + data[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

static uint32_t take_little(struct inflater *in)
{
    uint32_t low = take_bits(in, 16);
    return low | (uint32_t)take_bits(in, 16) << 16;
}

static void align(struct inflater *in)
{
    take_bits(in, in->bit_count & 7);
}

static bool check_gzip(struct inflater *in)
{
    align(in);
    const uint8_t *data = in->out + in->member_start;
    size_t bytes = in->out_bytes - in->member_start;
    uint32_t crc = take_little(in), length = take_little(in);
    if (is_past_end(in))
        return fail(in, "it ends in the middle");
    return (length == (uint32_t)bytes && crc == crc_of(data, bytes)) ||
           fail(in, "its checksum does not fit its data");
}

static bool skip_text(struct inflater *in)
{
    while (!is_past_end(in) && take_bits(in, 8) != 0)
        ;
    return !is_past_end(in);
}

static bool skip_gzip_header(struct inflater *in)
{
    enum { HEADER_CRC = 2, EXTRA = 4, NAME = 8, COMMENT = 16 };
    unsigned magic = take_bits(in, 16), method = take_bits(in, 8), flags = take_bits(in, 8);
    if (magic != 0x8b1f || method != 8)
        return fail(in, "what follows its packed data makes no sense");
    take_little(in);
    take_bits(in, 16);
    for (unsigned extra = flags & EXTRA ? take_bits(in, 16) : 0; extra > 0; extra--)
        take_bits(in, 8);
    bool done = (!(flags & NAME) || skip_text(in)) && (!(flags & COMMENT) || skip_text(in));
    take_bits(in, flags & HEADER_CRC ? 16 : 0);
    return (done && !is_past_end(in)) || fail(in, "it ends in the middle");
}

static bool is_at_end(struct inflater *in)
{
    refill(in);
    return in->missing_bits >= in->bit_count;
}

static bool inflate_members(struct inflater *in)
{
    do {
        in->member_start = in->out_bytes;
        if (!skip_gzip_header(in) || !inflate_blocks(in) || !check_gzip(in))
            return false;
    } while (!is_at_end(in));
    return true;
}

static bool inflate_zlib(struct inflater *in)
{
    take_bits(in, 16);
    if (!inflate_blocks(in))
        return false;
    align(in);
    uint32_t sum = __builtin_bswap32(take_little(in));
    if (is_past_end(in))
        return fail(in, "it ends in the middle");
    return sum == adler_of(in->out, in->out_bytes) ||
           fail(in, "its checksum does not fit its data");
}

enum wrapping inflate_wrapping(const uint8_t *data, size_t bytes)
{
    if (bytes >= 2 && data[0] == 0x1f && data[1] == 0x8b)
        return WRAPPING_GZIP;
    bool is_zlib = bytes >= 2 && (data[0] & 15) == 8 && data[0] >> 4 <= 7 &&
                   (data[0] << 8 | data[1]) % 31 == 0;
    return is_zlib && (data[1] & 32) == 0 ? WRAPPING_ZLIB : WRAPPING_NONE;
}

uint8_t *inflate_all(const uint8_t *data, size_t bytes, size_t *unpacked_bytes,
                     const char **trouble)
{
    struct inflater *in = calloc(1, sizeof(*in));
    if (in == NULL) {
        *trouble = "there is not enough memory to unpack it";
        return NULL;
    }
    in->next = data;
    in->limit = data + bytes;
    bool done =
        reserve(in, min_size(4 * bytes, 64 * MiB)) &&
        (inflate_wrapping(data, bytes) == WRAPPING_ZLIB ? inflate_zlib(in) : inflate_members(in));
    uint8_t *out = in->out;
    if (!done) {
        *trouble = in->trouble;
        free(out);
        out = NULL;
    }
    *unpacked_bytes = in->out_bytes;
    free(in);
    return out;
}
