/* Every distinct call stack, once, with what was ever sampled at it and what is still live.
 *
 *   profile  --frames-->  stacktab  --sites-->  profile (snapshot)
 *
 * A site is a stack together with a size class and the labels of a thread: the objects of a site all charge the same bytes,
 * so its sums scale without bias. Sites are found by hash without a lock and are never freed; past
 * the cap on sites, samples are charged to the site `[other]` of their size.
 *
 * Counting is consistent: between stacktab_freeze and stacktab_thaw every site shows the counts of
 * the moment of the freeze while all threads count on (a site copies its counts aside before the
 * first change). What was live at the peak is remembered in the same way: stacktab_mark_peak says
 * that now is the highest that live bytes stood, at the cost of one addition, and a site copies its
 * counts aside before its first change after that.
 * Lock:  one for adding, and a small one in each site, rank LOCK_STACKTAB. */
#ifndef HPM_PROF_STACKTAB_H
#define HPM_PROF_STACKTAB_H

#include "base/base.h"
#include "base/lock.h"
#include "prof/labels.h"
#include "prof/lifetimes.h"
#include "prof/unwind.h"

enum { STACK_DEPTH_MAX = 128 };

struct site;

struct stack {
    uint64_t hash;
    struct stack *_Atomic next;  // in the same bucket
    struct site *_Atomic sites;  // of this stack, one for each size
    uint32_t number;             // from 1 on, without gaps
    uint16_t depth;
    uint8_t end; // enum stack_end; STACK_WHOLE: it ends with the thread's first frame
    uintptr_t frames[]; // return addresses, innermost first
};

/* Sums over samples, each of weight 1/p: unbiased estimates, not yet rounded.
 * With s the bytes an object charges and p the chance that it was sampled,
 *   objects = sum 1/p, bytes = sum s/p, variance of objects = sum (1-p)/p^2;
 * the variance of bytes is s^2 times that of objects. */
struct sums {
    double objects, variance, requested_bytes;
    uint64_t samples;
};

struct site_counts {
    struct sums alloc, freed;
    struct sums peak;     // live when live bytes stood highest
    double freed_seconds; // weights times lifetimes
};

/* A copy of what a site counts, where it outlives the process. */
struct site_mirror {
    struct site_counts counts;
    struct lifetimes lifetimes;
    uint32_t peak_epoch; // counts.peak is of this peak
};

/* What most sites never need: made at the first free, or when a site changes during a freeze. */
struct site_past {
    struct sums freed;
    struct lifetimes lifetimes;
    uint32_t frozen_epoch; // `frozen` is of this freeze
    struct site_counts frozen;
};

/* Two cache lines: with a stack and a record for each sample, all that a large heap's profile takes. */
struct site {
    struct site *next; // of the same stack
    struct site *next_site;
    const struct stack *stack; // NULL: `[other]`
    size_t object_bytes;       // s
    const struct label_set *labels; // NULL: none
    struct lock lock;

    /* Guarded by lock. */
    uint32_t peak_epoch; // `peak` is of this peak; older: nothing has changed since the peak
    uint32_t mirror;     // place of a struct site_mirror in base/shared; 0: none
    struct sums alloc;
    struct sums peak;       // live when live bytes stood highest
    struct site_past *past; // NULL: nothing was freed yet, and nothing frozen
};
static_assert(sizeof(struct site) <= 128, "memory is given out in whole cache lines");

/* False: no memory for the tables; samples will be lost and counted. */
bool stacktab_init(void);

/* Finds or makes the site. NULL only when memory for `[other]` itself is lacking. */
struct site *stacktab_intern(const uintptr_t *frames, size_t depth, enum stack_end end,
                             size_t object_bytes, const struct label_set *labels);

/* The site `[other]` of a size, for who knows of one already. Fails: NULL when memory is lacking.
 */
struct site *stacktab_intern_other(size_t object_bytes);

/* One sample of weight `weight` = 1/p was taken, or its object freed. */
void stacktab_charge(struct site *site, double weight, size_t requested_bytes);
void stacktab_discharge(struct site *site, double weight, size_t requested_bytes,
                        uint64_t age_ns);

/* Live bytes have never been more than now. Samples that other threads are just counting may be in
 * or out. */
void stacktab_mark_peak(void);

uint32_t stacktab_peak_epoch(void);

/* Adds what was counted elsewhere. Fails: false when memory is lacking. */
bool stacktab_add(struct site *site, const struct site_counts *counts,
                  const struct lifetimes *lifetimes);

/* From now on the site's counts are copied there after every change; 0: nowhere. */
void stacktab_set_mirror(struct site *site, uint32_t mirror);

/* One freeze at a time: callers serialize. */
void stacktab_freeze(void);
void stacktab_thaw(void);
struct site_counts stacktab_frozen_counts(struct site *site);

/* Of all that was ever allocated, what is live. */
struct sums stacktab_live_sums(const struct site_counts *counts);

/* How long the freed objects of a stack lived, of whatever sizes (NULL: `[other]`); as of now, freeze
 * or not. */
void stacktab_lifetimes(const struct stack *stack, struct lifetimes *sum);

/* All sites, newest first: follow next_site. Safe while others are added. */
struct site *stacktab_first_site(void);

size_t stacktab_stack_count(void);
size_t stacktab_site_count(void);
uint64_t stacktab_other_count(void); // samples charged to `[other]`

void stacktab_fork_prepare(void);
void stacktab_fork_parent(void);
void stacktab_fork_child(void);

#endif
