#include "sights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CELL_FIRST, CELL_BEFORE, CELL_NOW, CELL_OBJECTS, CELL_COUNT };

static double sum_of(const struct profile *profile, int type)
{
    double sum = 0;
    for (size_t i = 0; i < profile->sample_count; i++)
        sum += (double)profile_value(profile, i, type);
    return sum;
}

/* The column that counts what another weighs. */
static int objects_of(const struct profile *profile, int type)
{
    const char *name = profile_text(profile, profile->types[type].type);
    const char *objects = strncmp(name, "alloc_", 6) == 0 ? "alloc_objects" : "inuse_objects";
    for (size_t i = 0; i < profile->type_count; i++) {
        if (strcmp(profile_text(profile, profile->types[i].type), objects) == 0)
            return (int)i;
    }
    return SIGHTS_UNKNOWN;
}

static void add_cell(struct cell *sum, const struct cell *cell)
{
    sum->value += cell->value;
    sum->variance += cell->variance;
    sum->grain = fmax(sum->grain, cell->grain);
}

/* Where nothing is the program's own, the innermost function stands for it. */
static struct sight_row *group_of(struct sights *sights, const struct stack_row *row)
{
    size_t own = row->own < row->depth ? row->own : 0;
    const char *function = own < row->depth ? row->names[own] : "";
    const char *caller = own + 1 < row->depth ? row->names[own + 1] : "";
    uint64_t hash = mix_bits((uintptr_t)function ^ mix_bits((uintptr_t)caller));
    for (;; hash++) {
        uint32_t next = (uint32_t)sights->row_count;
        uint32_t group = index_add(&sights->groups, hash, next);
        if (group == next)
            *memory_push(sights->rows, sights->row_count, sights->row_capacity) =
                (struct sight_row){.function = function, .caller = caller};
        if (sights->rows[group].function == function && sights->rows[group].caller == caller)
            return &sights->rows[group];
    }
}

/* Names are one pointer each within one struct stacks, so that all profiles go through the same. */
static void build_rows(struct sights *sights)
{
    int objects = objects_of(sights->now, sights->now_type);
    struct profile *profiles[CELL_COUNT] = {sights->first, sights->before, sights->now,
                                            sights->now};
    int types[CELL_COUNT] = {sights->first_type, sights->before_type, sights->now_type, objects};
    stacks_free(&sights->stacks);
    index_drain(&sights->groups);
    sights->row_count = 0;
    stacks_build(&sights->stacks, profiles, types, objects >= 0 ? CELL_COUNT : CELL_OBJECTS);
    for (size_t i = 0; i < sights->stacks.row_count; i++) {
        const struct stack_row *stack = &sights->stacks.rows[i];
        struct sight_row *row = group_of(sights, stack);
        add_cell(&row->first, &stack->cells[CELL_FIRST]);
        add_cell(&row->before, &stack->cells[CELL_BEFORE]);
        add_cell(&row->now, &stack->cells[CELL_NOW]);
        row->objects =
            objects >= 0 ? row->objects + stack->cells[CELL_OBJECTS].value : SIGHTS_UNKNOWN;
    }
}

static void remember_total(struct sights *sights)
{
    if (sights->history_count == SIGHTS_HISTORY_MAX)
        memmove(sights->history, sights->history + 1, --sights->history_count * sizeof(double));
    sights->history[sights->history_count++] = sights->now_total;
}

void sights_add(struct sights *sights, struct profile *profile, int type, double seconds,
                const struct sight_counts *counts)
{
    bool is_first = sights->count++ == 0;
    double total = sum_of(profile, type);
    if (sights->before != sights->first)
        profile_free(sights->before);
    sights->before = is_first ? profile : sights->now;
    sights->before_type = is_first ? type : sights->now_type;
    sights->before_seconds = is_first ? seconds : sights->now_seconds;
    sights->before_total = is_first ? total : sights->now_total;
    if (is_first) {
        sights->first = profile;
        sights->first_type = type;
        sights->first_seconds = seconds;
        sights->first_total = total;
    }
    sights->now = profile;
    sights->now_type = type;
    sights->now_seconds = seconds;
    sights->now_total = total;
    sights->counts = *counts;
    remember_total(sights);
    build_rows(sights);
}

void sights_free(struct sights *sights)
{
    if (sights->now != sights->before)
        profile_free(sights->now);
    if (sights->before != sights->first)
        profile_free(sights->before);
    profile_free(sights->first);
    stacks_free(&sights->stacks);
    index_drain(&sights->groups);
    memory_free(sights->rows);
    *sights = (struct sights){0};
}

static int compare_numbers(double a, double b)
{
    return a > b ? -1 : a < b;
}

static int compare_names(const struct sight_row *a, const struct sight_row *b)
{
    int order = strcmp(a->function, b->function);
    return order != 0 ? order : strcmp(a->caller, b->caller);
}

static int by_name(const void *left, const void *right)
{
    return compare_names(left, right);
}

static int by_size(const void *left, const void *right)
{
    const struct sight_row *a = left, *b = right;
    int order = compare_numbers(a->now.value, b->now.value);
    return order != 0 ? order : compare_names(a, b);
}

/* Since the start: one interval is too short for most programs to show which way they go. */
static int by_change(const void *left, const void *right)
{
    const struct sight_row *a = left, *b = right;
    int order = compare_numbers(a->now.value - a->first.value, b->now.value - b->first.value);
    return order != 0 ? order : by_size(left, right);
}

static int by_objects(const void *left, const void *right)
{
    const struct sight_row *a = left, *b = right;
    int order = compare_numbers(a->objects, b->objects);
    return order != 0 ? order : by_size(left, right);
}

void sights_sort(struct sights *sights, enum sight_order order)
{
    static int (*const compare[ORDER_COUNT])(const void *, const void *) = {
        [ORDER_SIZE] = by_size,
        [ORDER_CHANGE] = by_change,
        [ORDER_OBJECTS] = by_objects,
        [ORDER_NAME] = by_name,
    };
    if (sights->row_count > 1)
        qsort(sights->rows, sights->row_count, sizeof(*sights->rows), compare[order]);
}

double sights_rate(const struct sights *sights)
{
    double seconds = sights->now_seconds - sights->before_seconds;
    return seconds > 0 ? (sights->now_total - sights->before_total) / seconds : 0;
}

bool sights_is_change(const struct cell *before, const struct cell *after)
{
    double error, change = stacks_change(before, after, &error);
    return fabs(change) > 1.96 * error;
}
