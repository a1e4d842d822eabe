/* Messages of protocol buffers, built in a buffer and sent to the gzip stream.
 *
 * Signal: async-signal-safe. Keep messages in static storage. */
#ifndef HPM_REPORT_PROTO_H
#define HPM_REPORT_PROTO_H

#include "base/base.h"

/* Field numbers of profile.proto. */
enum profile_field {
    PROFILE_SAMPLE_TYPE = 1,
    PROFILE_SAMPLE,
    PROFILE_MAPPING,
    PROFILE_LOCATION,
    PROFILE_FUNCTION,
    PROFILE_STRING_TABLE,
    PROFILE_DROP_FRAMES,
    PROFILE_KEEP_FRAMES,
    PROFILE_TIME_NANOS,
    PROFILE_DURATION_NANOS,
    PROFILE_PERIOD_TYPE,
    PROFILE_PERIOD,
    PROFILE_COMMENT,
    PROFILE_DEFAULT_SAMPLE_TYPE,
};
enum { VALUE_TYPE_TYPE = 1, VALUE_TYPE_UNIT };
enum { SAMPLE_LOCATION_ID = 1, SAMPLE_VALUE, SAMPLE_LABEL };
enum { LABEL_KEY = 1, LABEL_STR, LABEL_NUM, LABEL_NUM_UNIT };
enum {
    MAPPING_ID = 1,
    MAPPING_START,
    MAPPING_LIMIT,
    MAPPING_OFFSET,
    MAPPING_FILE,
    MAPPING_BUILD,
    MAPPING_HAS_FUNCTIONS
};
enum { LOCATION_ID = 1, LOCATION_MAPPING_ID, LOCATION_ADDRESS, LOCATION_LINE };
enum { LINE_FUNCTION_ID = 1 };
enum { FUNCTION_ID = 1, FUNCTION_NAME, FUNCTION_SYSTEM_NAME };

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
