#include "graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Samples of one stack, with their sum. */
struct pile {
    uint32_t sample; // one of them
    int64_t value;
};

/* Which node a line is, or a location without lines. */
struct places {
    const struct graph_input *input;
    struct pile *piles;
    size_t pile_count, pile_capacity;
    uint32_t *of_line, *of_location;
    uint8_t *match; // of a location
};

static uint64_t hash_text(const char *text, uint64_t hash)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

static const char *label_of(struct pool *pool, const char *name, const char *file)
{
    if (*name != '\0')
        return name;
    if (*file == '\0')
        return "<unknown>";
    const char *slash = strrchr(file, '/');
    const char *base = slash != NULL && slash[1] != '\0' ? slash + 1 : file;
    char *label = pool_alloc(pool, strlen(base) + 3, 1);
    sprintf(label, "[%s]", base);
    return label;
}

static uint32_t add_node(struct graph *graph, const char *name, const char *file)
{
    for (uint64_t hash = hash_text(file, hash_text(name, 0xcbf29ce484222325u));; hash++) {
        uint32_t node = index_add(&graph->node_index, hash, (uint32_t)graph->node_count);
        if (node == graph->node_count) {
            *memory_push(graph->nodes, graph->node_count, graph->node_capacity) =
                (struct node){.name = name,
                              .file = file,
                              .label = label_of(&graph->labels, name, file),
                              .is_kept = true};
            return node;
        }
        const struct node *other = &graph->nodes[node];
        if (strcmp(other->name, name) == 0 && strcmp(other->file, file) == 0)
            return node;
    }
}

static const char *file_of(const struct profile *profile, const struct location *location)
{
    if (location->mapping == MODEL_NONE)
        return "";
    return profile_text(profile, profile->mappings[location->mapping].file);
}

const char *graph_label(struct pool *pool, const struct profile *profile,
                        const struct location *location, const char *name)
{
    return label_of(pool, name, file_of(profile, location));
}

static uint32_t node_of(struct graph *graph, const struct profile *profile,
                        const struct location *location, uint32_t function)
{
    const char *name =
        function != MODEL_NONE ? profile_text(profile, profile->functions[function].name) : "";
    return add_node(graph, name, *name == '\0' ? file_of(profile, location) : "");
}

static bool is_match(const regex_t *expression, const char *text)
{
    return regexec(expression, text, 0, NULL, 0) == 0;
}

static bool location_matches(const struct profile *profile, const struct location *location,
                             const regex_t *expression)
{
    for (uint32_t i = 0; i < location->line_count; i++) {
        uint32_t index = profile->lines[location->first_line + i].function;
        if (index == MODEL_NONE)
            continue;
        const struct function *function = &profile->functions[index];
        if (is_match(expression, profile_text(profile, function->name)) ||
            is_match(expression, profile_text(profile, function->file)))
            return true;
    }
    return location->mapping != MODEL_NONE && is_match(expression, file_of(profile, location));
}

enum graph_match graph_match(const struct profile *profile, const struct location *location,
                             const struct graph_options *options)
{
    if (options->ignore != NULL && location_matches(profile, location, options->ignore))
        return MATCH_IGNORE;
    if (options->focus == NULL || location_matches(profile, location, options->focus))
        return MATCH_FOCUS;
    return MATCH_NOT;
}

static void find_places(struct places *places, struct graph *graph, const struct graph_input *input,
                        const struct graph_options *options)
{
    const struct profile *profile = input->profile;
    places->input = input;
    places->of_line = memory_alloc(profile->line_count, sizeof(uint32_t));
    places->of_location = memory_alloc(profile->location_count, sizeof(uint32_t));
    places->match = memory_alloc(profile->location_count, 1);
    for (size_t i = 0; i < profile->location_count; i++) {
        const struct location *location = &profile->locations[i];
        places->match[i] = (uint8_t)graph_match(profile, location, options);
        for (uint32_t k = location->first_line; k < location->first_line + location->line_count;
             k++)
            places->of_line[k] = node_of(graph, profile, location, profile->lines[k].function);
        if (location->line_count == 0)
            places->of_location[i] = node_of(graph, profile, location, MODEL_NONE);
    }
}

static struct pile *pile_of(struct places *places, struct index *by_stack, uint32_t sample)
{
    const struct profile *profile = places->input->profile;
    for (uint64_t hash = profile_hash_stack(profile, &profile->samples[sample]);; hash++) {
        uint32_t next = (uint32_t)places->pile_count;
        uint32_t index = index_add(by_stack, hash, next);
        if (index == next)
            *memory_push(places->piles, places->pile_count, places->pile_capacity) =
                (struct pile){.sample = sample};
        struct pile *pile = &places->piles[index];
        if (index == next ||
            profile_same_stack(profile, &profile->samples[pile->sample], &profile->samples[sample]))
            return pile;
    }
}

/* Large profiles have the same stacks over and over, and each is walked more than once. */
static void pile_up(struct places *places, const struct graph_options *options)
{
    const struct graph_input *input = places->input;
    struct index by_stack = {0};
    for (size_t i = 0; i < input->profile->sample_count; i++) {
        int64_t value = profile_value(input->profile, i, input->type);
        if (value == 0 ||
            !graph_chooses(input->profile, &input->profile->samples[i], places->match, options))
            continue;
        struct pile *pile = pile_of(places, &by_stack, (uint32_t)i);
        pile->value = units_add(pile->value, input->sign < 0 ? units_negate(value) : value);
    }
    index_drain(&by_stack);
}

static void free_places(struct places *places)
{
    memory_free(places->piles);
    memory_free(places->of_line);
    memory_free(places->of_location);
    memory_free(places->match);
}

bool graph_chooses(const struct profile *profile, const struct sample *sample, const uint8_t *match,
                   const struct graph_options *options)
{
    const uint32_t *frames = &profile->frames[sample->first_frame];
    bool is_focused = options->focus == NULL && options->ignore == NULL;
    for (uint32_t i = 0; i < sample->frame_count; i++) {
        if (match[frames[i]] == MATCH_IGNORE)
            return false;
        is_focused |= match[frames[i]] == MATCH_FOCUS;
    }
    return is_focused;
}

static struct edge *add_edge(struct graph *graph, uint32_t caller, uint32_t callee)
{
    uint32_t next = (uint32_t)graph->edge_count;
    uint32_t index = index_add(&graph->edge_index, (uint64_t)caller << 32 | callee, next);
    if (index != next)
        return &graph->edges[index];
    struct edge *edge = memory_push(graph->edges, graph->edge_count, graph->edge_capacity);
    *edge = (struct edge){.caller = caller,
                          .callee = callee,
                          .is_inlined = true,
                          .next_in = graph->nodes[callee].first_in,
                          .next_out = graph->nodes[caller].first_out};
    graph->nodes[callee].first_in = graph->nodes[caller].first_out = index;
    return edge;
}

/* Where a walk from the outermost function to the innermost has come to. */
struct walk {
    uint32_t stamp, caller;
    bool has_gap; // functions that are not kept lie between
    int64_t value;
};

static void visit(struct graph *graph, struct walk *walk, uint32_t index, bool is_inlined)
{
    struct node *node = &graph->nodes[index];
    if (!node->is_kept) {
        walk->has_gap = true;
        return;
    }
    if (node->seen_by != walk->stamp) {
        node->seen_by = walk->stamp;
        node->cum = units_add(node->cum, walk->value);
    }
    if (walk->caller != MODEL_NONE && walk->caller != index) {
        struct edge *edge = add_edge(graph, walk->caller, index);
        if (edge->seen_by != walk->stamp) {
            edge->seen_by = walk->stamp;
            edge->weight = units_add(edge->weight, walk->value);
            edge->is_inlined &= is_inlined;
        }
    }
    walk->caller = index;
    walk->has_gap = false;
}

static void add_sample(struct graph *graph, const struct places *places,
                       const struct sample *sample, struct walk *walk)
{
    const struct profile *profile = places->input->profile;
    for (uint32_t i = sample->frame_count; i-- > 0;) {
        uint32_t at = profile->frames[sample->first_frame + i];
        const struct location *location = &profile->locations[at];
        if (location->line_count == 0)
            visit(graph, walk, places->of_location[at], false);
        for (uint32_t k = location->line_count; k-- > 0;)
            visit(graph, walk, places->of_line[location->first_line + k],
                  k + 1 != location->line_count);
    }
    if (walk->caller != MODEL_NONE && !walk->has_gap) {
        struct node *innermost = &graph->nodes[walk->caller];
        innermost->flat = units_add(innermost->flat, walk->value);
    }
}

static void clear_sums(struct graph *graph)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        struct node *node = &graph->nodes[i];
        node->flat = node->cum = 0;
        node->first_in = node->first_out = MODEL_NONE;
        node->seen_by = 0;
    }
    graph->edge_count = 0;
    index_drain(&graph->edge_index);
}

static void sum_up(struct graph *graph, const struct places *places, size_t count)
{
    uint32_t stamp = 0;
    clear_sums(graph);
    for (size_t p = 0; p < count; p++) {
        for (size_t i = 0; i < places[p].pile_count; i++) {
            const struct pile *pile = &places[p].piles[i];
            struct walk walk = {.stamp = ++stamp, .caller = MODEL_NONE, .value = pile->value};
            add_sample(graph, &places[p], &places[p].input->profile->samples[pile->sample], &walk);
        }
    }
}

static int64_t sum_of(const struct graph_input *input)
{
    int64_t sum = 0;
    for (size_t i = 0; i < input->profile->sample_count; i++)
        sum = units_add(sum, units_abs(profile_value(input->profile, i, input->type)));
    return sum;
}

static int64_t total_of(const struct graph_input *inputs, size_t count)
{
    int64_t total = 0, base = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t sum = sum_of(&inputs[i]);
        total = units_add(total, sum);
        base = inputs[i].sign < 0 ? units_add(base, sum) : base;
    }
    return base > 0 ? base : total;
}

static int64_t share_of(int64_t sum, double share)
{
    return units_abs((int64_t)((double)sum * share));
}

static int64_t flat_of_all(const struct graph *graph)
{
    int64_t sum = 0;
    for (size_t i = 0; i < graph->node_count; i++)
        sum = units_add(sum, graph->nodes[i].flat);
    return sum;
}

static int compare_names(const struct node *a, const struct node *b)
{
    int order = strcmp(a->label, b->label);
    return order != 0 ? order : strcmp(a->file, b->file);
}

static const struct graph *sorted_graph;
static bool sorted_by_cum;

static int compare_sizes(int64_t a, int64_t b)
{
    a = units_abs(a);
    b = units_abs(b);
    return a > b ? -1 : a < b;
}

static int compare_nodes(const void *left, const void *right)
{
    const struct node *a = &sorted_graph->nodes[*(const uint32_t *)left];
    const struct node *b = &sorted_graph->nodes[*(const uint32_t *)right];
    int order = sorted_by_cum ? compare_sizes(a->cum, b->cum) : compare_sizes(a->flat, b->flat);
    if (order == 0)
        order = strcmp(a->label, b->label);
    if (order == 0)
        order = sorted_by_cum ? compare_sizes(a->flat, b->flat) : compare_sizes(a->cum, b->cum);
    return order != 0 ? order : compare_names(a, b);
}

/* All nodes that hold something, in order. */
static void sort_nodes(struct graph *graph, bool by_cum)
{
    graph->shown_count = 0;
    for (size_t i = 0; i < graph->node_count; i++) {
        if (graph->nodes[i].flat != 0 || graph->nodes[i].cum != 0)
            graph->order[graph->shown_count++] = (uint32_t)i;
    }
    sorted_graph = graph;
    sorted_by_cum = by_cum;
    if (graph->shown_count > 1)
        qsort(graph->order, graph->shown_count, sizeof(*graph->order), compare_nodes);
}

static size_t count_shown(const struct graph *graph)
{
    size_t count = 0;
    for (size_t i = 0; i < graph->node_count; i++)
        count += graph->nodes[i].flat != 0 || graph->nodes[i].cum != 0;
    return count;
}

static void drop_small_nodes(struct graph *graph, int64_t cutoff)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        struct node *node = &graph->nodes[i];
        bool is_shown = node->flat != 0 || node->cum != 0;
        node->is_kept = is_shown && units_abs(node->cum) >= cutoff;
        graph->dropped_count += is_shown && !node->is_kept;
    }
}

static void keep_first_nodes(struct graph *graph, size_t count)
{
    for (size_t i = 0; i < graph->node_count; i++)
        graph->nodes[i].is_kept = false;
    for (size_t i = 0; i < count; i++)
        graph->nodes[graph->order[i]].is_kept = true;
}

/* Of what is shown first in a row, the least. */
static int64_t smallest_of(const struct graph *graph)
{
    int64_t smallest = 0;
    for (size_t i = 0; i < graph->shown_count; i++) {
        const struct node *node = &graph->nodes[graph->order[i]];
        int64_t value = units_abs(node->flat != 0 ? node->flat : node->cum);
        if (value > 0 && (smallest == 0 || value < smallest))
            smallest = value;
    }
    return smallest;
}

static const char *unit_of(const struct graph_input *input)
{
    return profile_text(input->profile, input->profile->types[input->type].unit);
}

void graph_build(struct graph *graph, const struct graph_input *inputs, size_t count,
                 const struct graph_options *options)
{
    struct places *places = memory_alloc(count, sizeof(*places));
    *graph = (struct graph){.total = total_of(inputs, count)};
    for (size_t i = 0; i < count; i++) {
        find_places(&places[i], graph, &inputs[i], options);
        pile_up(&places[i], options);
    }
    graph->order = memory_alloc(graph->node_count, sizeof(*graph->order));
    sum_up(graph, places, count);
    int64_t flat = flat_of_all(graph);
    int64_t cutoff = share_of(flat, options->node_share);
    if (cutoff > 0)
        drop_small_nodes(graph, cutoff);
    if (graph->dropped_count != 0)
        sum_up(graph, places, count);
    graph->kept_count = count_shown(graph);
    sort_nodes(graph, options->by_cum);
    if (options->nodes_max != 0 && graph->shown_count > options->nodes_max) {
        keep_first_nodes(graph, options->nodes_max);
        sum_up(graph, places, count);
        sort_nodes(graph, options->by_cum);
    }
    int64_t edge_cutoff = share_of(flat, options->edge_share);
    for (size_t i = 0; i < graph->edge_count; i++)
        graph->edges[i].is_dropped = units_abs(graph->edges[i].weight) < edge_cutoff;
    graph->shown_flat = flat_of_all(graph);
    graph->scale = units_choose(unit_of(&inputs[0]), smallest_of(graph), graph->total);
    for (size_t i = 0; i < count; i++)
        free_places(&places[i]);
    memory_free(places);
}

void graph_free(struct graph *graph)
{
    memory_free(graph->nodes);
    memory_free(graph->edges);
    memory_free(graph->order);
    index_drain(&graph->node_index);
    index_drain(&graph->edge_index);
    pool_drain(&graph->labels);
}

static int compare_edges(const void *left, const void *right)
{
    const struct edge *a = *(const struct edge *const *)left;
    const struct edge *b = *(const struct edge *const *)right;
    const struct node *nodes = sorted_graph->nodes;
    if (a->weight != b->weight)
        return compare_sizes(a->weight, b->weight);
    int order = compare_names(&nodes[a->caller], &nodes[b->caller]);
    return order != 0 ? order : compare_names(&nodes[a->callee], &nodes[b->callee]);
}

static size_t sort_edges(const struct graph *graph, const struct edge **edges, size_t count)
{
    sorted_graph = graph;
    if (count > 1)
        qsort(edges, count, sizeof(*edges), compare_edges);
    return count;
}

size_t graph_callers(const struct graph *graph, uint32_t node, const struct edge **edges)
{
    size_t count = 0;
    for (uint32_t i = graph->nodes[node].first_in; i != MODEL_NONE; i = graph->edges[i].next_in) {
        if (!graph->edges[i].is_dropped)
            edges[count++] = &graph->edges[i];
    }
    return sort_edges(graph, edges, count);
}

size_t graph_callees(const struct graph *graph, uint32_t node, const struct edge **edges)
{
    size_t count = 0;
    for (uint32_t i = graph->nodes[node].first_out; i != MODEL_NONE; i = graph->edges[i].next_out) {
        if (!graph->edges[i].is_dropped)
            edges[count++] = &graph->edges[i];
    }
    return sort_edges(graph, edges, count);
}
