/* Who holds, and who called whom: a profile's samples summed up by function.
 *
 *   model (one profile, or what changed since another)  -->  graph  -->  top, tree, peek
 *
 * A node is a function's name, or the file an unnamed address lies in. `flat` is what was
 * allocated in it, `cum` also in what it called; a function that calls itself counts once a sample.
 * What is left out when small, and how ties are sorted, is as `go tool pprof` does it.
 */
#ifndef HPPROF_GRAPH_H
#define HPPROF_GRAPH_H

#include <regex.h>

#include "model.h"
#include "units.h"

struct node {
    const char *label; // what is shown
    const char *name;
    const char *file; // of the code; "" where the name says it all
    int64_t flat, cum;
    uint32_t first_in, first_out; // edges, or MODEL_NONE
    bool is_kept;
    uint32_t seen_by; // Private.
};

struct edge {
    uint32_t caller, callee;
    int64_t weight;
    bool is_inlined, is_dropped;
    uint32_t next_in, next_out;
    uint32_t seen_by; // Private.
};

/* A profile that is added, or taken away: `sign` 1 or -1. */
struct graph_input {
    const struct profile *profile;
    int type, sign;
};

struct graph_options {
    const regex_t *focus, *ignore; // of functions, their files and binaries; NULL: all, none
    double node_share, edge_share; // less of the total than this is left out
    size_t nodes_max;              // 0: all
    bool by_cum;
};

struct graph {
    struct node *nodes;
    size_t node_count, node_capacity;
    struct edge *edges;
    size_t edge_count, edge_capacity;
    uint32_t *order; // of nodes shown
    size_t shown_count;

    int64_t total, shown_flat; // of all samples; of nodes shown
    size_t kept_count;         // before nodes_max
    size_t dropped_count;
    struct scale scale;

    /* Private. */
    struct index node_index, edge_index;
    struct pool labels;
};

/* With two inputs, percentages are of the one with sign -1, as for a base. */
void graph_build(struct graph *graph, const struct graph_input *inputs, size_t count,
                 const struct graph_options *options);
void graph_free(struct graph *graph);

/* A node's edges, heaviest first, into `edges`, which has room for edge_count. */
size_t graph_callers(const struct graph *graph, uint32_t node, const struct edge **edges);
size_t graph_callees(const struct graph *graph, uint32_t node, const struct edge **edges);

/* What is shown of a function, or of where an address without one lies. */
const char *graph_label(struct pool *pool, const struct profile *profile,
                        const struct location *location, const char *name);

/* What a location says of its stack. */
enum graph_match { MATCH_NOT, MATCH_FOCUS, MATCH_IGNORE };
enum graph_match graph_match(const struct profile *profile, const struct location *location,
                             const struct graph_options *options);

/* Whether a stack is chosen, by what its locations say: one that is ignored anywhere is out; one
 * must be in focus somewhere. */
bool graph_chooses(const struct profile *profile, const struct sample *sample, const uint8_t *match,
                   const struct graph_options *options);

#endif
