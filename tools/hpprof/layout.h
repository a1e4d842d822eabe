/* Where the boxes of a flame graph stand.
 *
 *   calltree, values  -->  layout  -->  flame
 *
 * A box is below its caller's, and beside its siblings, the heaviest first; where two weigh the
 * same, the one that was met first.
 */
#ifndef HPPROF_LAYOUT_H
#define HPPROF_LAYOUT_H

#include "calltree.h"

struct box {
    uint32_t call, depth;
    double start, width; // of the total, which is 1
    int64_t value;
};

struct layout {
    struct box *boxes; // a caller before those it calls
    size_t count, left_out;
    uint32_t depth; // of the deepest
    int64_t total;
};

/* Values include what is called. Calls without any have no box; of too many, the lightest. */
void layout_make(struct layout *layout, const struct calltree *tree, const int64_t *values,
                 size_t boxes_max);
void layout_free(struct layout *layout);

#endif
