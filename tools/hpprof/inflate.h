/* Deflate (RFC 1951) in gzip's or zlib's wrapping (RFC 1952, 1950), from bytes nobody vouches for:
 * neither side of a copy ever leaves its buffer, and the checksums are held against the data. */
#ifndef HPPROF_INFLATE_H
#define HPPROF_INFLATE_H

#include "base/base.h"

enum wrapping { WRAPPING_NONE, WRAPPING_GZIP, WRAPPING_ZLIB };

enum wrapping inflate_wrapping(const uint8_t *data, size_t bytes);

/* Unpacks all members of a gzip file, or a zlib stream. Returns memory to free, or NULL, and then
 * *trouble says why. More than INFLATE_BYTES_MAX is refused. */
uint8_t *inflate_all(const uint8_t *data, size_t bytes, size_t *unpacked_bytes,
                     const char **trouble);

#define INFLATE_BYTES_MAX ((size_t)2 << 30)

#endif
