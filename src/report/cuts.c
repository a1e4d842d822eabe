#include "report/cuts.h"

#include "base/print.h"
#include "report/frames.h"

static uint32_t last_mapping(const struct stack *stack, const struct symbol_table *table)
{
    if (stack->depth == 0 || stack->end == STACK_TOO_DEEP)
        return MAPPING_NONE;
    const struct symbol *symbol = frames_find(table, stack->frames[stack->depth - 1]);
    return symbol != NULL ? symbol->mapping : MAPPING_NONE;
}

/* The cut of this kind; the last one takes what has no room. */
static struct cut *find_cut(struct cuts *cuts, enum stack_end end, uint32_t mapping)
{
    for (size_t i = 0; i < cuts->count; i++) {
        if (cuts->cuts[i].end == end && cuts->cuts[i].mapping == mapping)
            return &cuts->cuts[i];
    }
    if (cuts->count == CUTS_MAX)
        return &cuts->cuts[CUTS_MAX - 1];
    cuts->cuts[cuts->count] = (struct cut){.end = end, .mapping = mapping};
    return &cuts->cuts[cuts->count++];
}

void cuts_count(struct cuts *cuts, const struct snapshot *snapshot,
                const struct symbol_table *table)
{
    *cuts = (struct cuts){0};
    for (size_t i = 0; i < snapshot->row_count; i++) {
        const struct profile_row *row = &snapshot->rows[i];
        if (row->stack == NULL)
            continue;
        cuts->samples += row->alloc.samples;
        if (row->stack->end == STACK_WHOLE)
            cuts->whole += row->alloc.samples;
        else
            find_cut(cuts, row->stack->end, last_mapping(row->stack, table))->samples +=
                row->alloc.samples;
    }
}

static double percent(uint64_t samples, const struct cuts *cuts)
{
    return cuts->samples == 0 ? 100 : 100 * (double)samples / (double)cuts->samples;
}

size_t cuts_print_whole(const struct cuts *cuts, char *line, size_t bytes)
{
    return print_format(line, bytes, "stacks: %.1f %% of %lu samples have whole ones",
                        percent(cuts->whole, cuts), cuts->samples);
}

size_t cuts_print(const struct cuts *cuts, size_t index, const struct symbol_table *table,
                  char *line, size_t bytes)
{
    static const char *const reasons[STACK_ENDS] = {
        [STACK_NO_RULE] = "no unwind data there, and no frame pointer to go by",
        [STACK_UNREADABLE] = "what its unwind data leads to is no stack",
    };
    const struct cut *cut = &cuts->cuts[index];
    double share = percent(cut->samples, cuts);
    if (cut->end == STACK_TOO_DEEP)
        return print_format(line, bytes, "stacks: %.1f %% are cut off at %d frames", share,
                            STACK_DEPTH_MAX);
    return print_format(line, bytes, "stacks: %.1f %% stop in %.400s: %s", share,
                        cut->mapping != MAPPING_NONE ? table->mappings[cut->mapping].path
                                                     : "code of no file (made at run time?)",
                        reasons[cut->end]);
}
