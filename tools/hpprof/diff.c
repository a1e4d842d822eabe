#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "query.h"
#include "stacks.h"
#include "style.h"
#include "table.h"

enum { ROWS_USUAL = 20, FRAMES_SHOWN = 12 };

static const char help[] =
    "Usage: hpprof diff [OPTIONS] OLD NEW\n"
    "\n"
    "What changed from OLD to NEW: + is more, - is less. First by function, as `go tool pprof "
    "-top\n"
    "-diff_base OLD NEW` shows it, percentages of OLD; then by stack, each with the 95 % interval\n"
    "that sampling leaves, and whether it is a change at all: 'sure' if chance makes one like it "
    "in\n"
    "fewer than 1 of 1000 stacks, 'likely' in 1 of 20, 'chance' else.\n"
    "\n"
    "  --sample TYPE   inuse_space, inuse_objects, alloc_space, alloc_objects, or another of the "
    "files\n"
    "  --cum           the largest cum first\n"
    "  --focus REGEX   only stacks with a function, source file or binary like this\n"
    "  --ignore REGEX  only stacks without one\n"
    "  -n N            at most N stacks (20), and N functions; 0: all\n"
    "  --json          for scripts\n"
    "\n"
    "Example: hpprof diff hpmalloc.redis-server.4711.1.pb.gz hpmalloc.redis-server.4711.2.pb.gz\n";

struct change {
    const struct stack_row *row;
    double change, error;
};

static int compare_changes(const void *left, const void *right)
{
    double a = fabs(((const struct change *)left)->change);
    double b = fabs(((const struct change *)right)->change);
    return a > b ? -1 : a < b;
}

static bool has_match(const struct stack_row *row, const regex_t *expression)
{
    for (size_t i = 0; i < row->depth; i++) {
        if (regexec(expression, row->names[i], 0, NULL, 0) == 0)
            return true;
    }
    return false;
}

static bool is_chosen(const struct query *query, const struct stack_row *row)
{
    return !(query->has_ignore && has_match(row, &query->ignore)) &&
           (!query->has_focus || has_match(row, &query->focus));
}

static size_t list_changes(const struct query *query, const struct stacks *stacks,
                           struct change *changes)
{
    size_t count = 0;
    for (size_t i = 0; i < stacks->row_count; i++) {
        const struct stack_row *row = &stacks->rows[i];
        struct change *change = &changes[count];
        change->row = row;
        change->change = stacks_change(&row->cells[0], &row->cells[1], &change->error);
        count += change->change != 0 && is_chosen(query, row);
    }
    if (count > 1)
        qsort(changes, count, sizeof(*changes), compare_changes);
    return count;
}

static const char *certainty_of(const struct change *change, bool has_errors)
{
    double errors = fabs(change->change) / change->error;
    if (!has_errors)
        return "";
    return !(change->error > 0) || errors > 3.3 ? "sure" : errors > 1.96 ? "likely" : "chance";
}

static void put_names(const struct stack_row *row)
{
    printf("    ");
    for (size_t i = 0; i < row->depth && i < FRAMES_SHOWN; i++)
        printf("%s%s", i > 0 ? " < " : "", row->names[i]);
    puts(row->depth == 0 ? "(no stack)" : row->depth > FRAMES_SHOWN ? " < ..." : "");
}

static void put_change(const struct change *change, struct scale scale, bool has_errors)
{
    char text[UNITS_TEXT_MAX], error[UNITS_TEXT_MAX], before[UNITS_TEXT_MAX], after[UNITS_TEXT_MAX];
    enum style style = change->change > 0 ? STYLE_RED : STYLE_GREEN;
    printf("%s%s%s%s", style_text(style), change->change > 0 ? "+" : "",
           units_format(text, scale, (int64_t)change->change), style_text(STYLE_PLAIN));
    if (has_errors)
        printf(" \xc2\xb1 %s, %s",
               units_format(error, scale, (int64_t)fmin(1.96 * change->error, 9e18)),
               certainty_of(change, has_errors));
    printf(" (%s, then %s)\n", units_format(before, scale, (int64_t)change->row->cells[0].value),
           units_format(after, scale, (int64_t)change->row->cells[1].value));
    put_names(change->row);
}

static void put_json(const struct query_input *input, const struct change *changes, size_t count,
                     bool has_errors)
{
    const struct value_type *type = &input->profile->types[input->inputs[0].type];
    json_open(NULL, '{');
    json_text("old", input->base->name);
    json_text("new", input->profile->name);
    json_text("sample_type", profile_text(input->profile, type->type));
    json_text("unit", profile_text(input->profile, type->unit));
    json_open("stacks", '[');
    for (size_t i = 0; i < count; i++) {
        json_open(NULL, '{');
        json_real("change", changes[i].change);
        json_real("old", changes[i].row->cells[0].value);
        json_real("new", changes[i].row->cells[1].value);
        if (has_errors) {
            json_real("error_95", 1.96 * changes[i].error);
            json_text("certainty", certainty_of(&changes[i], has_errors));
        }
        json_open("stack", '[');
        for (size_t k = 0; k < changes[i].row->depth; k++)
            json_text(NULL, changes[i].row->names[k]);
        json_close(']');
        json_close('}');
    }
    json_close(']');
    json_close('}');
}

static void put_tables(const struct query *query, const struct query_input *input,
                       const struct change *changes, size_t count, bool has_errors)
{
    struct graph graph;
    struct graph_options options = table_options(query, 0);
    size_t shown = query->count < 0 ? ROWS_USUAL : query->count > 0 ? (size_t)query->count : count;
    graph_build(&graph, input->inputs, input->count, &options);
    table_put_title(input, &graph);
    table_put_rows(&graph);
    printf("\n%sBy stack%s, innermost function first%s\n", style_text(STYLE_BOLD),
           style_text(STYLE_PLAIN),
           has_errors ? "; \xc2\xb1 what sampling leaves open, 95 % of the time" : "");
    for (size_t i = 0; i < count && i < shown; i++)
        put_change(&changes[i], graph.scale, has_errors);
    if (shown < count)
        printf("... and %zu stacks that changed less\n", count - shown);
    graph_free(&graph);
}

static int diff(const struct query *query)
{
    struct query_input input;
    struct stacks stacks;
    int status;
    if (!query_load(query, query->words[1], query->words[0], &input, &status))
        return status;
    struct profile *profiles[] = {input.base, input.profile};
    int types[] = {input.inputs[1].type, input.inputs[0].type};
    stacks_build(&stacks, profiles, types, array_count(profiles));
    struct change *changes = memory_alloc(stacks.row_count + 1, sizeof(*changes));
    size_t count = list_changes(query, &stacks, changes);
    if (query->json)
        put_json(&input, changes, count, stacks.has_errors);
    else
        put_tables(query, &input, changes, count, stacks.has_errors);
    memory_free(changes);
    stacks_free(&stacks);
    query_close(&input);
    return STATUS_DONE;
}

int command_diff(int count, char **arguments)
{
    struct query query;
    int status;
    if (!query_parse(&query, count, arguments,
                     QUERY_SAMPLE | QUERY_FILTER | QUERY_CUM | QUERY_COUNT | QUERY_JSON, help,
                     &status))
        return status;
    if (query_needs(&query, 2, 2, "two files, the old one first", &status))
        status = diff(&query);
    query_free(&query);
    return status;
}
