#include "prof/budget.h"

#include "base/options.h"
#include "base/os.h"
#include "prof/cost.h"
#include "prof/profile.h"
#include "prof/sampler.h"

enum { PAUSE_NS = 250000000 };

/* Of the last look; written by the one thread that won it. */
static _Atomic uint64_t looked_ns;
static uint64_t cpu_ns, spent_ns, meta_bytes;

unsigned budget_judge(const struct budget_view *view, unsigned widened)
{
    bool is_too_large =
        view->grown_bytes > 0 &&
        view->meta_bytes > BUDGET_META_BYTES + view->live_bytes / BUDGET_META_SHARE;
    if (is_too_large || view->spent_ns * 100 > view->cpu_ns * view->percent)
        return widened < SAMPLER_WIDENED_MAX ? widened + 1 : widened;
    bool is_cheap =
        view->spent_ns * 400 < view->cpu_ns * view->percent && view->grown_bytes == 0;
    return is_cheap && widened > 0 ? widened - 1 : widened;
}

/* The first look only sets the marks: a start finds everything cold. */
static void look(bool is_first)
{
    struct cost cost;
    cost_get(&cost);
    uint64_t cpu = os_cpu_clock_ns();
    struct budget_view view = {
        .percent = option_number(OPTION_SAMPLE_BUDGET),
        .spent_ns = cost.nanoseconds - min_size(spent_ns, cost.nanoseconds),
        .cpu_ns = cpu - cpu_ns,
        .meta_bytes = cost.meta_bytes,
        .grown_bytes = cost.meta_bytes - meta_bytes,
        .live_bytes = profile_live_bytes(),
    };
    unsigned widened = sampler_widened(), wanted = budget_judge(&view, widened);
    if (!is_first && wanted != widened)
        sampler_widen(wanted);
    cpu_ns = cpu;
    spent_ns = cost.nanoseconds;
    meta_bytes = cost.meta_bytes;
}

void budget_look(void)
{
    if (option_number(OPTION_SAMPLE_BUDGET) == 0)
        return;
    uint64_t now = os_clock_coarse_ns();
    uint64_t last = atomic_load_explicit(&looked_ns, memory_order_acquire);
    if (now - last < PAUSE_NS)
        return;
    /* Acquire and release: one look after the other. */
    if (atomic_compare_exchange_strong_explicit(&looked_ns, &last, now, memory_order_acq_rel,
                                                memory_order_relaxed))
        look(last == 0);
}
