#include "prof/unwind_reader.h"

#include <string.h>

static void read_bytes(struct reader *reader, void *bytes, size_t count)
{
    if (reader->is_broken || reader->limit - reader->at < count) {
        reader->is_broken = true;
        memset(bytes, 0, count);
        return;
    }
    memcpy(bytes, (const void *)(reader->at + (uintptr_t)reader->object->delta), count);
    reader->at += count;
}

#define DEFINE_READ(name, type)                                                                    \
    type name(struct reader *reader)                                                               \
    {                                                                                              \
        type value;                                                                                \
        read_bytes(reader, &value, sizeof(value));                                                 \
        return value;                                                                              \
    }
DEFINE_READ(reader_u8, uint8_t)
DEFINE_READ(reader_u16, uint16_t)
DEFINE_READ(reader_u32, uint32_t)
DEFINE_READ(reader_u64, uint64_t)
DEFINE_READ(reader_s32, int32_t)

uint64_t reader_uleb(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = reader_u8(reader);
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return value;
    }
}

int64_t reader_sleb(struct reader *reader)
{
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
        byte = reader_u8(reader);
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while ((byte & 0x80) != 0);
    if ((byte & 0x40) != 0 && shift < 64)
        value |= ~(uint64_t)0 << shift;
    return (int64_t)value;
}

uint64_t reader_value(struct reader *reader, uint8_t format)
{
    switch (format) {
    case 0x00:
    case 0x04:
    case 0x0c:
        return reader_u64(reader);
    case 0x01:
        return reader_uleb(reader);
    case 0x02:
        return reader_u16(reader);
    case 0x03:
        return reader_u32(reader);
    case 0x09:
        return (uint64_t)reader_sleb(reader);
    case 0x0a:
        return (uint64_t)(int64_t)(int16_t)reader_u16(reader);
    case 0x0b:
        return (uint64_t)(int64_t)reader_s32(reader);
    default:
        reader->is_broken = true;
        return 0;
    }
}

uintptr_t reader_pointer(struct reader *reader, uint8_t encoding)
{
    uintptr_t place = reader->at;
    uintptr_t value = (uintptr_t)reader_value(reader, encoding & 0x0f);
    switch (encoding & 0x70) {
    case 0x00:
        return value;
    case 0x10:
        return value + place;
    case 0x30:
        return value + reader->object->table;
    default:
        reader->is_broken = true;
        return 0;
    }
}

struct reader reader_at(const struct loaded_object *object, uintptr_t at, uintptr_t limit)
{
    struct reader reader = {.object = object, .at = at, .limit = limit};
    reader.is_broken = at < object->readable_start || limit > object->readable_limit || at > limit;
    return reader;
}

struct reader reader_from(const struct loaded_object *object, uintptr_t at)
{
    return reader_at(object, at, object->readable_limit);
}
