#include "report/gzip.h"

#include <string.h>

#include "report/huffman.h"
#include "report/output.h"

enum {
    WINDOW_BYTES = DISTANCE_MAX,
    HASH_BITS = 15,
    FAR_BYTES = 4096, // a match of three from further away is no shorter than its literals
    CHAIN_MAX = 64,   // places tried for a match
    LONG_ENOUGH = 64, // a match for which no longer one is sought, one byte later
};

/* The window's first half is history, its second half is what came in and is not yet compressed.
 * A place in it is its index; 0 marks none, so the oldest byte is never referred to. */
static struct {
    struct output output;
    struct bit_stream stream;
    uint32_t crc, input_bytes;
    size_t filled_bytes; // of the second half
    size_t remembered;   // places before it can be found
    size_t token_count;
    unsigned char window[2 * WINDOW_BYTES];
    uint16_t newest[1 << HASH_BITS]; // by hash of three bytes, the last place they were seen
    uint16_t previous[WINDOW_BYTES]; // by place modulo the window, the place before it
    uint32_t tokens[WINDOW_BYTES];   // of the block at work
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

static size_t hash_at(size_t at)
{
    uint32_t three =
        (uint32_t)(gzip.window[at] | gzip.window[at + 1] << 8 | gzip.window[at + 2] << 16);
    return three * 0x9e3779b1u >> (32 - HASH_BITS);
}

/* Notes places up to `to` for matches to come; the last two bytes of what is filled wait for the
 * third that they are hashed with. */
static void remember(size_t to, size_t limit)
{
    for (; gzip.remembered < to && gzip.remembered + MATCH_MIN <= limit; gzip.remembered++) {
        uint16_t *newest = &gzip.newest[hash_at(gzip.remembered)];
        gzip.previous[gzip.remembered % WINDOW_BYTES] = *newest;
        *newest = (uint16_t)gzip.remembered;
    }
}

static size_t match_length(size_t a, size_t b, size_t longest)
{
    size_t length = 0;
    while (length < longest && gzip.window[a + length] == gzip.window[b + length])
        length++;
    return length;
}

/* The longest match for `at` among the places that begin alike. Places left over from before the
 * window moved on are too far, or lie behind their successor: there the walk ends. */
static struct match find_match(size_t at, size_t limit)
{
    struct match best = {0};
    size_t longest = min_size(limit - at, MATCH_MAX);
    if (longest < MATCH_MIN)
        return best;
    remember(at, limit);
    size_t place = gzip.newest[hash_at(at)], after = at;
    for (int i = 0; i < CHAIN_MAX && best.length < longest && place != 0 && place < after &&
                    at - place < WINDOW_BYTES;
         i++) {
        if (gzip.window[place + best.length] == gzip.window[at + best.length]) {
            size_t length = match_length(place, at, longest);
            if (length > best.length)
                best = (struct match){length, at - place};
        }
        after = place;
        place = gzip.previous[place % WINDOW_BYTES];
    }
    if (best.length < MATCH_MIN || (best.length == MATCH_MIN && best.distance > FAR_BYTES))
        best.length = 0;
    return best;
}

/* A match is taken unless a longer one begins at the next byte. */
static void compress_filled(void)
{
    size_t limit = WINDOW_BYTES + gzip.filled_bytes;
    struct match match = {0}, next;
    gzip.token_count = 0;
    for (size_t at = WINDOW_BYTES; at < limit; match = next) {
        if (match.length == 0)
            match = find_match(at, limit);
        next = (struct match){0};
        if (match.length != 0 && match.length < LONG_ENOUGH)
            next = find_match(at + 1, limit);
        if (match.length == 0 || next.length > match.length) {
            gzip.tokens[gzip.token_count++] = token_of_literal(gzip.window[at++]);
            continue;
        }
        gzip.tokens[gzip.token_count++] = token_of_match(match.length, match.distance);
        at += match.length;
        next.length = 0;
    }
    remember(limit, limit);
    huffman_put_block(&gzip.stream, gzip.tokens, gzip.token_count);
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
    gzip.remembered -= WINDOW_BYTES;
}

void gzip_begin(int fd)
{
    static const unsigned char header[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3 /* Unix */};
    memset(gzip.newest, 0, sizeof(gzip.newest));
    gzip.crc = UINT32_MAX;
    gzip.input_bytes = 0;
    gzip.filled_bytes = 0;
    gzip.remembered = WINDOW_BYTES;
    gzip.stream = (struct bit_stream){.output = &gzip.output};
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
    bits_put(&gzip.stream, word & 0xffff, 16);
    bits_put(&gzip.stream, word >> 16, 16);
}

bool gzip_finish(void)
{
    if (gzip.filled_bytes != 0)
        compress_filled();
    huffman_put_end(&gzip.stream);
    bits_fill_byte(&gzip.stream);
    put_word(~gzip.crc);
    put_word(gzip.input_bytes);
    bits_flush(&gzip.stream);
    return output_finish(&gzip.output);
}
