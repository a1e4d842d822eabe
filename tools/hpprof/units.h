/* Values as people read them: scaled to a unit, as a share; the same to the last digit as what
 * `go tool pprof` prints, so that the two can be held side by side. */
#ifndef HPPROF_UNITS_H
#define HPPROF_UNITS_H

#include "base/base.h"

enum { UNITS_TEXT_MAX = 48 };

/* How values of one sample type are written. */
struct scale {
    double factor;      // of a value, to bytes or nanoseconds
    double divisor;     // 0: as they are
    const char *suffix; // "MB"
};

/* One scale for a whole table: the unit of its smallest value, as long as a hundredth of it shows
 * in what the largest is written in. */
struct scale units_choose(const char *unit, int64_t smallest, int64_t largest);

/* The unit that suits this value. */
struct scale units_auto(const char *unit, int64_t value);

const char *units_format(char text[UNITS_TEXT_MAX], struct scale scale, int64_t value);

/* "12.34%", six characters wide at least. */
const char *units_percent(char text[UNITS_TEXT_MAX], int64_t value, int64_t total);

/* "3.5 MB", "12 min": not pprof's. */
const char *units_bytes(char text[UNITS_TEXT_MAX], double bytes);
const char *units_seconds(char text[UNITS_TEXT_MAX], double seconds);

/* Sums wrap around, as pprof's do, where a file holds nonsense. */
static inline int64_t units_add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static inline int64_t units_negate(int64_t a)
{
    return (int64_t)(-(uint64_t)a);
}

static inline int64_t units_abs(int64_t a)
{
    return a < 0 ? units_negate(a) : a;
}

#endif
