#include "protowrite.h"

#include <string.h>

static void put_byte(struct proto_bytes *bytes, unsigned byte)
{
    *memory_push(bytes->data, bytes->count, bytes->capacity) = (uint8_t)byte;
}

static void put_number(struct proto_bytes *bytes, uint64_t number)
{
    for (; number >= 128; number >>= 7)
        put_byte(bytes, (unsigned)(number & 127) | 128);
    put_byte(bytes, (unsigned)number);
}

/* Nought is what a field is that is not there. */
static void put_field(struct proto_bytes *bytes, unsigned field, uint64_t number)
{
    if (number == 0)
        return;
    put_number(bytes, field << 3);
    put_number(bytes, number);
}

static void put_bytes(struct proto_bytes *bytes, unsigned field, const void *data, size_t count)
{
    put_number(bytes, field << 3 | 2);
    put_number(bytes, count);
    for (size_t i = 0; i < count; i++)
        put_byte(bytes, ((const uint8_t *)data)[i]);
}

static void put_message(struct proto_bytes *bytes, unsigned field, struct proto_bytes *message)
{
    put_bytes(bytes, field, message->data, message->count);
    message->count = 0;
}

static void put_type(struct proto_bytes *bytes, unsigned field, struct value_type type)
{
    struct proto_bytes message = {0};
    put_field(&message, 1, type.type);
    put_field(&message, 2, type.unit);
    put_message(bytes, field, &message);
    memory_free(message.data);
}

static void put_samples(struct proto_bytes *bytes, const struct profile *profile)
{
    struct proto_bytes message = {0}, inner = {0};
    for (size_t i = 0; i < profile->sample_count; i++) {
        const struct sample *sample = &profile->samples[i];
        for (uint32_t k = 0; k < sample->frame_count; k++)
            put_number(&inner, profile->frames[sample->first_frame + k] + (uint64_t)1);
        put_message(&message, 1, &inner);
        for (size_t k = 0; k < profile->type_count; k++)
            put_number(&inner, (uint64_t)profile_value(profile, i, (int)k));
        put_message(&message, 2, &inner);
        for (uint32_t k = 0; k < sample->label_count; k++) {
            const struct label *label = &profile->labels[sample->first_label + k];
            put_field(&inner, 1, label->key);
            put_field(&inner, 2, label->text);
            put_field(&inner, 3, (uint64_t)label->number);
            put_field(&inner, 4, label->unit);
            put_message(&message, 3, &inner);
        }
        put_message(bytes, 2, &message);
    }
    memory_free(message.data);
    memory_free(inner.data);
}

static void put_mappings(struct proto_bytes *bytes, const struct profile *profile)
{
    struct proto_bytes message = {0};
    for (size_t i = 0; i < profile->mapping_count; i++) {
        const struct model_mapping *mapping = &profile->mappings[i];
        put_field(&message, 1, i + 1);
        put_field(&message, 2, mapping->start);
        put_field(&message, 3, mapping->limit);
        put_field(&message, 4, mapping->offset);
        put_field(&message, 5, mapping->file);
        put_field(&message, 6, mapping->build_id);
        put_field(&message, 7, mapping->has_functions);
        put_field(&message, 8, mapping->has_files);
        put_field(&message, 9, mapping->has_lines);
        put_field(&message, 10, mapping->has_inlines);
        put_message(bytes, 3, &message);
    }
    memory_free(message.data);
}

static void put_locations(struct proto_bytes *bytes, const struct profile *profile)
{
    struct proto_bytes message = {0}, inner = {0};
    for (size_t i = 0; i < profile->location_count; i++) {
        const struct location *location = &profile->locations[i];
        put_field(&message, 1, i + 1);
        if (location->mapping != MODEL_NONE)
            put_field(&message, 2, location->mapping + (uint64_t)1);
        put_field(&message, 3, location->address);
        for (uint32_t k = 0; k < location->line_count; k++) {
            const struct line *line = &profile->lines[location->first_line + k];
            if (line->function != MODEL_NONE)
                put_field(&inner, 1, line->function + (uint64_t)1);
            put_field(&inner, 2, (uint64_t)line->line);
            put_message(&message, 4, &inner);
        }
        put_message(bytes, 4, &message);
    }
    memory_free(message.data);
    memory_free(inner.data);
}

static void put_functions(struct proto_bytes *bytes, const struct profile *profile)
{
    struct proto_bytes message = {0};
    for (size_t i = 0; i < profile->function_count; i++) {
        const struct function *function = &profile->functions[i];
        put_field(&message, 1, i + 1);
        put_field(&message, 2, function->name);
        put_field(&message, 3, function->system_name);
        put_field(&message, 4, function->file);
        put_field(&message, 5, (uint64_t)function->start_line);
        put_message(bytes, 5, &message);
    }
    memory_free(message.data);
}

void protowrite(struct proto_bytes *bytes, const struct profile *profile)
{
    for (size_t i = 0; i < profile->type_count; i++)
        put_type(bytes, 1, profile->types[i]);
    put_samples(bytes, profile);
    put_mappings(bytes, profile);
    put_locations(bytes, profile);
    put_functions(bytes, profile);
    for (size_t i = 0; i < profile->string_count; i++)
        put_bytes(bytes, 6, profile->strings[i], strlen(profile->strings[i]));
    put_field(bytes, 7, profile->drop_frames);
    put_field(bytes, 8, profile->keep_frames);
    put_field(bytes, 9, (uint64_t)profile->time_ns);
    put_field(bytes, 10, (uint64_t)profile->duration_ns);
    if (profile->period_type.type != STRING_EMPTY)
        put_type(bytes, 11, profile->period_type);
    put_field(bytes, 12, (uint64_t)profile->period);
    for (size_t i = 0; i < profile->comment_count; i++)
        put_field(bytes, 13, profile->comments[i]);
    put_field(bytes, 14, profile->default_type);
}
