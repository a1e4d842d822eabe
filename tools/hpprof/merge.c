#include "merge.h"

#include <string.h>

#include "hpprof.h"

/* Where things of the profile that is added are in the sum. */
struct merger {
    struct profile *sum;
    const struct profile *from;
    uint32_t *strings, *mappings, *functions, *locations;
    struct index functions_by_hash, locations_by_hash, samples_by_hash;
};

static uint64_t add_hash(uint64_t hash, uint64_t value)
{
    return mix_bits(hash ^ value) + 0x9e3779b97f4a7c15u;
}

static uint64_t rounded_size(const struct model_mapping *mapping)
{
    return (mapping->limit - mapping->start + 4095) & ~(uint64_t)4095;
}

static bool is_same_mapping(const struct model_mapping *a, const struct model_mapping *b)
{
    return rounded_size(a) == rounded_size(b) && a->offset == b->offset &&
           a->build_id == b->build_id && (a->build_id != STRING_EMPTY || a->file == b->file);
}

static uint32_t map_mapping(struct merger *merger, struct model_mapping mapping)
{
    mapping.file = merger->strings[mapping.file];
    mapping.build_id = merger->strings[mapping.build_id];
    for (size_t i = 0; i < merger->sum->mapping_count; i++) {
        if (is_same_mapping(&merger->sum->mappings[i], &mapping))
            return (uint32_t)i;
    }
    return profile_add_mapping(merger->sum, mapping);
}

static uint64_t hash_function(const struct function *function)
{
    uint64_t hash = add_hash(add_hash(0, function->name), function->system_name);
    return add_hash(add_hash(hash, function->file), (uint64_t)function->start_line);
}

static uint32_t map_function(struct merger *merger, struct function function)
{
    function.name = merger->strings[function.name];
    function.system_name = merger->strings[function.system_name];
    function.file = merger->strings[function.file];
    for (uint64_t hash = hash_function(&function);; hash++) {
        uint32_t next = (uint32_t)merger->sum->function_count;
        uint32_t index = index_add(&merger->functions_by_hash, hash, next);
        if (index == next)
            return profile_add_function(merger->sum, function);
        const struct function *known = &merger->sum->functions[index];
        if (known->name == function.name && known->system_name == function.system_name &&
            known->file == function.file && known->start_line == function.start_line)
            return index;
    }
}

static uint64_t hash_location(const struct profile *profile, const struct location *location)
{
    uint64_t hash = add_hash(location->address, location->mapping);
    for (uint32_t i = 0; i < location->line_count; i++) {
        const struct line *line = &profile->lines[location->first_line + i];
        hash = add_hash(add_hash(hash, line->function), (uint64_t)line->line);
    }
    return hash;
}

static bool is_same_location(const struct profile *profile, const struct location *a,
                             const struct location *b)
{
    if (a->address != b->address || a->mapping != b->mapping || a->line_count != b->line_count)
        return false;
    for (uint32_t i = 0; i < a->line_count; i++) {
        const struct line *x = &profile->lines[a->first_line + i];
        const struct line *y = &profile->lines[b->first_line + i];
        if (x->function != y->function || x->line != y->line)
            return false;
    }
    return true;
}

/* It is added, and taken off again where it was there already. */
static uint32_t map_location(struct merger *merger, const struct location *location)
{
    struct profile *sum = merger->sum;
    uint64_t address = location->address;
    uint32_t mapping = MODEL_NONE;
    if (location->mapping != MODEL_NONE) {
        mapping = merger->mappings[location->mapping];
        address += sum->mappings[mapping].start - merger->from->mappings[location->mapping].start;
    }
    uint32_t next = profile_add_location(sum, address, mapping);
    for (uint32_t i = 0; i < location->line_count; i++) {
        const struct line *line = &merger->from->lines[location->first_line + i];
        uint32_t function =
            line->function != MODEL_NONE ? merger->functions[line->function] : MODEL_NONE;
        profile_add_line(sum, next, function, line->line);
    }
    const struct location *added = &sum->locations[next];
    for (uint64_t hash = hash_location(sum, added);; hash++) {
        uint32_t index = index_add(&merger->locations_by_hash, hash, next);
        if (index == next)
            return next;
        if (!is_same_location(sum, &sum->locations[index], added))
            continue;
        sum->line_count -= added->line_count;
        sum->location_count--;
        return index;
    }
}

static uint64_t hash_sample(const struct profile *profile, const struct sample *sample)
{
    uint64_t hash = sample->frame_count;
    for (uint32_t i = 0; i < sample->frame_count; i++)
        hash = add_hash(hash, profile->frames[sample->first_frame + i]);
    for (uint32_t i = 0; i < sample->label_count; i++) {
        const struct label *label = &profile->labels[sample->first_label + i];
        hash = add_hash(add_hash(hash, label->key), label->text);
        hash = add_hash(add_hash(hash, label->unit), (uint64_t)label->number);
    }
    return hash;
}

static bool is_same_sample(const struct profile *profile, const struct sample *a,
                           const struct sample *b)
{
    if (a->frame_count != b->frame_count || a->label_count != b->label_count)
        return false;
    if (a->frame_count != 0 &&
        memcmp(&profile->frames[a->first_frame], &profile->frames[b->first_frame],
               a->frame_count * sizeof(*profile->frames)) != 0)
        return false;
    for (uint32_t i = 0; i < a->label_count; i++) {
        const struct label *x = &profile->labels[a->first_label + i];
        const struct label *y = &profile->labels[b->first_label + i];
        if (x->key != y->key || x->text != y->text || x->unit != y->unit || x->number != y->number)
            return false;
    }
    return true;
}

static void copy_sample(struct merger *merger, const struct sample *sample, const int64_t *values)
{
    struct profile *sum = merger->sum;
    profile_add_sample(sum, values);
    for (uint32_t i = 0; i < sample->frame_count; i++)
        profile_add_frame(sum, merger->locations[merger->from->frames[sample->first_frame + i]]);
    for (uint32_t i = 0; i < sample->label_count; i++) {
        struct label label = merger->from->labels[sample->first_label + i];
        label.key = merger->strings[label.key];
        label.text = merger->strings[label.text];
        label.unit = merger->strings[label.unit];
        profile_add_label(sum, label);
    }
}

static void take_off_last(struct profile *sum)
{
    const struct sample *last = &sum->samples[--sum->sample_count];
    sum->frame_count -= last->frame_count;
    sum->label_count -= last->label_count;
    sum->value_count -= sum->type_count;
}

static void add_sample(struct merger *merger, const struct sample *sample, const int64_t *values)
{
    struct profile *sum = merger->sum;
    uint32_t next = (uint32_t)sum->sample_count;
    copy_sample(merger, sample, values);
    for (uint64_t hash = hash_sample(sum, &sum->samples[next]);; hash++) {
        uint32_t index = index_add(&merger->samples_by_hash, hash, next);
        if (index == next)
            return;
        if (!is_same_sample(sum, &sum->samples[index], &sum->samples[next]))
            continue;
        for (size_t i = 0; i < sum->type_count; i++) {
            int64_t *value = &sum->values[index * sum->type_count + i];
            *value = (int64_t)((uint64_t)*value + (uint64_t)values[i]);
        }
        take_off_last(sum);
        return;
    }
}

/* Known to be another than all that are there. */
static void index_another(struct index *index, uint64_t hash, uint32_t number)
{
    while (index_add(index, hash, number) != number)
        hash++;
}

/* What the sum holds already, so that it is found again. */
static void index_sum(struct merger *merger)
{
    struct profile *sum = merger->sum;
    for (size_t i = 0; i < sum->function_count; i++)
        index_another(&merger->functions_by_hash, hash_function(&sum->functions[i]), (uint32_t)i);
    for (size_t i = 0; i < sum->location_count; i++)
        index_another(&merger->locations_by_hash, hash_location(sum, &sum->locations[i]),
                      (uint32_t)i);
    for (size_t i = 0; i < sum->sample_count; i++)
        index_another(&merger->samples_by_hash, hash_sample(sum, &sum->samples[i]), (uint32_t)i);
}

static void map_all(struct merger *merger)
{
    const struct profile *from = merger->from;
    merger->strings = memory_alloc(from->string_count, sizeof(uint32_t));
    merger->mappings = memory_alloc(from->mapping_count, sizeof(uint32_t));
    merger->functions = memory_alloc(from->function_count, sizeof(uint32_t));
    merger->locations = memory_alloc(from->location_count, sizeof(uint32_t));
    for (size_t i = 0; i < from->string_count; i++)
        merger->strings[i] = profile_intern_text(merger->sum, from->strings[i]);
    for (size_t i = 0; i < from->mapping_count; i++)
        merger->mappings[i] = map_mapping(merger, from->mappings[i]);
    for (size_t i = 0; i < from->function_count; i++)
        merger->functions[i] = map_function(merger, from->functions[i]);
    for (size_t i = 0; i < from->location_count; i++)
        merger->locations[i] = map_location(merger, &from->locations[i]);
}

static struct value_type map_type(const struct merger *merger, struct value_type type)
{
    return (struct value_type){merger->strings[type.type], merger->strings[type.unit]};
}

/* The earliest time, all durations, the widest interval. */
static bool add_header(struct merger *merger)
{
    struct profile *sum = merger->sum;
    const struct profile *from = merger->from;
    bool is_first = sum->type_count == 0;
    for (size_t i = 0; is_first && i < from->type_count; i++)
        sum->types[sum->type_count++] = map_type(merger, from->types[i]);
    if (is_first) {
        sum->period_type = map_type(merger, from->period_type);
        sum->default_type = merger->strings[from->default_type];
        sum->drop_frames = merger->strings[from->drop_frames];
        sum->keep_frames = merger->strings[from->keep_frames];
        sum->time_ns = from->time_ns;
    }
    for (size_t i = 0; i < from->type_count && i < sum->type_count; i++) {
        struct value_type type = map_type(merger, from->types[i]);
        if (type.type != sum->types[i].type || type.unit != sum->types[i].unit)
            return false;
    }
    if (from->time_ns != 0 && (sum->time_ns == 0 || from->time_ns < sum->time_ns))
        sum->time_ns = from->time_ns;
    sum->duration_ns = (int64_t)((uint64_t)sum->duration_ns + (uint64_t)from->duration_ns);
    sum->period = from->period > sum->period ? from->period : sum->period;
    return from->type_count == sum->type_count;
}

bool merge_add(struct profile *sum, const struct profile *profile)
{
    struct merger merger = {.sum = sum, .from = profile};
    index_sum(&merger);
    map_all(&merger);
    bool done = add_header(&merger);
    for (size_t i = 0; done && i < profile->sample_count; i++)
        add_sample(&merger, &profile->samples[i], &profile->values[i * profile->type_count]);
    for (size_t i = 0; done && i < profile->comment_count; i++)
        profile_add_comment(sum, merger.strings[profile->comments[i]]);
    if (!done)
        failed("%s: it holds other types of values than those before it", profile->name);
    memory_free(merger.strings);
    memory_free(merger.mappings);
    memory_free(merger.functions);
    memory_free(merger.locations);
    index_drain(&merger.functions_by_hash);
    index_drain(&merger.locations_by_hash);
    index_drain(&merger.samples_by_hash);
    return done;
}
