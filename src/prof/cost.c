#include "prof/cost.h"

#include "base/meta.h"
#include "base/os.h"

/* What takes so long was interrupted: the thread did not run. */
enum { SAMPLES_PER_TIMING = 16, INTERRUPTED_NS = 1000000 };

static counter samples, timed_samples, timed_ns, meta_bytes_held;

/* 0: not timed. The first samples are not, for they find everything cold. */
uint64_t cost_begin(void)
{
    uint64_t number = atomic_fetch_add_explicit(&samples, 1, memory_order_relaxed);
    return unlikely(number % SAMPLES_PER_TIMING == SAMPLES_PER_TIMING - 1) ? os_clock_ns() : 0;
}

bool cost_end(uint64_t begun)
{
    if (likely(begun == 0))
        return false;
    uint64_t ns = os_clock_ns() - begun;
    if (ns < INTERRUPTED_NS) {
        counter_add(&timed_ns, ns);
        counter_add(&timed_samples, 1);
    }
    return true;
}

HPM_EARLY void *cost_meta_alloc(size_t bytes)
{
    void *start = meta_alloc(bytes);
    if (start != NULL)
        counter_add(&meta_bytes_held, bytes);
    return start;
}

void cost_get(struct cost *cost)
{
    uint64_t timed = counter_get(&timed_samples);
    cost->samples = counter_get(&samples);
    double share = timed != 0 ? (double)cost->samples / (double)timed : 0;
    cost->nanoseconds = (uint64_t)((double)counter_get(&timed_ns) * share);
    cost->meta_bytes = counter_get(&meta_bytes_held);
}
