/* What profiling itself costs: samples, the time they took, the memory kept for them. */
#ifndef HPM_PROF_COST_H
#define HPM_PROF_COST_H

#include "base/base.h"

/* Around the recording of one sample. One in a few is timed and stands for the others: reading the
 * clock each time would be a part of what it measures. */
uint64_t cost_begin(void);
bool cost_end(uint64_t begun); // whether it was timed

/* meta_alloc, counted as the profiler's. */
void *cost_meta_alloc(size_t bytes);

struct cost {
    uint64_t samples;     // recorded, or lost on the way
    uint64_t nanoseconds; // that recording them took, by those that were timed
    uint64_t meta_bytes;
};
void cost_get(struct cost *cost);

#endif
