/* Tokens of deflate, literals and matches, as blocks of bits: each block in the shortest code for
 * just its tokens (RFC 1951, 3.2.7).
 *
 *   gzip  --tokens-->  huffman  --bytes-->  output
 *
 * One stream at a time: callers serialize (the dump does). All state is static.
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_HUFFMAN_H
#define HPM_REPORT_HUFFMAN_H

#include "base/base.h"
#include "report/output.h"

enum { MATCH_MIN = 3, MATCH_MAX = 258, DISTANCE_MAX = 32768 };

/* Bits on their way out, the first in the lowest place. */
struct bit_stream {
    struct output *output;
    uint64_t bits;
    unsigned count;
};

void bits_put(struct bit_stream *stream, uint32_t value, unsigned count); // at most 32
void bits_fill_byte(struct bit_stream *stream);
void bits_flush(struct bit_stream *stream); // of whole bytes

HPM_INLINE uint32_t token_of_literal(unsigned char byte)
{
    return byte;
}

HPM_INLINE uint32_t token_of_match(size_t length, size_t distance)
{
    return (uint32_t)(length << 16 | (distance - 1));
}

void huffman_put_block(struct bit_stream *stream, const uint32_t *tokens, size_t count);

/* Marks the end of all blocks. */
void huffman_put_end(struct bit_stream *stream);

#endif
