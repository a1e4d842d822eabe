/* Which allocations are sampled: a Poisson process over bytes, asked only when it fires.
 *
 * Being memoryless it splits into one process for each thread and size class: for objects of s
 * bytes at interval T, the number of objects before the next sample is geometric, the chance of
 * each being p = 1 - exp(-s/T). Large blocks are tossed for one by one with the same p.
 * Thread: a sampler is its owner's only. The interval may be changed by anyone at any time. */
#ifndef HPM_PROF_SAMPLER_H
#define HPM_PROF_SAMPLER_H

#include "base/base.h"

struct sampler {
    uint64_t state; // of the random numbers; never 0 once seeded
};

/* Mean bytes between samples; 0 while profiling is off. A change starts a new epoch, in which
 * numbers drawn before are void. */
void sampler_set_interval(size_t bytes);
size_t sampler_interval(void);

/* Makes the interval wider by so many doublings than what was asked for, until the next
 * sampler_set_interval. */
enum { SAMPLER_WIDENED_MAX = 10 };
void sampler_widen(unsigned doublings);
unsigned sampler_widened(void);
size_t sampler_asked_interval(void);

/* Whether there was a time since the first interval at which nothing was sampled. */
bool sampler_has_paused(void);

extern HPM_HIDDEN _Atomic uint32_t sampler_current_epoch;

HPM_INLINE uint32_t sampler_epoch(void)
{
    return atomic_load_explicit(&sampler_current_epoch, memory_order_relaxed);
}

void sampler_init(struct sampler *sampler, uint64_t seed);

/* How many objects of this size pass before one is a sample, at an interval; negative when that is
 * 0. */
int64_t sampler_draw(struct sampler *sampler, size_t interval, size_t object_bytes);

/* One toss, for a large block. */
bool sampler_toss(struct sampler *sampler, double probability);

/* p of an object of this size at an interval; 0 when that is 0. Who draws and who weighs must name
 * the same one: sampler_interval may change between. */
double sampler_probability(size_t interval, size_t object_bytes);

#endif
