#include <string.h>

#include "reader.h"
#include "report/proto.h"

enum wire { WIRE_NUMBER = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct message {
    const uint8_t *next, *limit;
    bool is_broken;
};

struct field {
    unsigned number;
    enum wire wire;
    uint64_t value;
    struct message inside; // WIRE_BYTES
};

/* Ids of a file, usually 1, 2, 3…, to indices of a profile. */
struct ids {
    struct index index;
    size_t dense_count; // of ids that are one more than their index
};

struct proto {
    struct profile *profile;
    uint32_t *strings; // the file's string table
    size_t string_count, string_capacity;
    struct ids mappings, functions, locations;
    const char *trouble;
};

static uint64_t take_number(struct message *message)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && message->next < message->limit; shift += 7) {
        uint8_t byte = *message->next++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return value;
    }
    message->is_broken = true;
    return 0;
}

static bool take_bytes(struct message *message, struct field *field, uint64_t bytes)
{
    if (bytes > (uint64_t)(message->limit - message->next)) {
        message->is_broken = true;
        return false;
    }
    field->inside = (struct message){.next = message->next, .limit = message->next + bytes};
    message->next += bytes;
    return true;
}

/* False at the end, and where it makes no sense: the message then says so. */
static bool take_field(struct message *message, struct field *field)
{
    if (message->next >= message->limit || message->is_broken)
        return false;
    uint64_t tag = take_number(message);
    field->value = 0;
    field->number = (unsigned)(tag >> 3 & 0x1fffffff);
    field->wire = tag & 7;
    if (field->number == 0)
        message->is_broken = true;
    if (field->wire == WIRE_NUMBER)
        field->value = take_number(message);
    else if (field->wire == WIRE_BYTES)
        return take_bytes(message, field, take_number(message)) && !message->is_broken;
    else if (field->wire == WIRE_64 || field->wire == WIRE_32)
        return take_bytes(message, field, field->wire == WIRE_64 ? 8 : 4) && !message->is_broken;
    else
        message->is_broken = true;
    return !message->is_broken;
}

/* Numbers come packed, or one a field. */
static bool take_repeated(struct field *field, uint64_t *value)
{
    if (field->wire == WIRE_NUMBER) {
        *value = field->value;
        field->wire = WIRE_64;
        return true;
    }
    if (field->wire != WIRE_BYTES || field->inside.next >= field->inside.limit)
        return false;
    *value = take_number(&field->inside);
    return !field->inside.is_broken;
}

static void fail(struct proto *proto, const char *trouble)
{
    if (proto->trouble == NULL)
        proto->trouble = trouble;
}

static void check(struct proto *proto, const struct message *message)
{
    if (message->is_broken)
        fail(proto, "it is no profile, or is cut off");
}

static void ids_add(struct proto *proto, struct ids *ids, uint64_t id, uint32_t index)
{
    if (id == ids->dense_count + 1 && index == ids->dense_count)
        ids->dense_count++;
    else if (id == 0)
        fail(proto, "it is broken: an id is 0");
    else
        index_add(&ids->index, id, index);
}

static uint32_t ids_find(const struct ids *ids, uint64_t id)
{
    return id - 1 < ids->dense_count ? (uint32_t)(id - 1) : index_find(&ids->index, id);
}

static uint32_t string_of(struct proto *proto, uint64_t index)
{
    if (index < proto->string_count)
        return proto->strings[index];
    fail(proto, "it is broken: a string is not in its table");
    return STRING_EMPTY;
}

static struct value_type read_type(struct proto *proto, struct message message)
{
    struct value_type type = {0};
    for (struct field field; take_field(&message, &field);) {
        if (field.number == 1)
            type.type = string_of(proto, field.value);
        else if (field.number == 2)
            type.unit = string_of(proto, field.value);
    }
    check(proto, &message);
    return type;
}

static void read_mapping(struct proto *proto, struct message message)
{
    struct model_mapping mapping = {0};
    uint64_t id = 0;
    for (struct field field; take_field(&message, &field);) {
        uint64_t value = field.wire == WIRE_NUMBER ? field.value : 0;
        switch (field.number) {
        case 1:
            id = value;
            break;
        case 2:
            mapping.start = value;
            break;
        case 3:
            mapping.limit = value;
            break;
        case 4:
            mapping.offset = value;
            break;
        case 5:
            mapping.file = string_of(proto, value);
            break;
        case 6:
            mapping.build_id = string_of(proto, value);
            break;
        case 7:
            mapping.has_functions = value != 0;
            break;
        case 8:
            mapping.has_files = value != 0;
            break;
        case 9:
            mapping.has_lines = value != 0;
            break;
        case 10:
            mapping.has_inlines = value != 0;
            break;
        default:
            break;
        }
    }
    check(proto, &message);
    ids_add(proto, &proto->mappings, id, profile_add_mapping(proto->profile, mapping));
}

static void read_function(struct proto *proto, struct message message)
{
    struct function function = {0};
    uint64_t id = 0;
    for (struct field field; take_field(&message, &field);) {
        uint64_t value = field.wire == WIRE_NUMBER ? field.value : 0;
        switch (field.number) {
        case 1:
            id = value;
            break;
        case 2:
            function.name = string_of(proto, value);
            break;
        case 3:
            function.system_name = string_of(proto, value);
            break;
        case 4:
            function.file = string_of(proto, value);
            break;
        case 5:
            function.start_line = (int64_t)value;
            break;
        default:
            break;
        }
    }
    check(proto, &message);
    ids_add(proto, &proto->functions, id, profile_add_function(proto->profile, function));
}

static void read_line(struct proto *proto, uint32_t location, struct message message)
{
    uint64_t id = 0;
    int64_t line = 0;
    for (struct field field; take_field(&message, &field);) {
        if (field.wire == WIRE_NUMBER && field.number == 1)
            id = field.value;
        else if (field.wire == WIRE_NUMBER && field.number == 2)
            line = (int64_t)field.value;
    }
    check(proto, &message);
    uint32_t function = ids_find(&proto->functions, id);
    if (id != 0 && function == INDEX_NONE)
        fail(proto, "it is broken: a line is of no function");
    profile_add_line(proto->profile, location, function, line);
}

static void read_location(struct proto *proto, struct message message)
{
    uint64_t id = 0, mapping_id = 0, address = 0;
    struct message again = message;
    for (struct field field; take_field(&message, &field);) {
        uint64_t value = field.wire == WIRE_NUMBER ? field.value : 0;
        switch (field.number) {
        case 1:
            id = value;
            break;
        case 2:
            mapping_id = value;
            break;
        case 3:
            address = value;
            break;
        default:
            break;
        }
    }
    check(proto, &message);
    uint32_t mapping = ids_find(&proto->mappings, mapping_id);
    if (mapping_id != 0 && mapping == INDEX_NONE)
        fail(proto, "it is broken: a location is in no mapping");
    uint32_t location = profile_add_location(proto->profile, address, mapping);
    ids_add(proto, &proto->locations, id, location);
    for (struct field field; take_field(&again, &field);) {
        if (field.number == 4 && field.wire == WIRE_BYTES)
            read_line(proto, location, field.inside);
    }
}

static struct label read_label(struct proto *proto, struct message message)
{
    struct label label = {0};
    for (struct field field; take_field(&message, &field);) {
        uint64_t value = field.wire == WIRE_NUMBER ? field.value : 0;
        switch (field.number) {
        case 1:
            label.key = string_of(proto, value);
            break;
        case 2:
            label.text = string_of(proto, value);
            break;
        case 3:
            label.number = (int64_t)value;
            break;
        case 4:
            label.unit = string_of(proto, value);
            break;
        default:
            break;
        }
    }
    check(proto, &message);
    return label;
}

static size_t read_values(struct message message, int64_t *values)
{
    size_t count = 0;
    uint64_t value;
    for (struct field field; take_field(&message, &field);) {
        while (field.number == 2 && take_repeated(&field, &value)) {
            if (count < VALUE_TYPES_MAX)
                values[count] = (int64_t)value;
            count++;
        }
    }
    return count;
}

static void read_sample(struct proto *proto, struct message message)
{
    struct profile *profile = proto->profile;
    int64_t values[VALUE_TYPES_MAX];
    uint64_t id;
    if (read_values(message, values) != profile->type_count) {
        fail(proto, message.is_broken ? "it is no profile, or is cut off"
                                      : "it is broken: a sample has not a value for each type");
        return;
    }
    profile_add_sample(profile, values);
    for (struct field field; take_field(&message, &field);) {
        while (field.number == 1 && take_repeated(&field, &id)) {
            uint32_t location = ids_find(&proto->locations, id);
            if (location == INDEX_NONE) {
                fail(proto, "it is broken: a sample is at no location");
                return;
            }
            profile_add_frame(profile, location);
        }
        if (field.number == 3 && field.wire == WIRE_BYTES)
            profile_add_label(profile, read_label(proto, field.inside));
    }
    check(proto, &message);
}

static void read_string(struct proto *proto, struct field *field)
{
    const struct message *inside = &field->inside;
    *memory_push(proto->strings, proto->string_count, proto->string_capacity) = profile_intern(
        proto->profile, (const char *)inside->next, (size_t)(inside->limit - inside->next));
}

static void add_type(struct proto *proto, struct message message)
{
    if (proto->profile->type_count == VALUE_TYPES_MAX)
        fail(proto, "it has more types of values than hpprof knows how to keep");
    else
        proto->profile->types[proto->profile->type_count++] = read_type(proto, message);
}

static void read_comments(struct proto *proto, struct field *field)
{
    for (uint64_t string; take_repeated(field, &string);)
        profile_add_comment(proto->profile, string_of(proto, string));
}

static void read_number(struct proto *proto, const struct field *field)
{
    struct profile *profile = proto->profile;
    switch (field->number) {
    case PROFILE_DROP_FRAMES:
        profile->drop_frames = string_of(proto, field->value);
        break;
    case PROFILE_KEEP_FRAMES:
        profile->keep_frames = string_of(proto, field->value);
        break;
    case PROFILE_TIME_NANOS:
        profile->time_ns = (int64_t)field->value;
        break;
    case PROFILE_DURATION_NANOS:
        profile->duration_ns = (int64_t)field->value;
        break;
    case PROFILE_PERIOD:
        profile->period = (int64_t)field->value;
        break;
    case PROFILE_DEFAULT_SAMPLE_TYPE:
        profile->default_type = string_of(proto, field->value);
        break;
    default:
        break;
    }
}

/* The parts of a profile come in any order, so each kind that others refer to is read first. */
static void read_kind(struct proto *proto, struct message message, unsigned kind)
{
    for (struct field field; proto->trouble == NULL && take_field(&message, &field);) {
        if (field.number != kind || field.wire != WIRE_BYTES)
            continue;
        switch (kind) {
        case PROFILE_STRING_TABLE:
            read_string(proto, &field);
            break;
        case PROFILE_SAMPLE_TYPE:
            add_type(proto, field.inside);
            break;
        case PROFILE_MAPPING:
            read_mapping(proto, field.inside);
            break;
        case PROFILE_FUNCTION:
            read_function(proto, field.inside);
            break;
        case PROFILE_LOCATION:
            read_location(proto, field.inside);
            break;
        case PROFILE_SAMPLE:
            read_sample(proto, field.inside);
            break;
        default:
            break;
        }
    }
    check(proto, &message);
}

static void read_rest(struct proto *proto, struct message message)
{
    for (struct field field; proto->trouble == NULL && take_field(&message, &field);) {
        if (field.number == PROFILE_COMMENT)
            read_comments(proto, &field);
        else if (field.number == PROFILE_PERIOD_TYPE && field.wire == WIRE_BYTES)
            proto->profile->period_type = read_type(proto, field.inside);
        else if (field.wire == WIRE_NUMBER)
            read_number(proto, &field);
    }
}

bool protoread(struct profile *profile, const uint8_t *data, size_t bytes, const char **trouble)
{
    static const unsigned kinds[] = {PROFILE_STRING_TABLE, PROFILE_SAMPLE_TYPE, PROFILE_MAPPING,
                                     PROFILE_FUNCTION,     PROFILE_LOCATION,    PROFILE_SAMPLE};
    struct proto proto = {.profile = profile};
    struct message message = {.next = data, .limit = data + bytes};
    for (size_t i = 0; i < array_count(kinds) && proto.trouble == NULL; i++)
        read_kind(&proto, message, kinds[i]);
    read_rest(&proto, message);
    if (profile->type_count == 0)
        fail(&proto, "it is no profile: it has no type of values");
    memory_free(proto.strings);
    index_drain(&proto.mappings.index);
    index_drain(&proto.functions.index);
    index_drain(&proto.locations.index);
    *trouble = proto.trouble;
    return proto.trouble == NULL;
}
