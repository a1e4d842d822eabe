#include "report/gzip.h"

#include <string.h>

#include "report/output.h"

enum {
    WINDOW_BYTES = 32 * 1024, // how far back deflate can refer
    HASH_BITS = 13,
    MATCH_MIN = 3,
    MATCH_MAX = 258,
    FAR_BYTES = 4096, // a match of three from further away is no shorter than its literals
    CHAIN_MAX = 48,   // places tried for a match
    LITERAL_COUNT = 256,
    BLOCK_END = 256,
    FIRST_LENGTH_CODE = 257,
    LAST_LENGTH_CODE = 285,
};

/* The window's first half is history, its second half is what came in and is not yet compressed.
 * A place in it is its index; 0 marks none, so the oldest byte is never referred to. */
static struct {
    struct output output;
    uint32_t crc, input_bytes;
    uint64_t bits; // not yet written, the first in the lowest place
    unsigned bit_count;
    size_t filled_bytes; // of the second half
    unsigned char window[2 * WINDOW_BYTES];
    uint16_t newest[1 << HASH_BITS]; // by hash of three bytes, the last place they were seen
    uint16_t previous[WINDOW_BYTES]; // by place modulo the window, the place before it
} gzip;

struct match {
    size_t length, distance;
};

/* Steps of the checksum by half bytes: 64 bytes of table do. */
static uint32_t crc_update(uint32_t crc, const unsigned char *data, size_t bytes)
{
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                       0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

/* Extra bits and headers go out with their lowest bit first. */
static void put_bits(uint32_t value, unsigned count)
{
    gzip.bits |= (uint64_t)value << gzip.bit_count;
    gzip.bit_count += count;
    if (gzip.bit_count >= 32) {
        output_write(&gzip.output, &gzip.bits, 4);
        gzip.bits >>= 32;
        gzip.bit_count -= 32;
    }
}

/* Codes go out with their highest bit first. */
static void put_code(uint32_t code, unsigned count)
{
    uint32_t reversed = 0;
    for (unsigned i = 0; i < count; i++)
        reversed |= (code >> i & 1) << (count - 1 - i);
    put_bits(reversed, count);
}

/* The fixed code of literals and lengths (RFC 1951, 3.2.6). */
static void put_symbol(unsigned symbol)
{
    if (symbol < 144)
        put_code(0x30 + symbol, 8);
    else if (symbol < LITERAL_COUNT)
        put_code(0x190 + symbol - 144, 9);
    else if (symbol < 280)
        put_code(symbol - BLOCK_END, 7);
    else
        put_code(0xc0 + symbol - 280, 8);
}

static unsigned log2_of(size_t n)
{
    return 63 - (unsigned)__builtin_clzl(n);
}

/* From 8 on, four lengths' codes share a number of extra bits. */
static void put_length(size_t length)
{
    size_t above = length - MATCH_MIN;
    if (length == MATCH_MAX) {
        put_symbol(LAST_LENGTH_CODE);
    } else if (above < 8) {
        put_symbol(FIRST_LENGTH_CODE + (unsigned)above);
    } else {
        unsigned extra = log2_of(above) - 2;
        put_symbol(FIRST_LENGTH_CODE + 4 * (extra + 1) + (above >> extra & 3));
        put_bits(above & (((size_t)1 << extra) - 1), extra);
    }
}

/* From 4 on, two distances' codes share a number of extra bits. */
static void put_distance(size_t distance)
{
    size_t above = distance - 1;
    if (above < 4) {
        put_code((uint32_t)above, 5);
    } else {
        unsigned extra = log2_of(above) - 1;
        put_code(2 * (extra + 1) + (above >> extra & 1), 5);
        put_bits(above & (((size_t)1 << extra) - 1), extra);
    }
}

static size_t hash_at(size_t at)
{
    uint32_t three =
        (uint32_t)(gzip.window[at] | gzip.window[at + 1] << 8 | gzip.window[at + 2] << 16);
    return three * 0x9e3779b1u >> (32 - HASH_BITS);
}

/* Notes the places [from, to) for matches to come; the last two bytes have no three to hash. */
static void remember(size_t from, size_t to, size_t limit)
{
    for (size_t at = from; at < to && at + MATCH_MIN <= limit; at++) {
        uint16_t *newest = &gzip.newest[hash_at(at)];
        gzip.previous[at % WINDOW_BYTES] = *newest;
        *newest = (uint16_t)at;
    }
}

static size_t match_length(size_t a, size_t b, size_t limit)
{
    size_t length = 0, longest = min_size(limit - b, MATCH_MAX);
    while (length < longest && gzip.window[a + length] == gzip.window[b + length])
        length++;
    return length;
}

/* The longest match for `at` among the places that begin alike. Places left over from before the
 * window moved on are too far, or lie behind their successor: there the walk ends. */
static struct match find_match(size_t at, size_t limit)
{
    struct match best = {0};
    if (at + MATCH_MIN > limit)
        return best;
    size_t place = gzip.newest[hash_at(at)], after = at;
    for (int i = 0; i < CHAIN_MAX && place != 0 && place < after && at - place < WINDOW_BYTES;
         i++) {
        size_t length = match_length(place, at, limit);
        if (length > best.length)
            best = (struct match){length, at - place};
        after = place;
        place = gzip.previous[place % WINDOW_BYTES];
    }
    if (best.length < MATCH_MIN || (best.length == MATCH_MIN && best.distance > FAR_BYTES))
        best.length = 0;
    return best;
}

/* One block with the fixed code. */
static void compress_filled(void)
{
    size_t limit = WINDOW_BYTES + gzip.filled_bytes;
    put_bits(2, 3);
    for (size_t at = WINDOW_BYTES, next; at < limit; at = next) {
        struct match match = find_match(at, limit);
        next = at + max_size(match.length, 1);
        if (match.length != 0) {
            put_length(match.length);
            put_distance(match.distance);
        } else {
            put_symbol(gzip.window[at]);
        }
        remember(at, next, limit);
    }
    put_symbol(BLOCK_END);
}

static void move_places(uint16_t *places, size_t count)
{
    for (size_t i = 0; i < count; i++)
        places[i] = places[i] > WINDOW_BYTES ? (uint16_t)(places[i] - WINDOW_BYTES) : 0;
}

static void move_window(void)
{
    memcpy(gzip.window, gzip.window + WINDOW_BYTES, WINDOW_BYTES);
    move_places(gzip.newest, array_count(gzip.newest));
    move_places(gzip.previous, array_count(gzip.previous));
    gzip.filled_bytes = 0;
}

void gzip_begin(int fd)
{
    static const unsigned char header[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3 /* Unix */};
    memset(gzip.newest, 0, sizeof(gzip.newest));
    gzip.crc = UINT32_MAX;
    gzip.input_bytes = 0;
    gzip.filled_bytes = 0;
    gzip.bits = 0;
    gzip.bit_count = 0;
    output_begin(&gzip.output, fd);
    output_write(&gzip.output, header, sizeof(header));
}

void gzip_write(const void *data, size_t bytes)
{
    gzip.crc = crc_update(gzip.crc, data, bytes);
    gzip.input_bytes += (uint32_t)bytes;
    for (const char *from = data; bytes > 0;) {
        size_t part = min_size(bytes, WINDOW_BYTES - gzip.filled_bytes);
        memcpy(gzip.window + WINDOW_BYTES + gzip.filled_bytes, from, part);
        gzip.filled_bytes += part;
        from += part;
        bytes -= part;
        if (gzip.filled_bytes == WINDOW_BYTES) {
            compress_filled();
            move_window();
        }
    }
}

static void put_word(uint32_t word)
{
    put_bits(word & 0xffff, 16);
    put_bits(word >> 16, 16);
}

bool gzip_finish(void)
{
    compress_filled();
    put_bits(3, 3);
    put_symbol(BLOCK_END);
    put_bits(0, (8 - gzip.bit_count % 8) % 8);
    put_word(~gzip.crc);
    put_word(gzip.input_bytes);
    output_write(&gzip.output, &gzip.bits, gzip.bit_count / 8);
    return output_finish(&gzip.output);
}
