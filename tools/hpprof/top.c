#include <stdio.h>
#include <string.h>

#include "query.h"
#include "style.h"
#include "table.h"

static const char help[] =
    "Usage: hpprof top [OPTIONS] FILE\n"
    "\n"
    "What holds memory, by function. flat: allocated in the function itself; cum: also in what it\n"
    "called; sum%: of this row and those above.\n"
    "\n"
    "  --sample TYPE   inuse_space, inuse_objects, alloc_space, alloc_objects, or another of the "
    "file\n"
    "  --cum           the largest cum first\n"
    "  --focus REGEX   only stacks with a function, source file or binary like this\n"
    "  --ignore REGEX  only stacks without one\n"
    "  --base FILE     the change since that profile; percentages are of it\n"
    "  -n N            at most N rows; 0: all\n"
    "  --json          for scripts\n"
    "\n"
    "Functions that account for less than 0.5 % are left out; -n 0 shows them too.\n"
    "\n"
    "Example: hpprof top --sample alloc_space -n 20 hpmalloc.redis-server.4711.1.pb.gz\n";

static const char *inlined_of(const struct graph *graph, const struct node *node)
{
    bool is_inlined = false, is_called = false;
    for (uint32_t i = node->first_in; i != MODEL_NONE; i = graph->edges[i].next_in) {
        const struct edge *edge = &graph->edges[i];
        is_inlined |= edge->is_inlined && !edge->is_dropped;
        is_called |= !edge->is_inlined && !edge->is_dropped;
    }
    return !is_inlined ? "" : is_called ? " (partial-inline)" : " (inline)";
}

static void put_row(const struct graph *graph, const struct node *node, int64_t sum)
{
    char flat[UNITS_TEXT_MAX], cum[UNITS_TEXT_MAX], shares[3][UNITS_TEXT_MAX];
    printf("%10s %s %s %10s %s  %s%s\n", units_format(flat, graph->scale, node->flat),
           units_percent(shares[0], node->flat, graph->total),
           units_percent(shares[1], sum, graph->total), units_format(cum, graph->scale, node->cum),
           units_percent(shares[2], node->cum, graph->total), node->label, inlined_of(graph, node));
}

void table_put_rows(const struct graph *graph)
{
    int64_t sum = 0;
    printf("%s%10s  flat%%   sum%%        cum   cum%%%s\n", style_text(STYLE_BOLD), "flat",
           style_text(STYLE_PLAIN));
    for (size_t i = 0; i < graph->shown_count; i++) {
        const struct node *node = &graph->nodes[graph->order[i]];
        sum = units_add(sum, node->flat);
        put_row(graph, node, sum);
    }
}

static void put_time(const struct profile *profile)
{
    char text[64];
    profile_time(profile, text, sizeof(text));
    printf("%s%s", *text != '\0' ? ", " : "", text);
}

void table_put_title(const struct query_input *input, const struct graph *graph)
{
    const struct profile *profile = input->profile;
    char shown[UNITS_TEXT_MAX], total[UNITS_TEXT_MAX], percent[UNITS_TEXT_MAX];
    const char *program = profile_program(profile);
    printf("%s%s%s", *program != '\0' ? program : profile->name, *program != '\0' ? ": " : ", ",
           profile_text(profile, profile->types[input->inputs[0].type].type));
    put_time(profile);
    if (input->base != NULL) {
        printf("; the change since %s", input->base->name);
        put_time(input->base);
        printf(": more is positive, less is negative");
    }
    units_percent(percent, graph->shown_flat, graph->total);
    printf("\nShown: %s of %s, %s", units_format(shown, graph->scale, graph->shown_flat),
           units_format(total, graph->scale, graph->total), percent + strspn(percent, " "));
    if (graph->shown_count < graph->kept_count)
        printf("; the first %zu of %zu functions", graph->shown_count, graph->kept_count);
    if (graph->dropped_count != 0)
        printf("; left out for less than 0.5 %%: %zu", graph->dropped_count);
    putchar('\n');
}

static void put_json_node(const struct node *node)
{
    json_open(NULL, '{');
    json_text("function", node->label);
    json_number("flat", node->flat);
    json_number("cum", node->cum);
    json_close('}');
}

void table_open_json(const struct query_input *input, const struct graph *graph)
{
    const struct value_type *type = &input->profile->types[input->inputs[0].type];
    json_open(NULL, '{');
    json_text("file", input->profile->name);
    if (input->base != NULL)
        json_text("base", input->base->name);
    json_text("sample_type", profile_text(input->profile, type->type));
    json_text("unit", profile_text(input->profile, type->unit));
    json_number("total", graph->total);
    json_number("left_out", (int64_t)graph->dropped_count);
}

static void put_json(const struct query_input *input, const struct graph *graph)
{
    table_open_json(input, graph);
    json_open("functions", '[');
    for (size_t i = 0; i < graph->shown_count; i++)
        put_json_node(&graph->nodes[graph->order[i]]);
    json_close(']');
    json_close('}');
}

struct graph_options table_options(const struct query *query, long usual_count)
{
    long count = query->count >= 0 ? query->count : usual_count;
    return (struct graph_options){
        .focus = query->has_focus ? &query->focus : NULL,
        .ignore = query->has_ignore ? &query->ignore : NULL,
        .node_share = query->count == 0 ? 0 : 0.005,
        .edge_share = query->count == 0 ? 0 : 0.001,
        .nodes_max = (size_t)count,
        .by_cum = query->by_cum,
    };
}

static int top(const struct query *query)
{
    struct query_input input;
    struct graph graph;
    int status;
    if (!query_needs(query, 1, 1, "one file", &status) ||
        !query_load(query, query->words[0], query->base, &input, &status))
        return status;
    struct graph_options options = table_options(query, 0);
    graph_build(&graph, input.inputs, input.count, &options);
    if (query->json) {
        put_json(&input, &graph);
    } else {
        table_put_title(&input, &graph);
        table_put_rows(&graph);
    }
    graph_free(&graph);
    query_close(&input);
    return STATUS_DONE;
}

int command_top(int count, char **arguments)
{
    struct query query;
    int status;
    if (!query_parse(&query, count, arguments,
                     QUERY_SAMPLE | QUERY_FILTER | QUERY_CUM | QUERY_COUNT | QUERY_BASE |
                         QUERY_JSON,
                     help, &status))
        return status;
    status = top(&query);
    query_free(&query);
    return status;
}
