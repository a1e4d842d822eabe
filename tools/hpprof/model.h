/* A profile in memory, whatever file it came from: samples of stacks, with values of some types.
 *
 *   protoread legacyread foldedread  -->  model  -->  graph, stacks, leaks, protowrite, pictures
 *
 * Everything is an index into an array of the profile: a string, function, mapping, location. A
 * location is an address, or a place without one, with lines: the function it lies in, and before
 * it those that were inlined there, innermost first. A sample's stack is locations, innermost
 * first. Values are what the file says: estimates, where its writer made them so.
 */
#ifndef HPPROF_MODEL_H
#define HPPROF_MODEL_H

#include "memory.h"

#define MODEL_NONE UINT32_MAX
enum { STRING_EMPTY = 0, VALUE_TYPES_MAX = 64 };

struct value_type {
    uint32_t type, unit;
};

struct model_mapping {
    uint64_t start, limit, offset;
    uint32_t file, build_id; // as hexadecimal digits
    bool has_functions, has_files, has_lines, has_inlines;
};

struct function {
    uint32_t name, system_name, file; // shown; as the linker knows it
    int64_t start_line;
};

struct line {
    uint32_t function; // or MODEL_NONE
    int64_t line;
};

struct location {
    uint64_t address; // of the call, as the process saw it
    uint32_t mapping; // or MODEL_NONE
    uint32_t first_line, line_count;
};

struct label {
    uint32_t key, text, unit; // text: STRING_EMPTY where it is a number
    int64_t number;
};

struct sample {
    uint32_t first_frame, frame_count; // in frames: locations
    uint32_t first_label, label_count;
};

struct profile {
    const char *name; // of the file

    const char **strings; // [0] is ""
    size_t string_count, string_capacity;
    struct value_type types[VALUE_TYPES_MAX];
    size_t type_count;
    struct model_mapping *mappings; // the main program's first
    size_t mapping_count, mapping_capacity;
    struct function *functions;
    size_t function_count, function_capacity;
    struct line *lines;
    size_t line_count, line_capacity;
    struct location *locations;
    size_t location_count, location_capacity;
    uint32_t *frames;
    size_t frame_count, frame_capacity;
    struct label *labels;
    size_t label_count, label_capacity;
    struct sample *samples;
    size_t sample_count, sample_capacity;
    int64_t *values; // type_count of them for each sample
    size_t value_count, value_capacity;
    uint32_t *comments;
    size_t comment_count, comment_capacity;

    struct value_type period_type;
    int64_t period, time_ns, duration_ns;
    uint32_t drop_frames, keep_frames, default_type;

    /* Private. */
    struct pool texts;
    struct index string_index;
};

struct profile *profile_alloc(const char *name);
void profile_free(struct profile *profile);

/* The same text is the same string. Control characters become question marks: what a file holds
 * ends up on terminals. */
uint32_t profile_intern(struct profile *profile, const char *text, size_t length);
uint32_t profile_intern_text(struct profile *profile, const char *text);

uint32_t profile_add_function(struct profile *profile, struct function function);
uint32_t profile_add_mapping(struct profile *profile, struct model_mapping mapping);

uint32_t profile_add_location(struct profile *profile, uint64_t address, uint32_t mapping);

/* A location's lines are added one after the other, innermost first; after line_count was set to 0,
 * anew. */
void profile_add_line(struct profile *profile, uint32_t location, uint32_t function, int64_t line);

/* Frames and labels are the last sample's. */
void profile_add_sample(struct profile *profile, const int64_t *values);
void profile_add_frame(struct profile *profile, uint32_t location);
void profile_add_label(struct profile *profile, struct label label);
void profile_add_comment(struct profile *profile, uint32_t comment);
void profile_add_type(struct profile *profile, const char *type, const char *unit);

/* The values' column that a name means: a type, or its number; NULL: the file's own choice, or the
 * last. "inuse_space" finds "space". -1: there is none. */
int profile_type(const struct profile *profile, const char *name);

/* A sample's number by a key, "bytes" for one, or 0. */
int64_t profile_number(const struct profile *profile, const struct sample *sample, const char *key);

/* What our writer multiplied in-use values by, so that they add up to the exact count; 1: nothing.
 */
double profile_calibration(const struct profile *profile);

/* The main program's name without its folder; "": not known. */
const char *profile_program(const struct profile *profile);
const char *profile_base_name(const char *path);

/* When it was taken: "2026-01-31 12:00:00 UTC", or "". */
const char *profile_time(const struct profile *profile, char *text, size_t size);

const struct model_mapping *profile_find_mapping(const struct profile *profile, uint64_t address,
                                                 uint32_t *index);

static inline const char *profile_text(const struct profile *profile, uint32_t string)
{
    return profile->strings[string];
}

static inline int64_t profile_value(const struct profile *profile, size_t sample, int type)
{
    return profile->values[sample * profile->type_count + (size_t)type];
}

/* The same frames, whatever the labels. */
bool profile_same_stack(const struct profile *profile, const struct sample *a,
                        const struct sample *b);
uint64_t profile_hash_stack(const struct profile *profile, const struct sample *sample);

#endif
