#include "stacks.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 4096 };

/* What is known of one profile while its samples are added. */
struct input {
    const struct profile *profile;
    int type, objects, allocated; // columns; -1: none
    bool is_bytes;
    double period;
    double correction; // what our writer's calibration was, by the byte of variance; 0: none
    uint32_t *names;   // of functions
};

static uint32_t name_of(struct stacks *stacks, const char *text)
{
    for (uint64_t hash = index_hash(text);; hash++) {
        uint32_t next = (uint32_t)stacks->text_count, name;
        name = index_add(&stacks->names, hash, next);
        if (name != next && strcmp(stacks->texts[name], text) != 0)
            continue;
        if (name == next) {
            char *copy = pool_alloc(&stacks->pool, strlen(text) + 1, 1);
            strcpy(copy, text);
            *memory_push(stacks->texts, stacks->text_count, stacks->text_capacity) = copy;
        }
        return name;
    }
}

static uint32_t name_of_location(struct stacks *stacks, const struct input *input,
                                 const struct location *location)
{
    char text[300] = "<unknown>";
    const struct profile *profile = input->profile;
    if (location->mapping != MODEL_NONE) {
        const char *file = profile_text(profile, profile->mappings[location->mapping].file);
        snprintf(text, sizeof(text), "[%.200s]", profile_base_name(file));
    }
    return name_of(stacks, text);
}

static bool begins_with_any(const char *text, const char *const *begins, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strncmp(text, begins[i], strlen(begins[i])) == 0)
            return true;
    }
    return false;
}

/* Of the languages, not of the program: what allocates for whoever calls it. */
static bool is_runtime_binary(const struct input *input, const struct location *location)
{
    static const char *const binaries[] = {"libc.so", "libc-2",     "libc.musl",  "ld-linux",
                                           "ld-musl", "libstdc++.", "libc++",     "libgcc_s.",
                                           "libm.so", "libpthread", "libglib-2",  "libgobject-2",
                                           "[vdso]",  "libdl",      "libhpmalloc"};
    if (location->mapping == MODEL_NONE)
        return false;
    const char *file =
        profile_text(input->profile, input->profile->mappings[location->mapping].file);
    return begins_with_any(profile_base_name(file), binaries, array_count(binaries));
}

static bool is_runtime_name(const char *name)
{
    static const char *const names[] = {
        "std::",  "__gnu_cxx::", "operator new", "alloc::", "<alloc",
        "core::", "hashbrown::", "__libc_",      "__rust"};
    return begins_with_any(name, names, array_count(names));
}

static size_t name_frames(struct stacks *stacks, const struct input *input,
                          const struct sample *sample, const char **names, size_t *own)
{
    const struct profile *profile = input->profile;
    size_t depth = 0;
    *own = SIZE_MAX;
    for (uint32_t i = 0; i < sample->frame_count; i++) {
        const struct location *location =
            &profile->locations[profile->frames[sample->first_frame + i]];
        size_t before = depth;
        if (location->line_count == 0 && depth < DEPTH_MAX) {
            uint32_t name = name_of_location(stacks, input, location);
            names[depth++] = stacks->texts[name];
        }
        for (uint32_t k = 0; k < location->line_count && depth < DEPTH_MAX; k++) {
            uint32_t function = profile->lines[location->first_line + k].function;
            names[depth++] = function != MODEL_NONE ? stacks->texts[input->names[function]] : "?";
        }
        for (size_t k = before; k < depth && *own == SIZE_MAX; k++) {
            if (!is_runtime_name(names[k]) && !is_runtime_binary(input, location))
                *own = k;
        }
    }
    *own = *own < depth ? *own : depth;
    return depth;
}

static uint64_t hash_names(const char *const *names, size_t depth)
{
    uint64_t hash = depth;
    for (size_t i = 0; i < depth; i++)
        hash = mix_bits(hash ^ (uintptr_t)names[i]);
    return hash;
}

/* A name is one pointer. */
static struct stack_row *row_of(struct stacks *stacks, const char *const *names, size_t depth,
                                size_t own)
{
    size_t bytes = depth * sizeof(*names);
    for (uint64_t hash = hash_names(names, depth);; hash++) {
        uint32_t next = (uint32_t)stacks->row_count;
        uint32_t row = index_add(&stacks->rows_by_hash, hash, next);
        if (row != next && (stacks->rows[row].depth != depth ||
                            (depth != 0 && memcmp(stacks->rows[row].names, names, bytes) != 0)))
            continue;
        if (row == next) {
            const char **copy = pool_alloc(&stacks->pool, bytes + 1, sizeof(*names));
            size_t cells_bytes = stacks->profile_count * sizeof(struct cell);
            struct cell *cells = pool_alloc(&stacks->pool, cells_bytes, sizeof(double));
            memset(cells, 0, cells_bytes);
            if (depth != 0)
                memcpy(copy, names, bytes);
            *memory_push(stacks->rows, stacks->row_count, stacks->row_capacity) =
                (struct stack_row){.names = copy, .depth = depth, .own = own, .cells = cells};
        }
        return &stacks->rows[row];
    }
}

/* The size of a sample's objects: its label, else their mean. */
static double object_bytes(const struct input *input, size_t index)
{
    const struct profile *profile = input->profile;
    double labelled = (double)profile_number(profile, &profile->samples[index], "bytes");
    if (labelled > 0 || !input->is_bytes || input->objects < 0)
        return labelled;
    double count = (double)profile_value(profile, index, input->objects);
    return count > 0 ? (double)profile_value(profile, index, input->type) / count : 0;
}

/* The variance of an estimate of one byte, of objects of so many. */
static double variance_of_byte(double bytes, double period)
{
    double p = -expm1(-bytes / period);
    return period > 1 && bytes > 0 ? bytes * (1 - p) / p : 0;
}

/* How much of the in-use bytes a correction of this size accounts for. */
static double corrected_bytes(const struct input *input, int in_use, double correction)
{
    double sum = 0;
    for (size_t i = 0; i < input->profile->sample_count; i++) {
        double times = correction * variance_of_byte(object_bytes(input, i), input->period);
        sum += (double)profile_value(input->profile, i, in_use) * times / (1 + times);
    }
    return sum;
}

/* Our writer makes in-use values add up to the exact count: each row's share of what was missing is
 * its share of the variance, so what is surely known stays as it is. That moves values without a
 * birth or a death, and is found here from the sum, to be undone. */
static double find_correction(const struct input *input)
{
    enum { HALVINGS = 60 };
    const struct profile *profile = input->profile;
    int in_use = profile_type(profile, "inuse_space");
    double factor = profile_calibration(profile), total = 0, low = 0, high = 0;
    if (factor == 1 || in_use < 0 || !(input->period > 1))
        return 0;
    for (size_t i = 0; i < profile->sample_count; i++)
        total += (double)profile_value(profile, i, in_use);
    double wanted = total * (1 - 1 / factor), end = (factor > 1 ? 10 : -0.9) / input->period;
    if (factor > 1)
        high = end;
    else
        low = end;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        if (corrected_bytes(input, in_use, middle) < wanted)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void add_sample(struct stacks *stacks, const struct input *input, size_t index,
                       struct cell *cell)
{
    const struct profile *profile = input->profile;
    double value = (double)profile_value(profile, index, input->type);
    double bytes = object_bytes(input, index);
    double spread = variance_of_byte(bytes, input->period);
    cell->value += value;
    cell->counted += value / (1 + input->correction * spread);
    cell->sample = (uint32_t)index + 1;
    if (input->allocated >= 0)
        cell->allocated += (double)profile_value(profile, index, input->allocated);
    if (!(input->period > 1) || !(bytes > 0))
        return;
    stacks->has_errors = true;
    double p = -expm1(-bytes / input->period);
    double one = input->is_bytes ? bytes : 1;
    cell->variance += fabs(value) * (input->is_bytes ? spread : spread / bytes);
    cell->grain = fmax(cell->grain, one * sqrt(1 - p) / p);
}

static int column_of(const struct profile *profile, const char *name)
{
    for (size_t i = 0; i < profile->type_count; i++) {
        if (strcmp(profile_text(profile, profile->types[i].type), name) == 0)
            return (int)i;
    }
    return -1;
}

static struct input open_input(struct stacks *stacks, const struct profile *profile, int type)
{
    struct input input = {.profile = profile, .type = type, .objects = -1, .allocated = -1};
    struct value_type shown = profile->types[type];
    const char *name = profile_text(profile, shown.type);
    const char *period = profile_text(profile, profile->period_type.unit);
    input.is_bytes = strcmp(profile_text(profile, shown.unit), "bytes") == 0;
    input.period = strcmp(period, "bytes") == 0 ? (double)profile->period : 0;
    if (strcmp(name, "inuse_space") == 0 || strcmp(name, "inuse_objects") == 0)
        input.allocated = column_of(profile, input.is_bytes ? "alloc_space" : "alloc_objects");
    if (strcmp(name, "inuse_space") == 0 || strcmp(name, "space") == 0)
        input.objects = column_of(profile, *name == 's' ? "objects" : "inuse_objects");
    if (strcmp(name, "alloc_space") == 0)
        input.objects = column_of(profile, "alloc_objects");
    if (strncmp(name, "inuse_", 6) == 0)
        input.correction = find_correction(&input);
    input.names = memory_alloc(profile->function_count, sizeof(uint32_t));
    for (size_t i = 0; i < profile->function_count; i++)
        input.names[i] = name_of(stacks, profile_text(profile, profile->functions[i].name));
    return input;
}

void stacks_build(struct stacks *stacks, struct profile *const *profiles, const int *types,
                  size_t count)
{
    const char **names = memory_alloc(DEPTH_MAX, sizeof(char *));
    *stacks = (struct stacks){.profile_count = count, .has_allocated = true};
    for (size_t i = 0; i < count; i++) {
        struct input input = open_input(stacks, profiles[i], types[i]);
        stacks->has_allocated &= input.allocated >= 0;
        for (size_t k = 0; k < profiles[i]->sample_count; k++) {
            size_t own, depth = name_frames(stacks, &input, &profiles[i]->samples[k], names, &own);
            add_sample(stacks, &input, k, &row_of(stacks, names, depth, own)->cells[i]);
        }
        memory_free(input.names);
    }
    memory_free(names);
}

void stacks_free(struct stacks *stacks)
{
    pool_drain(&stacks->pool);
    index_drain(&stacks->names);
    index_drain(&stacks->rows_by_hash);
    memory_free(stacks->rows);
    memory_free(stacks->texts);
}

double stacks_change(const struct cell *before, const struct cell *after, double *error)
{
    double grain = fmax(before->grain, after->grain);
    *error = sqrt(before->variance + after->variance + 2 * grain * grain);
    return after->value - before->value;
}
