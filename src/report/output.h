/* A buffer before a descriptor: what all writers write through. The first error sticks, and what
 * is written after it is dropped.
 *
 * Signal: async-signal-safe. Keep the struct in static storage: it is larger than a small stack. */
#ifndef HPM_REPORT_OUTPUT_H
#define HPM_REPORT_OUTPUT_H

#include "base/base.h"
#include "base/print.h"

enum { OUTPUT_BUFFER_BYTES = 8192 };

struct output {
    int fd;
    int error; // errno of the first write that failed; 0: none did
    size_t used;
    char bytes[OUTPUT_BUFFER_BYTES];
};

void output_begin(struct output *output, int fd);
void output_write(struct output *output, const void *data, size_t bytes);
void output_text(struct output *output, const char *text);

/* The same as %lu, and %lx with leading zeroes up to `digits`: a profile is made of millions. */
void output_decimal(struct output *output, uint64_t number);
void output_hex(struct output *output, uint64_t number, unsigned digits);

/* At most 1,000 characters at a time. */
void output_print(struct output *output, const char *format, ...) HPM_PRINTF(2, 3);

/* Writes what is left. False when anything failed; errno says what did first. */
bool output_finish(struct output *output);

#endif
