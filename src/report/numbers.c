#include "report/numbers.h"

#include <string.h>

#define DEVIATIONS_95 1.96

/* Newton's iteration: the library links no libm. Halving the exponent makes a guess that is off by
 * a few per cent, and each step doubles the digits. */
static double square_root(double value)
{
    uint64_t bits;
    double root;
    if (!(value > 0))
        return 0;
    memcpy(&bits, &value, sizeof(bits));
    bits = (bits >> 1) + ((uint64_t)1023 << 51);
    memcpy(&root, &bits, sizeof(root));
    for (int i = 0; i < 5; i++)
        root = (root + value / root) / 2;
    return root;
}

double numbers_error_95(double variance)
{
    return DEVIATIONS_95 * square_root(variance);
}

void numbers_put_bytes(struct output *output, double bytes)
{
    static const char *const units[] = {"B  ", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;
    for (; bytes >= 1024 && unit + 1 < array_count(units); unit++)
        bytes /= 1024;
    output_print(output, unit == 0 ? "%6.0f %s" : "%6.1f %s", bytes, units[unit]);
}
