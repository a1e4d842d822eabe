/* What profiling may cost: past it samples are taken less often.
 *
 *   api  --after a sample-->  budget  --cost-->  sampler: a wider interval
 *
 * Now and then it is looked at which share of the processor time since the last look went into taking
 * samples. Above HPMALLOC_SAMPLE_BUDGET the interval doubles; below a quarter of that it halves
 * again, down to what was asked for. It doubles also while the profiler's tables grow beyond BUDGET_META_BYTES and a
 * BUDGET_META_SHARE of what is live. Weights are those of the interval at which a sample was drawn,
 * so estimates stay unbiased; they get wider errors, and dumps say so. */
#ifndef HPM_PROF_BUDGET_H
#define HPM_PROF_BUDGET_H

#include "base/base.h"

enum { BUDGET_META_SHARE = 64 };
#define BUDGET_META_BYTES (16 * MiB)

/* Looks, if the last look is long enough ago. */
void budget_look(void);

/* What a look sees, of the time since the last one. */
struct budget_view {
    uint64_t percent; // that sampling may take
    uint64_t spent_ns, cpu_ns;
    uint64_t meta_bytes, grown_bytes; // in the profiler's tables, and since the last look
    uint64_t live_bytes;
};

/* By how many doublings the interval should be widened that now is by `widened`. */
unsigned budget_judge(const struct budget_view *view, unsigned widened);

#endif
