#include "prof/sampler.h"

static _Atomic size_t asked_bytes, interval_bytes;
static _Atomic unsigned widened;
static _Atomic bool has_paused;
_Atomic uint32_t sampler_current_epoch = 1;

#define DRAW_MAX ((int64_t)1 << 40)

HPM_EARLY void sampler_set_interval(size_t bytes)
{
    if (bytes == 0)
        atomic_store_explicit(&has_paused, true, memory_order_relaxed);
    atomic_store_explicit(&asked_bytes, bytes, memory_order_relaxed);
    sampler_widen(0);
}

HPM_EARLY void sampler_widen(unsigned doublings)
{
    size_t bytes = atomic_load_explicit(&asked_bytes, memory_order_relaxed) << doublings;
    atomic_store_explicit(&widened, doublings, memory_order_relaxed);
    atomic_store_explicit(&interval_bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&sampler_current_epoch, 1, memory_order_release);
}

unsigned sampler_widened(void)
{
    return atomic_load_explicit(&widened, memory_order_relaxed);
}

size_t sampler_asked_interval(void)
{
    return atomic_load_explicit(&asked_bytes, memory_order_relaxed);
}

bool sampler_has_paused(void)
{
    return atomic_load_explicit(&has_paused, memory_order_relaxed);
}

HPM_EARLY size_t sampler_interval(void)
{
    return atomic_load_explicit(&interval_bytes, memory_order_relaxed);
}

HPM_EARLY void sampler_init(struct sampler *sampler, uint64_t seed)
{
    uint64_t state = mix_bits(seed);
    sampler->state = state != 0 ? state : 0x9e3779b97f4a7c15u;
}

/* Marsaglia's xorshift64*: the upper bits of the product pass the usual tests. */
static uint64_t next_random(struct sampler *sampler)
{
    uint64_t x = sampler->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    sampler->state = x;
    return x * 0x2545f4914f6cdd1du;
}

/* Uniform over (0, 1]: 53 random bits, never 0. */
static double next_unit(struct sampler *sampler)
{
    return (double)((next_random(sampler) >> 11) + 1) * 0x1p-53;
}

/* Natural logarithm of a normal x > 0, to 1e-9, without libm (linking it costs every small program
 * half a mebibyte): x = m 2^e with m in [0.707, 1.414], ln m = 2 artanh((m-1)/(m+1)). */
static double log_of(double x)
{
    union {
        double value;
        uint64_t bits;
    } u = {.value = x};
    int exponent = (int)(u.bits >> 52) - 1023;
    u.bits = (u.bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    if (u.value > 1.4142135623730951) {
        u.value *= 0.5;
        exponent++;
    }
    double z = (u.value - 1) / (u.value + 1), z2 = z * z;
    double series =
        1 + z2 * (1.0 / 3 + z2 * (1.0 / 5 + z2 * (1.0 / 7 + z2 * (1.0 / 9 + z2 * (1.0 / 11)))));
    return exponent * 0.6931471805599453 + 2 * z * series;
}

/* 1 - exp(-x) for x >= 0. Halves x until its series converges at once, then doubles back by
 * 1 - e^-2y = (1 - e^-y)(2 - (1 - e^-y)), which loses nothing for small x. */
static double one_minus_exp_of(double x)
{
    if (x > 40)
        return 1;
    int halvings = 0;
    for (; x > 0.125; x *= 0.5)
        halvings++;
    double p =
        x * (1 - x * (1.0 / 2 -
                      x * (1.0 / 6 -
                           x * (1.0 / 24 - x * (1.0 / 120 - x * (1.0 / 720 - x * (1.0 / 5040)))))));
    for (; halvings > 0; halvings--)
        p *= 2 - p;
    return p;
}

double sampler_probability(size_t interval, size_t object_bytes)
{
    return interval == 0 ? 0 : one_minus_exp_of((double)object_bytes / (double)interval);
}

/* An exponential distance of mean T, in whole objects of s bytes: floor(X/s) objects lie before the
 * one that holds the sampled byte. */
HPM_EARLY int64_t sampler_draw(struct sampler *sampler, size_t interval, size_t object_bytes)
{
    if (interval == 0)
        return -1;
    double distance = -log_of(next_unit(sampler)) * (double)interval;
    double objects = distance / (double)object_bytes;
    return objects < (double)DRAW_MAX ? (int64_t)objects : DRAW_MAX;
}

bool sampler_toss(struct sampler *sampler, double probability)
{
    return next_unit(sampler) <= probability;
}
