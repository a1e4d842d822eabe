#include "prof/lifetimes.h"

#define MILLISECOND_NS 1000000u

unsigned lifetimes_bucket_of(uint64_t age_ns)
{
    uint64_t milliseconds = age_ns / MILLISECOND_NS;
    unsigned bits = milliseconds == 0 ? 0 : 64u - (unsigned)__builtin_clzll(milliseconds);
    return bits < LIFETIME_BUCKETS ? bits : LIFETIME_BUCKETS - 1;
}

uint64_t lifetimes_bucket_limit_ns(unsigned bucket)
{
    return bucket >= LIFETIME_BUCKETS - 1 ? UINT64_MAX : ((uint64_t)1 << bucket) * MILLISECOND_NS;
}

static uint64_t bucket_first_ns(unsigned bucket)
{
    return bucket == 0 ? 0 : lifetimes_bucket_limit_ns(bucket - 1);
}

void lifetimes_count(struct lifetimes *lifetimes, double weight, uint64_t age_ns)
{
    double seconds = (double)age_ns / 1e9, error = weight * (weight - 1);
    lifetimes->objects[lifetimes_bucket_of(age_ns)] += (float)weight;
    lifetimes->total += weight;
    lifetimes->seconds += weight * seconds;
    lifetimes->error += error;
    lifetimes->error_seconds += error * seconds;
    lifetimes->error_squares += error * seconds * seconds;
    lifetimes->samples++;
}

void lifetimes_add(struct lifetimes *sum, const struct lifetimes *lifetimes)
{
    for (unsigned i = 0; i < LIFETIME_BUCKETS; i++)
        sum->objects[i] += lifetimes->objects[i];
    sum->total += lifetimes->total;
    sum->seconds += lifetimes->seconds;
    sum->error += lifetimes->error;
    sum->error_seconds += lifetimes->error_seconds;
    sum->error_squares += lifetimes->error_squares;
    sum->samples += lifetimes->samples;
}

double lifetimes_mean(const struct lifetimes *l, double *variance)
{
    *variance = 0;
    if (!(l->total > 0))
        return 0;
    double mean = l->seconds / l->total;
    double squares = l->error_squares - 2 * mean * l->error_seconds + mean * mean * l->error;
    *variance = squares > 0 ? squares / (l->total * l->total) : 0;
    return mean;
}

double lifetimes_mean_spread(const struct lifetimes *lifetimes, double variance)
{
    if (lifetimes->samples < 2)
        return 0;
    double n = (double)(lifetimes->samples - 1), z2 = 1.96 * 1.96;
    double wider = 1 + (z2 + 1) / (4 * n) + (5 * z2 * z2 + 16 * z2 + 3) / (96 * n * n) +
                   (3 * z2 * z2 * z2 + 19 * z2 * z2 + 17 * z2 - 15) / (384 * n * n * n);
    return variance * wider * wider * (n + 1) / n;
}

uint64_t lifetimes_quantile_ns(const struct lifetimes *lifetimes, double share)
{
    double sum = 0, wanted = 0;
    unsigned last = 0;
    for (unsigned i = 0; i < LIFETIME_BUCKETS; i++)
        wanted += (double)lifetimes->objects[i] * share;
    if (!(wanted > 0))
        return 0;
    for (unsigned i = 0; i < LIFETIME_BUCKETS && sum < wanted; i++) {
        sum += (double)lifetimes->objects[i];
        last = i;
    }
    return lifetimes_bucket_limit_ns(last);
}

uint64_t lifetimes_median_ns(const struct lifetimes *lifetimes,
                             const float alive[static LIFETIME_BUCKETS])
{
    double at_risk = 0, surviving = 1;
    for (unsigned i = 0; i < LIFETIME_BUCKETS; i++)
        at_risk += (double)lifetimes->objects[i] + (double)alive[i];
    for (unsigned i = 0; i + 1 < LIFETIME_BUCKETS && at_risk > 0; i++) {
        double freed = (double)lifetimes->objects[i], exposed = at_risk - (double)alive[i] / 2;
        double after = exposed > 0 ? surviving * (1 - freed / exposed) : surviving;
        if (after <= 0.5) {
            double from = (double)bucket_first_ns(i), to = (double)lifetimes_bucket_limit_ns(i);
            return (uint64_t)(from + (to - from) * (surviving - 0.5) / (surviving - after));
        }
        surviving = after;
        at_risk -= freed + (double)alive[i];
    }
    return UINT64_MAX;
}
