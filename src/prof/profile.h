/* What is known about memory: samples recorded and forgotten, and snapshots of it all.
 *
 *   api  --object, bytes-->  profile  --stack-->  unwind, stacktab
 *                               \--snapshot-->  report
 *
 * The profile never sees the heap: it is told of an object and answers with a tag, which the caller
 * keeps beside the object and gives back when the object is freed. */
#ifndef HPM_PROF_PROFILE_H
#define HPM_PROF_PROFILE_H

#include "base/base.h"
#include "prof/ages.h"
#include "prof/stacktab.h"

/* A sampled object's record; 0 is none. */
typedef uint32_t sample_tag;

bool profile_init(void);

/* Records one sampled object. `object_bytes` is what it charges (s), `probability` the chance with
 * which it was picked. Returns 0 when the record is lost: the loss is counted. */
sample_tag profile_record(size_t requested_bytes, size_t object_bytes, double probability);
void profile_forget(sample_tag tag);

/* What some samples stand for: unbiased, not rounded; `_variance` are the variances. */
struct estimate {
    double objects, bytes, requested_bytes;
    double objects_variance, bytes_variance;
    uint64_t samples;
};

HPM_INLINE void estimate_add(struct estimate *sum, const struct estimate *estimate)
{
    sum->objects += estimate->objects;
    sum->bytes += estimate->bytes;
    sum->requested_bytes += estimate->requested_bytes;
    sum->objects_variance += estimate->objects_variance;
    sum->bytes_variance += estimate->bytes_variance;
    sum->samples += estimate->samples;
}

/* What one stack and object size hold, ready to print. */
struct profile_row {
    const struct stack *stack; // NULL: `[other]`
    size_t object_bytes;
    const struct label_set *labels; // NULL: none
    struct estimate alloc, inuse; // ever allocated, and live
    struct estimate peak;         // live when live bytes stood highest
    struct estimate freed;
    double freed_seconds; // that the freed objects lived, added up
    struct estimate pinned; // free memory that live objects keep: for report/pinned to fill in
};

/* Adds all estimates; the stack and the size stay. */
HPM_INLINE void profile_row_add(struct profile_row *sum, const struct profile_row *row)
{
    estimate_add(&sum->alloc, &row->alloc);
    estimate_add(&sum->inuse, &row->inuse);
    estimate_add(&sum->peak, &row->peak);
    estimate_add(&sum->freed, &row->freed);
    sum->freed_seconds += row->freed_seconds;
    estimate_add(&sum->pinned, &row->pinned);
}

/* A consistent picture of one moment, in memory of its own. */
struct snapshot {
    struct profile_row *rows; // the newest first: those of an earlier picture keep their order
    size_t row_count;
    size_t mapped_bytes; // of rows
    struct profile_row total; // by the samples alone
    double unpinned_bytes;    // free in slabs, and held by objects of which no sample is live
    double calibration;       // bytes in use by rows over those by samples; 1: not calibrated
    size_t interval_bytes, asked_interval_bytes; // the former is wider when it cost too much
    uint64_t wall_clock_ns;
    uint64_t duration_ns; // what rows show happened in this time; 0: they show what is
    uint64_t peak_age_ns; // how long ago live bytes stood highest
    uint64_t lost_samples;  // not recorded, for want of memory
    uint64_t other_samples; // recorded, but under `[other]`
    size_t stack_count;
    struct ages ages; // for the caller to take: gathered apart, so a sample may be in the one only
};

/* False: no memory for it. One snapshot at a time: callers serialize.
 * Signal: async-signal-safe on a thread that holds no lock of ours. */
bool snapshot_take(struct snapshot *snapshot);
void snapshot_free(struct snapshot *snapshot); // and its ages

/* Shifts what rows say is in use so that they add up to the allocator's own exact count, each by its
 * part of the variance: what is known for sure stays. Rows keep the variances of bytes that they had,
 * which can be added up, and prof/spread says what is left of a sum. Nothing is done
 * where part of the heap was never open to sampling: after the profiler was off for a while, or
 * when the count is further off than chance explains (four standard errors); nor with less than
 * CALIBRATION_SAMPLES samples. */
enum { CALIBRATION_SAMPLES = 16 };
void snapshot_calibrate(struct snapshot *snapshot, size_t exact_live_bytes);

/* Estimates of what was ever allocated and what is live, kept up to date with each sample: cheap
 * enough to be looked at after every one. */
uint64_t profile_alloc_bytes(void);
uint64_t profile_live_bytes(void);
uint64_t profile_live_requested_bytes(void); // of those, what was asked for

uint64_t profile_lost_count(void);
size_t profile_live_count(void);

void profile_fork_prepare(void);
void profile_fork_parent(void);
void profile_fork_child(void);

#endif
