/* Stacks as a tree of calls, of one profile or of several together.
 *
 *   model  --stacks-->  calltree  -->  flame, report
 *
 * A call is a function called from a call: the same function called on two ways is two calls. What
 * was allocated is summed up by whoever asks, for a call by itself or with all below it.
 */
#ifndef HPPROF_CALLTREE_H
#define HPPROF_CALLTREE_H

#include "graph.h"
#include "model.h"

struct call {
    uint32_t caller, name;
};

struct call_name {
    const char *text, *file; // file: where the function is written, or ""
};

enum { CALLTREE_ROOT = 0 };

struct calltree {
    struct call *calls; // a caller before those it calls; [0] stands above all
    size_t count, capacity;
    struct call_name *names;
    size_t name_count, name_capacity;

    /* Private. */
    struct profile *texts;
    struct index call_index, name_index;
};

void calltree_init(struct calltree *tree);
void calltree_free(struct calltree *tree);

/* The innermost call of each of the profile's samples, MODEL_NONE for those that the options'
 * focus and ignore leave out. To free. */
uint32_t *calltree_add(struct calltree *tree, const struct profile *profile,
                       const struct graph_options *options);

/* For each call what was allocated in it, of one type. Negative values count as none. To free. */
int64_t *calltree_sum(const struct calltree *tree, const struct profile *profile,
                      const uint32_t *innermost, int type);

/* To each call's value, adds those of all it called. */
void calltree_accumulate(const struct calltree *tree, int64_t *values);

#endif
