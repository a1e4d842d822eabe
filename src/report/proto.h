/* Messages of protocol buffers, built in a buffer and sent to the gzip stream.
 *
 * Signal: async-signal-safe. Keep messages in static storage. */
#ifndef HPM_REPORT_PROTO_H
#define HPM_REPORT_PROTO_H

#include "base/base.h"

/* Room for a sample of the deepest stack: 130 numbers of at most ten bytes, and its values. */
enum { PROTO_MESSAGE_BYTES = 1600 };

struct proto_message {
    size_t bytes;
    unsigned char data[PROTO_MESSAGE_BYTES];
};

size_t proto_number_bytes(uint64_t number); // as it is written

/* What does not fit is left out; the sizes above make sure it does. */
void proto_number(struct proto_message *message, uint64_t number); // bare, for packed fields
void proto_field(struct proto_message *message, unsigned field, uint64_t number);
void proto_submessage(struct proto_message *message, unsigned field,
                      const struct proto_message *inner);

/* Fields of the outermost message, written as they come. */
void proto_send_field(unsigned field, uint64_t number);
void proto_send_message(unsigned field, const struct proto_message *message);
void proto_send_bytes(unsigned field, const void *data, size_t bytes);

#endif
