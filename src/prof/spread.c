#include "prof/spread.h"

static double two_more(double value, double variance)
{
    double each = value > 0 ? variance / value : 0;
    return 2 * each * each;
}

double spread_of(double value, double variance)
{
    return variance + two_more(value, variance);
}

double spread_of_calibrated(double spread, double variance, const struct estimate *total)
{
    double part = variance / total->bytes_variance;
    double others = total->bytes_variance - variance;
    if (!(others > 0))
        others = 0;
    others += two_more(total->bytes, total->bytes_variance);
    return (1 - part) * (1 - part) * spread + part * part * others;
}

double spread_of_inuse(const struct snapshot *snapshot, const struct estimate *inuse)
{
    double spread = spread_of(inuse->bytes, inuse->bytes_variance);
    if (snapshot->calibration == 1)
        return spread;
    return spread_of_calibrated(spread, inuse->bytes_variance, &snapshot->total.inuse);
}
