/* A profile as profile.proto. */
#ifndef HPPROF_PROTOWRITE_H
#define HPPROF_PROTOWRITE_H

#include "model.h"

struct proto_bytes {
    uint8_t *data; // to free with memory_free
    size_t count, capacity;
};

void protowrite(struct proto_bytes *bytes, const struct profile *profile);

#endif
