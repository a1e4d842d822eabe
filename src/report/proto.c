#include "report/proto.h"

#include <string.h>

#include "report/gzip.h"

enum { WIRE_NUMBER = 0, WIRE_BYTES = 2, NUMBER_BYTES_MAX = 10 };

static size_t encode(unsigned char *target, uint64_t number)
{
    size_t bytes = 0;
    for (; number >= 0x80; number >>= 7)
        target[bytes++] = (unsigned char)(number | 0x80);
    target[bytes++] = (unsigned char)number;
    return bytes;
}

size_t proto_number_bytes(uint64_t number)
{
    return (size_t)(63 - __builtin_clzl(number | 1)) / 7 + 1;
}

void proto_number(struct proto_message *message, uint64_t number)
{
    if (message->bytes + NUMBER_BYTES_MAX <= sizeof(message->data))
        message->bytes += encode(message->data + message->bytes, number);
}

void proto_field(struct proto_message *message, unsigned field, uint64_t number)
{
    if (message->bytes + 2 * NUMBER_BYTES_MAX > sizeof(message->data))
        return;
    proto_number(message, field << 3 | WIRE_NUMBER);
    proto_number(message, number);
}

void proto_submessage(struct proto_message *message, unsigned field,
                      const struct proto_message *inner)
{
    if (message->bytes + 2 * NUMBER_BYTES_MAX + inner->bytes > sizeof(message->data))
        return;
    proto_number(message, field << 3 | WIRE_BYTES);
    proto_number(message, inner->bytes);
    memcpy(message->data + message->bytes, inner->data, inner->bytes);
    message->bytes += inner->bytes;
}

static void send_number(uint64_t number)
{
    unsigned char data[NUMBER_BYTES_MAX];
    gzip_write(data, encode(data, number));
}

void proto_send_field(unsigned field, uint64_t number)
{
    send_number(field << 3 | WIRE_NUMBER);
    send_number(number);
}

void proto_send_bytes(unsigned field, const void *data, size_t bytes)
{
    send_number(field << 3 | WIRE_BYTES);
    send_number(bytes);
    gzip_write(data, bytes);
}

void proto_send_message(unsigned field, const struct proto_message *message)
{
    proto_send_bytes(field, message->data, message->bytes);
}
