#include "model.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct profile *profile_alloc(const char *name)
{
    struct profile *profile = memory_alloc(1, sizeof(*profile));
    profile->name = name;
    profile_intern(profile, "", 0);
    return profile;
}

void profile_free(struct profile *profile)
{
    if (profile == NULL)
        return;
    memory_free(profile->strings);
    memory_free(profile->mappings);
    memory_free(profile->functions);
    memory_free(profile->lines);
    memory_free(profile->locations);
    memory_free(profile->frames);
    memory_free(profile->labels);
    memory_free(profile->samples);
    memory_free(profile->values);
    memory_free(profile->comments);
    pool_drain(&profile->texts);
    index_drain(&profile->string_index);
    memory_free(profile);
}

static char *clean_copy(struct profile *profile, const char *text, size_t length)
{
    char *copy = pool_alloc(&profile->texts, length + 1, 1);
    for (size_t i = 0; i < length; i++)
        copy[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
    copy[length] = '\0';
    return copy;
}

/* Texts of one hash are apart by what is added to it. */
uint32_t profile_intern(struct profile *profile, const char *text, size_t length)
{
    const char *copy = clean_copy(profile, text, length);
    uint64_t hash = index_hash(copy);
    for (;; hash++) {
        uint32_t string = index_add(&profile->string_index, hash, (uint32_t)profile->string_count);
        if (string == profile->string_count) {
            *memory_push(profile->strings, profile->string_count, profile->string_capacity) = copy;
            return string;
        }
        if (strcmp(profile->strings[string], copy) == 0) {
            profile->texts.next = (char *)(uintptr_t)copy;
            return string;
        }
    }
}

uint32_t profile_intern_text(struct profile *profile, const char *text)
{
    return profile_intern(profile, text, strlen(text));
}

uint32_t profile_add_function(struct profile *profile, struct function function)
{
    *memory_push(profile->functions, profile->function_count, profile->function_capacity) =
        function;
    return (uint32_t)profile->function_count - 1;
}

uint32_t profile_add_mapping(struct profile *profile, struct model_mapping mapping)
{
    *memory_push(profile->mappings, profile->mapping_count, profile->mapping_capacity) = mapping;
    return (uint32_t)profile->mapping_count - 1;
}

uint32_t profile_add_location(struct profile *profile, uint64_t address, uint32_t mapping)
{
    *memory_push(profile->locations, profile->location_count, profile->location_capacity) =
        (struct location){.address = address, .mapping = mapping};
    return (uint32_t)profile->location_count - 1;
}

void profile_add_line(struct profile *profile, uint32_t location, uint32_t function, int64_t line)
{
    struct location *at = &profile->locations[location];
    if (at->line_count == 0)
        at->first_line = (uint32_t)profile->line_count;
    *memory_push(profile->lines, profile->line_count, profile->line_capacity) =
        (struct line){.function = function, .line = line};
    at->line_count++;
}

void profile_add_sample(struct profile *profile, const int64_t *values)
{
    *memory_push(profile->samples, profile->sample_count, profile->sample_capacity) =
        (struct sample){.first_frame = (uint32_t)profile->frame_count,
                        .first_label = (uint32_t)profile->label_count};
    for (size_t i = 0; i < profile->type_count; i++)
        *memory_push(profile->values, profile->value_count, profile->value_capacity) = values[i];
}

void profile_add_frame(struct profile *profile, uint32_t location)
{
    *memory_push(profile->frames, profile->frame_count, profile->frame_capacity) = location;
    profile->samples[profile->sample_count - 1].frame_count++;
}

void profile_add_label(struct profile *profile, struct label label)
{
    *memory_push(profile->labels, profile->label_count, profile->label_capacity) = label;
    profile->samples[profile->sample_count - 1].label_count++;
}

void profile_add_comment(struct profile *profile, uint32_t comment)
{
    *memory_push(profile->comments, profile->comment_count, profile->comment_capacity) = comment;
}

void profile_add_type(struct profile *profile, const char *type, const char *unit)
{
    profile->types[profile->type_count++] = (struct value_type){
        .type = profile_intern_text(profile, type), .unit = profile_intern_text(profile, unit)};
}

static int find_type(const struct profile *profile, const char *name)
{
    for (size_t i = 0; i < profile->type_count; i++) {
        if (strcmp(profile_text(profile, profile->types[i].type), name) == 0)
            return (int)i;
    }
    return -1;
}

int profile_type(const struct profile *profile, const char *name)
{
    if (name == NULL) {
        int type = find_type(profile, profile_text(profile, profile->default_type));
        return type >= 0 ? type : (int)profile->type_count - 1;
    }
    char *end;
    long number = strtol(name, &end, 10);
    if (*name != '\0' && *end == '\0')
        return number >= 0 && (size_t)number < profile->type_count ? (int)number : -1;
    int type = find_type(profile, name);
    return type < 0 && strncmp(name, "inuse_", 6) == 0 ? find_type(profile, name + 6) : type;
}

int64_t profile_number(const struct profile *profile, const struct sample *sample, const char *key)
{
    for (uint32_t i = 0; i < sample->label_count; i++) {
        const struct label *label = &profile->labels[sample->first_label + i];
        if (label->text == STRING_EMPTY && strcmp(profile_text(profile, label->key), key) == 0)
            return label->number;
    }
    return 0;
}

double profile_calibration(const struct profile *profile)
{
    static const char begin[] = "calibrated: in-use values add up to the exact count, ";
    for (size_t i = 0; i < profile->comment_count; i++) {
        const char *comment = profile_text(profile, profile->comments[i]);
        double factor = strncmp(comment, begin, sizeof(begin) - 1) == 0
                            ? strtod(comment + sizeof(begin) - 1, NULL)
                            : 0;
        if (factor > 0.01 && factor < 100)
            return factor;
    }
    return 1;
}

const char *profile_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

const char *profile_program(const struct profile *profile)
{
    bool is_known = profile->mapping_count != 0;
    return is_known ? profile_base_name(profile_text(profile, profile->mappings[0].file)) : "";
}

const char *profile_time(const struct profile *profile, char *text, size_t size)
{
    struct tm parts;
    time_t seconds = profile->time_ns / 1000000000;
    if (profile->time_ns <= 0 || gmtime_r(&seconds, &parts) == NULL ||
        strftime(text, size, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
        *text = '\0';
    return text;
}

const struct model_mapping *profile_find_mapping(const struct profile *profile, uint64_t address,
                                                 uint32_t *index)
{
    for (size_t i = 0; i < profile->mapping_count; i++) {
        const struct model_mapping *mapping = &profile->mappings[i];
        if (address >= mapping->start && address < mapping->limit) {
            *index = (uint32_t)i;
            return mapping;
        }
    }
    *index = MODEL_NONE;
    return NULL;
}

bool profile_same_stack(const struct profile *profile, const struct sample *a,
                        const struct sample *b)
{
    return a->frame_count == b->frame_count &&
           (a->frame_count == 0 ||
            memcmp(&profile->frames[a->first_frame], &profile->frames[b->first_frame],
                   a->frame_count * sizeof(*profile->frames)) == 0);
}

uint64_t profile_hash_stack(const struct profile *profile, const struct sample *sample)
{
    uint64_t hash = sample->frame_count;
    for (uint32_t i = 0; i < sample->frame_count; i++)
        hash = mix_bits(hash ^ profile->frames[sample->first_frame + i]);
    return hash;
}
