/* Profiles of one program, one after the other: what `watch` shows of them.
 *
 *   model  --stacks-->  sights  --rows, totals-->  watchview
 *
 * Three are kept: the first, the last but one and the last. A row is a function of the program's
 * own and the one that called it, however they were reached. */
#ifndef HPPROF_SIGHTS_H
#define HPPROF_SIGHTS_H

#include "stacks.h"

enum { SIGHTS_HISTORY_MAX = 512, SIGHTS_UNKNOWN = -1 };

enum sight_order { ORDER_SIZE, ORDER_CHANGE, ORDER_OBJECTS, ORDER_NAME, ORDER_COUNT };

struct sight_row {
    const char *function, *caller; // "": there is none
    struct cell first, before, now;
    double objects; // or SIGHTS_UNKNOWN
};

/* Counts that the program's allocator keeps; SIGHTS_UNKNOWN where it does not say. */
struct sight_counts {
    double live_bytes, live_objects, resident_bytes;
};

struct sights {
    size_t count; // of profiles seen
    double first_seconds, before_seconds, now_seconds;
    double first_total, before_total, now_total;
    double history[SIGHTS_HISTORY_MAX]; // of totals; the newest is the last
    size_t history_count;
    struct sight_counts counts;

    struct sight_row *rows; // in the order last asked for
    size_t row_count, row_capacity;

    /* Private. */
    struct profile *first, *before, *now;
    int first_type, before_type, now_type;
    struct stacks stacks;
    struct index groups;
};

/* Takes the profile over. */
void sights_add(struct sights *sights, struct profile *profile, int type, double seconds,
                const struct sight_counts *counts);
void sights_free(struct sights *sights);

void sights_sort(struct sights *sights, enum sight_order order);

/* A second, between the last two. */
double sights_rate(const struct sights *sights);

/* Whether a row's change is more than chance makes of it, 95 % of the time. */
bool sights_is_change(const struct cell *before, const struct cell *after);

#endif
