#include "prof/profile.h"

#include "base/options.h"
#include "base/os.h"
#include "prof/livetab.h"
#include "prof/record.h"
#include "prof/sampler.h"
#include "prof/spread.h"
#include "prof/unwind.h"
#include "prof/unwind_cache.h"

static counter lost_samples;

/* Estimates over all sites, in whole bytes. */
static _Atomic int64_t alloc_bytes, live_bytes, live_requested_bytes, peak_bytes;
static _Atomic uint64_t peak_clock_ns; // os_clock_coarse_ns

HPM_EARLY bool profile_init(void)
{
    return stacktab_init();
}

/* A sample's share is rounded the same way when it comes and when it goes. */
static int64_t count_bytes(_Atomic int64_t *sum, const struct sample *sample, int sign)
{
    int64_t bytes = sign * (int64_t)(sample->weight * (double)sample->site->object_bytes);
    return atomic_fetch_add_explicit(sum, bytes, memory_order_relaxed) + bytes;
}

static void watch_peak(int64_t live, uint64_t clock_ns)
{
    int64_t peak = atomic_load_explicit(&peak_bytes, memory_order_relaxed);
    do {
        if (live <= peak)
            return;
    } while (!atomic_compare_exchange_weak_explicit(&peak_bytes, &peak, live, memory_order_relaxed,
                                                    memory_order_relaxed));
    atomic_store_explicit(&peak_clock_ns, clock_ns, memory_order_relaxed);
    stacktab_mark_peak();
    record_mark_peak(clock_ns);
}

static void count_requested(const struct sample *sample, int sign)
{
    int64_t bytes = (int64_t)(sample->weight * (double)sample->requested_bytes);
    atomic_fetch_add_explicit(&live_requested_bytes, sign * bytes, memory_order_relaxed);
}

sample_tag profile_record(size_t requested_bytes, size_t object_bytes, double probability)
{
    uintptr_t frames[STACK_DEPTH_MAX];
    enum stack_end end;
    size_t depth = unwind_walk(frames, STACK_DEPTH_MAX, &end);
    if (unlikely(option_number(OPTION_DUMP_LABELS) >> DUMP_LABEL_THREAD & 1))
        labels_name_thread();
    struct sample *sample;
    struct site *site = stacktab_intern(frames, depth, end, object_bytes, labels_current());
    sample_tag tag = site != NULL ? livetab_alloc(&sample) : 0;
    if (tag == 0) {
        counter_add(&lost_samples, 1);
        return 0;
    }
    sample->weight = 1 / probability;
    sample->requested_bytes = requested_bytes;
    sample->birth_ns = os_clock_coarse_ns();
    livetab_publish(sample, site);
    stacktab_charge(site, sample->weight, requested_bytes);
    record_sample(tag, sample, sampler_interval(), counter_get(&lost_samples));
    count_bytes(&alloc_bytes, sample, 1);
    watch_peak(count_bytes(&live_bytes, sample, 1), sample->birth_ns);
    count_requested(sample, 1);
    return tag;
}

void profile_forget(sample_tag tag)
{
    if (tag == 0)
        return;
    const struct sample *sample = livetab_get(tag);
    stacktab_discharge(sample->site, sample->weight, sample->requested_bytes,
                       os_clock_coarse_ns() - sample->birth_ns);
    count_bytes(&live_bytes, sample, -1);
    count_requested(sample, -1);
    record_forget(tag);
    livetab_free(tag);
}

static double at_least_zero(double x)
{
    return x > 0 ? x : 0;
}

static struct estimate estimate_of(const struct sums *sums, size_t object_bytes)
{
    double bytes = (double)object_bytes;
    return (struct estimate){
        .objects = sums->objects,
        .bytes = sums->objects * bytes,
        .requested_bytes = sums->requested_bytes,
        .objects_variance = sums->variance,
        .bytes_variance = sums->variance * bytes * bytes,
        .samples = sums->samples,
    };
}

/* In place, and its scratch is static: a handler's small stack has to do (callers serialize). */
static void fill_row(struct profile_row *row, struct site *site)
{
    static struct site_counts counts;
    static struct sums live;
    counts = stacktab_frozen_counts(site);
    live = stacktab_live_sums(&counts);
    row->stack = site->stack;
    row->object_bytes = site->object_bytes;
    row->labels = site->labels;
    row->alloc = estimate_of(&counts.alloc, site->object_bytes);
    row->inuse = estimate_of(&live, site->object_bytes);
    row->peak = estimate_of(&counts.peak, site->object_bytes);
    row->freed = estimate_of(&counts.freed, site->object_bytes);
    row->freed_seconds = counts.freed_seconds;
}

static void fill_rows(struct snapshot *snapshot, struct site *first, size_t capacity)
{
    for (struct site *site = first; site != NULL && snapshot->row_count < capacity;
         site = site->next_site) {
        struct profile_row *row = &snapshot->rows[snapshot->row_count];
        fill_row(row, site);
        if (row->alloc.samples == 0)
            continue;
        profile_row_add(&snapshot->total, row);
        snapshot->row_count++;
    }
}

/* The count is read after the first site, so every site from there on has room. */
static bool fill_frozen(struct snapshot *snapshot)
{
    struct site *first = stacktab_first_site();
    size_t capacity = stacktab_site_count() + 1;
    snapshot->mapped_bytes = capacity * sizeof(struct profile_row);
    snapshot->rows = os_map_whole(snapshot->mapped_bytes);
    if (snapshot->rows == NULL)
        return false;
    fill_rows(snapshot, first, capacity);
    return true;
}

static uint64_t peak_age_ns(void)
{
    uint64_t peak = atomic_load_explicit(&peak_clock_ns, memory_order_relaxed);
    return peak != 0 ? os_clock_coarse_ns() - peak : 0;
}

bool snapshot_take(struct snapshot *snapshot)
{
    *snapshot = (struct snapshot){
        .calibration = 1,
        .interval_bytes = sampler_interval(),
        .asked_interval_bytes = sampler_asked_interval(),
        .wall_clock_ns = os_wall_clock_ns(),
        .peak_age_ns = peak_age_ns(),
        .lost_samples = profile_lost_count(),
        .other_samples = stacktab_other_count(),
        .stack_count = stacktab_stack_count(),
    };
    stacktab_freeze();
    bool done = fill_frozen(snapshot);
    stacktab_thaw();
    return done;
}

static bool is_explained_by_chance(const struct profile_row *total, double exact)
{
    double off = total->inuse.bytes - exact;
    return off * off <= 16 * spread_of(total->inuse.bytes, total->inuse.bytes_variance);
}

/* A row takes the part of the gap that is its part of the variance. The variance of objects shrinks
 * with that of bytes: for a stack with objects of one size that is exact, for a sum over sizes it
 * is an upper bound. */
static void calibrate_row(struct profile_row *row, const struct profile_row *total, double gap)
{
    double variance = row->inuse.bytes_variance;
    if (row->inuse.bytes == 0 || variance == 0)
        return;
    double ratio =
        at_least_zero(1 + gap * variance / total->inuse.bytes_variance / row->inuse.bytes);
    row->inuse.objects *= ratio;
    row->inuse.bytes *= ratio;
    row->inuse.requested_bytes *= ratio;
    row->inuse.objects_variance *=
        spread_of_calibrated(variance, variance, &total->inuse) / variance;
}

void snapshot_calibrate(struct snapshot *snapshot, size_t exact_live_bytes)
{
    const struct profile_row *total = &snapshot->total;
    double exact = (double)exact_live_bytes;
    if (total->inuse.samples < CALIBRATION_SAMPLES || total->inuse.bytes_variance == 0 ||
        sampler_has_paused() || !is_explained_by_chance(total, exact))
        return;
    snapshot->calibration = exact / total->inuse.bytes;
    for (size_t i = 0; i < snapshot->row_count; i++)
        calibrate_row(&snapshot->rows[i], total, exact - total->inuse.bytes);
}

void snapshot_free(struct snapshot *snapshot)
{
    ages_free(&snapshot->ages);
    if (snapshot->rows != NULL)
        os_unmap(snapshot->rows, snapshot->mapped_bytes);
    snapshot->rows = NULL;
}

HPM_EARLY uint64_t profile_alloc_bytes(void)
{
    return (uint64_t)atomic_load_explicit(&alloc_bytes, memory_order_relaxed);
}

static uint64_t live_sum(_Atomic int64_t *sum)
{
    int64_t bytes = atomic_load_explicit(sum, memory_order_relaxed);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

uint64_t profile_live_bytes(void)
{
    return live_sum(&live_bytes);
}

uint64_t profile_live_requested_bytes(void)
{
    return live_sum(&live_requested_bytes);
}

uint64_t profile_lost_count(void)
{
    return counter_get(&lost_samples);
}

size_t profile_live_count(void)
{
    return livetab_count();
}

void profile_fork_prepare(void)
{
    unwind_cache_fork_prepare();
    record_fork_prepare();
    labels_fork_prepare();
    stacktab_fork_prepare();
    livetab_fork_prepare();
}

void profile_fork_parent(void)
{
    livetab_fork_parent();
    stacktab_fork_parent();
    labels_fork_parent();
    record_fork_parent();
    unwind_cache_fork_parent();
}

void profile_fork_child(void)
{
    livetab_fork_child();
    stacktab_fork_child();
    labels_fork_child();
    record_fork_child();
    unwind_cache_fork_child();
}
