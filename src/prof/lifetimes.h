/* How long objects lived: a histogram of the freed ones, and sums for their mean.
 *
 *   profile  --weight, age-->  stacktab (one for each site)  --lifetimes-->  report
 *
 * Buckets double: bucket 0 is what lived less than a millisecond, bucket n from 2^(n-1) to 2^n of
 * them, the last whatever lived longer. Clocks are coarse (os_clock_coarse_ns): what lived less than
 * a few milliseconds may be in bucket 0.
 * Lock: the owner's. */
#ifndef HPM_PROF_LIFETIMES_H
#define HPM_PROF_LIFETIMES_H

#include "base/base.h"

enum { LIFETIME_BUCKETS = 28 };

/* Of samples with weights w = 1/p, each for an object that lived t seconds:
 *   the mean is sum wt / sum w, a ratio of estimates; its variance by linearization, as for any ratio
 *   of two sums in survey sampling, is sum v (t - mean)^2 / (sum w)^2 with v = w (w - 1). */
struct lifetimes {
    float objects[LIFETIME_BUCKETS]; // sum w
    double total;                    // sum w
    double seconds;                  // sum wt
    double error, error_seconds, error_squares; // sum v, vt, vt^2
    uint64_t samples;
};

void lifetimes_count(struct lifetimes *lifetimes, double weight, uint64_t age_ns);
void lifetimes_add(struct lifetimes *sum, const struct lifetimes *lifetimes);

unsigned lifetimes_bucket_of(uint64_t age_ns);

/* Where a bucket ends; UINT64_MAX for the last. */
uint64_t lifetimes_bucket_limit_ns(unsigned bucket);

/* The mean in seconds and its variance; both 0 when nothing was freed. */
double lifetimes_mean(const struct lifetimes *lifetimes, double *variance);

/* The variance to make a 95 % interval of the mean from, as mean +- 1.96 roots of it: that of k samples
 * is small by (k-1)/k, and its root is Student's with k-1 degrees of freedom, whose quantile is taken by
 * Fisher and Cornish's expansion. The lifetimes themselves may be skewed: of exponential ones the
 * interval covers 95 of 100 from 30 samples on, and 90 with 5. Nothing (0) is known of one sample. */
double lifetimes_mean_spread(const struct lifetimes *lifetimes, double variance);

/* The end of the bucket within which this share of the freed objects had been freed; 0 when none was. */
uint64_t lifetimes_quantile_ns(const struct lifetimes *lifetimes, double share);

/* How long half of all objects lived, those counted that still live (`alive`, by age) taken into
 * account: the actuarial form of Kaplan and Meier's estimate, (1 - d / (n - c/2)) for each bucket
 * with n objects at its beginning, d freed in it and c that are no older. UINT64_MAX: more than
 * half have not been freed. Between the ends of a bucket by proportion. */
uint64_t lifetimes_median_ns(const struct lifetimes *lifetimes,
                             const float alive[static LIFETIME_BUCKETS]);

#endif
