/* Stacks by the names of their functions, so that profiles of several moments, machines and runs
 * can be held side by side: what each says of each stack, and how sure it is.
 *
 *   model, model, ...  -->  stacks  -->  diff, findings
 *
 * A sampled object of s bytes stands for 1/p, p = 1 - exp(-s/T), T the profile's period. So n of
 * them are an estimate with the variance n (1-p)/p, their bytes with s times s as much. */
#ifndef HPPROF_STACKS_H
#define HPPROF_STACKS_H

#include "model.h"

/* What one profile says of one stack. */
struct cell {
    double value, variance;
    double counted;   // the value before our writer made all add up to the exact count
    double grain;     // what its largest single sample stands for; 0: nothing is left to chance
    double allocated; // the same of all that was ever allocated, where the profile says so
    uint32_t sample;  // one of its samples, from 1 on; 0: it has none
};

struct stack_row {
    const char *const *names; // innermost first
    size_t depth;
    size_t own;         // the innermost name that is no runtime library's; `depth`: there is none
    struct cell *cells; // one for each profile
};

struct stacks {
    struct stack_row *rows;
    size_t row_count, row_capacity;
    size_t profile_count;
    bool has_errors, has_allocated; // in all profiles

    /* Private. */
    struct pool pool;
    struct index names, rows_by_hash;
    const char **texts;
    size_t text_count, text_capacity;
};

/* `types`: the column of each profile. Samples of no stack are one row without names. */
void stacks_build(struct stacks *stacks, struct profile *const *profiles, const int *types,
                  size_t count);
void stacks_free(struct stacks *stacks);

/* A row's change from one profile to another, and its standard error, in which no sample is taken
 * for one: what was not sampled need not be nothing. */
double stacks_change(const struct cell *before, const struct cell *after, double *error);

#endif
