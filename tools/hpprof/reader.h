/* Files of others into profiles: which format it is, and what each reader gives.
 *
 *   files  --inflate-->  protoread, legacyread, foldedread  -->  model
 *
 * Fails: a reader returns false, and *trouble says why, in words that end a line. */
#ifndef HPPROF_READER_H
#define HPPROF_READER_H

#include "model.h"

/* Opens, unpacks and reads a file ("-": standard input) as it is: names are not looked for. NULL:
 * one line said why. */
struct profile *reader_open(const char *path);

bool protoread(struct profile *profile, const uint8_t *data, size_t bytes, const char **trouble);

/* `heap profile:` text: ours, gperftools', Go's; and jemalloc's, which begins with heap_v2/. */
bool legacyread_is_one(const uint8_t *data, size_t bytes);
bool legacyread(struct profile *profile, const uint8_t *data, size_t bytes, const char **trouble);

/* A stack a line, outermost first: `frame;frame value`. */
bool foldedread_is_one(const uint8_t *data, size_t bytes);
bool foldedread(struct profile *profile, const uint8_t *data, size_t bytes, const char **trouble);

#endif
