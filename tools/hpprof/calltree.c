#include "calltree.h"

#include <string.h>

/* Which name a line has, or a location without lines. */
struct labels {
    uint32_t *of_line, *of_location;
    uint8_t *match; // of a location
};

void calltree_init(struct calltree *tree)
{
    *tree = (struct calltree){.texts = profile_alloc("")};
    *memory_push(tree->names, tree->name_count, tree->name_capacity) =
        (struct call_name){"all", ""};
    *memory_push(tree->calls, tree->count, tree->capacity) =
        (struct call){.caller = MODEL_NONE, .name = 0};
}

void calltree_free(struct calltree *tree)
{
    memory_free(tree->calls);
    memory_free(tree->names);
    profile_free(tree->texts);
    index_drain(&tree->call_index);
    index_drain(&tree->name_index);
}

static uint32_t add_name(struct calltree *tree, const char *text, const char *file)
{
    uint32_t string = profile_intern_text(tree->texts, text);
    uint32_t next = (uint32_t)tree->name_count;
    uint32_t name = index_add(&tree->name_index, string, next);
    if (name == next) {
        const char *kept = profile_text(tree->texts, profile_intern_text(tree->texts, file));
        *memory_push(tree->names, tree->name_count, tree->name_capacity) =
            (struct call_name){profile_text(tree->texts, string), kept};
    }
    return name;
}

static uint32_t name_of(struct calltree *tree, const struct profile *profile,
                        const struct location *location, uint32_t function)
{
    const struct function *known = function != MODEL_NONE ? &profile->functions[function] : NULL;
    const char *name = known != NULL ? profile_text(profile, known->name) : "";
    const char *label = graph_label(&tree->texts->texts, profile, location, name);
    return add_name(tree, label, known != NULL ? profile_text(profile, known->file) : "");
}

static void find_labels(struct labels *labels, struct calltree *tree, const struct profile *profile,
                        const struct graph_options *options)
{
    labels->of_line = memory_alloc(profile->line_count, sizeof(uint32_t));
    labels->of_location = memory_alloc(profile->location_count, sizeof(uint32_t));
    labels->match = memory_alloc(profile->location_count, 1);
    for (size_t i = 0; i < profile->location_count; i++) {
        const struct location *location = &profile->locations[i];
        labels->match[i] = (uint8_t)graph_match(profile, location, options);
        for (uint32_t k = 0; k < location->line_count; k++) {
            uint32_t line = location->first_line + k;
            labels->of_line[line] = name_of(tree, profile, location, profile->lines[line].function);
        }
        if (location->line_count == 0)
            labels->of_location[i] = name_of(tree, profile, location, MODEL_NONE);
    }
}

static uint32_t add_call(struct calltree *tree, uint32_t caller, uint32_t name)
{
    uint32_t next = (uint32_t)tree->count;
    uint32_t call = index_add(&tree->call_index, (uint64_t)caller << 32 | name, next);
    if (call == next)
        *memory_push(tree->calls, tree->count, tree->capacity) = (struct call){caller, name};
    return call;
}

static uint32_t add_sample(struct calltree *tree, const struct labels *labels,
                           const struct profile *profile, const struct sample *sample)
{
    uint32_t call = CALLTREE_ROOT;
    for (uint32_t i = sample->frame_count; i-- > 0;) {
        uint32_t at = profile->frames[sample->first_frame + i];
        const struct location *location = &profile->locations[at];
        if (location->line_count == 0)
            call = add_call(tree, call, labels->of_location[at]);
        for (uint32_t k = location->line_count; k-- > 0;)
            call = add_call(tree, call, labels->of_line[location->first_line + k]);
    }
    return call;
}

uint32_t *calltree_add(struct calltree *tree, const struct profile *profile,
                       const struct graph_options *options)
{
    struct labels labels;
    uint32_t *innermost = memory_alloc(profile->sample_count, sizeof(*innermost));
    find_labels(&labels, tree, profile, options);
    for (size_t i = 0; i < profile->sample_count; i++) {
        const struct sample *sample = &profile->samples[i];
        bool is_chosen = graph_chooses(profile, sample, labels.match, options);
        innermost[i] = is_chosen ? add_sample(tree, &labels, profile, sample) : MODEL_NONE;
    }
    memory_free(labels.of_line);
    memory_free(labels.of_location);
    memory_free(labels.match);
    return innermost;
}

/* Widths are made of sums: one that wrapped around would be none. */
static int64_t add_up(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

int64_t *calltree_sum(const struct calltree *tree, const struct profile *profile,
                      const uint32_t *innermost, int type)
{
    int64_t *values = memory_alloc(tree->count, sizeof(*values));
    for (size_t i = 0; i < profile->sample_count; i++) {
        int64_t value = profile_value(profile, i, type);
        if (innermost[i] != MODEL_NONE && value > 0)
            values[innermost[i]] = add_up(values[innermost[i]], value);
    }
    return values;
}

void calltree_accumulate(const struct calltree *tree, int64_t *values)
{
    for (size_t i = tree->count; i-- > 1;) {
        int64_t *caller = &values[tree->calls[i].caller];
        *caller = add_up(*caller, values[i]);
    }
}
