#include <stdio.h>

#include "query.h"
#include "style.h"
#include "table.h"

static const char tree_help[] =
    "Usage: hpprof tree [OPTIONS] FILE\n"
    "\n"
    "Each function between those that called it and those it called. The shares beside these are "
    "of\n"
    "the function's cum.\n"
    "\n"
    "  --sample TYPE   inuse_space, inuse_objects, alloc_space, alloc_objects, or another of the "
    "file\n"
    "  --cum           the largest cum first\n"
    "  --focus REGEX   only stacks with a function, source file or binary like this\n"
    "  --ignore REGEX  only stacks without one\n"
    "  --base FILE     the change since that profile\n"
    "  -n N            at most N functions (80); 0: all\n"
    "  --json          for scripts\n"
    "\n"
    "Example: hpprof tree --focus parse hpmalloc.redis-server.4711.1.pb.gz\n";

static const char peek_help[] =
    "Usage: hpprof peek [OPTIONS] FILE FUNCTION\n"
    "\n"
    "The functions whose names are like FUNCTION (a regular expression), each between those that\n"
    "called it and those it called. Nothing is left out for being small.\n"
    "\n"
    "  --sample TYPE   inuse_space, inuse_objects, alloc_space, alloc_objects, or another of the "
    "file\n"
    "  --focus REGEX   only stacks with a function, source file or binary like this\n"
    "  --ignore REGEX  only stacks without one\n"
    "  --base FILE     the change since that profile\n"
    "  --json          for scripts\n"
    "\n"
    "Example: hpprof peek hpmalloc.redis-server.4711.1.pb.gz 'zmalloc|sds'\n";

static const char line[] =
    "----------------------------------------------------------+-------------";

static void put_edge(const struct graph *graph, const struct edge *edge, uint32_t other,
                     int64_t cum)
{
    char value[UNITS_TEXT_MAX], share[UNITS_TEXT_MAX];
    printf("%50s %s |   %s%s\n", units_format(value, graph->scale, edge->weight),
           units_percent(share, edge->weight, cum), graph->nodes[other].label,
           edge->is_inlined ? " (inline)" : "");
}

static void put_node(const struct graph *graph, uint32_t index, int64_t *sum,
                     const struct edge **edges)
{
    const struct node *node = &graph->nodes[index];
    char flat[UNITS_TEXT_MAX], cum[UNITS_TEXT_MAX], shares[3][UNITS_TEXT_MAX];
    puts(line);
    size_t count = graph_callers(graph, index, edges);
    for (size_t i = 0; i < count; i++)
        put_edge(graph, edges[i], edges[i]->caller, node->cum);
    *sum = units_add(*sum, node->flat);
    printf("%s%10s %s %s %10s %s                | %s%s\n", style_text(STYLE_BOLD),
           units_format(flat, graph->scale, node->flat),
           units_percent(shares[0], node->flat, graph->total),
           units_percent(shares[1], *sum, graph->total), units_format(cum, graph->scale, node->cum),
           units_percent(shares[2], node->cum, graph->total), node->label, style_text(STYLE_PLAIN));
    count = graph_callees(graph, index, edges);
    for (size_t i = 0; i < count; i++)
        put_edge(graph, edges[i], edges[i]->callee, node->cum);
}

static bool is_wanted(const regex_t *function, const struct node *node)
{
    return function == NULL || regexec(function, node->label, 0, NULL, 0) == 0;
}

static size_t count_wanted(const struct graph *graph, const regex_t *function)
{
    size_t count = 0;
    for (size_t i = 0; i < graph->shown_count; i++)
        count += is_wanted(function, &graph->nodes[graph->order[i]]);
    return count;
}

static void put_text(const struct query_input *input, const struct graph *graph,
                     const regex_t *function)
{
    const struct edge **edges = memory_alloc(graph->edge_count, sizeof(struct edge *));
    bool is_any = false;
    int64_t sum = 0;
    table_put_title(input, graph);
    puts(line);
    printf("      flat  flat%%   sum%%        cum   cum%%   calls calls%% + function\n");
    for (size_t i = 0; i < graph->shown_count; i++) {
        uint32_t index = graph->order[i];
        if (!is_wanted(function, &graph->nodes[index]))
            continue;
        put_node(graph, index, &sum, edges);
        is_any = true;
    }
    if (is_any)
        puts(line);
    memory_free(edges);
}

static void put_json_edges(const struct graph *graph, const char *key, const struct edge **edges,
                           size_t count, bool are_callers)
{
    json_open(key, '[');
    for (size_t i = 0; i < count; i++) {
        uint32_t other = are_callers ? edges[i]->caller : edges[i]->callee;
        json_open(NULL, '{');
        json_text("function", graph->nodes[other].label);
        json_number("value", edges[i]->weight);
        json_bool("inlined", edges[i]->is_inlined);
        json_close('}');
    }
    json_close(']');
}

static void put_json_node(const struct graph *graph, uint32_t index, const struct edge **edges)
{
    const struct node *node = &graph->nodes[index];
    json_open(NULL, '{');
    json_text("function", node->label);
    json_number("flat", node->flat);
    json_number("cum", node->cum);
    put_json_edges(graph, "callers", edges, graph_callers(graph, index, edges), true);
    put_json_edges(graph, "callees", edges, graph_callees(graph, index, edges), false);
    json_close('}');
}

static void put_json(const struct query_input *input, const struct graph *graph,
                     const regex_t *function)
{
    const struct edge **edges = memory_alloc(graph->edge_count, sizeof(struct edge *));
    table_open_json(input, graph);
    json_open("functions", '[');
    for (size_t i = 0; i < graph->shown_count; i++) {
        if (is_wanted(function, &graph->nodes[graph->order[i]]))
            put_json_node(graph, graph->order[i], edges);
    }
    json_close(']');
    json_close('}');
    memory_free(edges);
}

static int show(struct query *query, const regex_t *function)
{
    struct query_input input;
    struct graph graph;
    int status;
    if (!query_load(query, query->words[0], query->base, &input, &status))
        return status;
    if (function != NULL)
        query->count = 0;
    struct graph_options options = table_options(query, 80);
    graph_build(&graph, input.inputs, input.count, &options);
    bool is_in_vain = function != NULL && count_wanted(&graph, function) == 0;
    if (is_in_vain)
        failed("no function's name is like '%s'", query->words[1]);
    else if (query->json)
        put_json(&input, &graph, function);
    else
        put_text(&input, &graph, function);
    graph_free(&graph);
    query_close(&input);
    return is_in_vain ? STATUS_FAILED : STATUS_DONE;
}

int command_tree(int count, char **arguments)
{
    struct query query;
    int status;
    if (!query_parse(&query, count, arguments,
                     QUERY_SAMPLE | QUERY_FILTER | QUERY_CUM | QUERY_COUNT | QUERY_BASE |
                         QUERY_JSON,
                     tree_help, &status))
        return status;
    if (query_needs(&query, 1, 1, "one file", &status))
        status = show(&query, NULL);
    query_free(&query);
    return status;
}

int command_peek(int count, char **arguments)
{
    struct query query;
    regex_t function;
    int status;
    if (!query_parse(&query, count, arguments,
                     QUERY_SAMPLE | QUERY_FILTER | QUERY_BASE | QUERY_JSON, peek_help, &status))
        return status;
    if (query_needs(&query, 2, 2, "a file and a function", &status)) {
        status = STATUS_MISUSED;
        if (query_compile(&function, query.words[1], "peek")) {
            status = show(&query, &function);
            regfree(&function);
        }
    }
    query_free(&query);
    return status;
}
