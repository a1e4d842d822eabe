#include "layout.h"

#include <stdlib.h>

/* A call to be placed, by what it is sorted by. */
struct place {
    uint32_t call, caller;
    int64_t value;
};

static int heavier_first(const void *left, const void *right)
{
    const struct place *a = left, *b = right;
    if (a->value != b->value)
        return a->value > b->value ? -1 : 1;
    return a->call < b->call ? -1 : a->call > b->call;
}

static int by_caller(const void *left, const void *right)
{
    const struct place *a = left, *b = right;
    if (a->caller != b->caller)
        return a->caller < b->caller ? -1 : 1;
    return heavier_first(left, right);
}

/* A caller weighs as much as a call of its, and was met before it: whoever stays has its caller. */
static size_t choose(const struct calltree *tree, const int64_t *values, struct place *places,
                     size_t boxes_max, size_t *left_out)
{
    size_t count = 0;
    for (size_t i = 1; i < tree->count; i++) {
        if (values[i] > 0)
            places[count++] = (struct place){(uint32_t)i, tree->calls[i].caller, values[i]};
    }
    qsort(places, count, sizeof(*places), heavier_first);
    size_t chosen = count < boxes_max ? count : boxes_max;
    *left_out = count - chosen;
    qsort(places, chosen, sizeof(*places), by_caller);
    return chosen;
}

void layout_make(struct layout *layout, const struct calltree *tree, const int64_t *values,
                 size_t boxes_max)
{
    struct place *places = memory_alloc(tree->count, sizeof(*places));
    double *next = memory_alloc(tree->count, sizeof(*next)); // where a call's next callee begins
    uint32_t *depths = memory_alloc(tree->count, sizeof(*depths));
    *layout = (struct layout){.total = values[CALLTREE_ROOT]};
    size_t count = choose(tree, values, places, boxes_max, &layout->left_out);
    layout->boxes = memory_alloc(count + 1, sizeof(*layout->boxes));
    if (layout->total > 0)
        layout->boxes[layout->count++] =
            (struct box){.call = CALLTREE_ROOT, .width = 1, .value = layout->total};
    for (size_t i = 0; i < count; i++) {
        const struct place *place = &places[i];
        struct box box = {.call = place->call,
                          .depth = depths[place->caller] + 1,
                          .start = next[place->caller],
                          .width = (double)place->value / (double)layout->total,
                          .value = place->value};
        next[place->caller] += box.width;
        next[place->call] = box.start;
        depths[place->call] = box.depth;
        if (box.depth > layout->depth)
            layout->depth = box.depth;
        layout->boxes[layout->count++] = box;
    }
    memory_free(places);
    memory_free(next);
    memory_free(depths);
}

void layout_free(struct layout *layout)
{
    memory_free(layout->boxes);
}
