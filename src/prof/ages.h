/* How old the live samples are, by stack.
 *
 *   livetab  --births-->  ages  --ages of a stack-->  report
 *
 * Samples that come or go while they are gathered may be in or out: a picture of a moment, but not
 * to the sample that of a snapshot.
 * Fails:  ages_take returns false when there is no memory for it.
 * Signal: async-signal-safe. One table at a time: callers serialize. */
#ifndef HPM_PROF_AGES_H
#define HPM_PROF_AGES_H

#include "base/base.h"
#include "prof/lifetimes.h"
#include "prof/stacktab.h"

/* A live sample, and what it stands for. */
struct age {
    uint64_t ns;
    float objects, bytes;
};

struct ages {
    struct age *all;       // of stack n (0: `[other]`): all[first[n]] to all[first[n + 1] - 1]
    uint32_t *first;
    uint32_t stack_count;  // and `[other]`
    size_t all_bytes, first_bytes;
};

/* Of one stack, youngest first. */
struct age_list {
    const struct age *first;
    size_t count;
};

bool ages_take(struct ages *ages);
bool ages_take_as_of(struct ages *ages, uint64_t now_ns); // as os_clock_coarse_ns

void ages_free(struct ages *ages);
/* Empty for a table never taken. */
struct age_list ages_of(const struct ages *ages, const struct stack *stack);

uint64_t ages_oldest_ns(struct age_list list);

/* Half of the bytes are younger. */
uint64_t ages_median_ns(struct age_list list);

/* Adds the objects of each age to the bucket in which their lifetime would be if they were freed now. */
void ages_add_objects(struct age_list list, float alive[static LIFETIME_BUCKETS]);

#endif
