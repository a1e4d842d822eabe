/* Figures as people read them, and how far they may be off.
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_NUMBERS_H
#define HPM_REPORT_NUMBERS_H

#include "report/output.h"

/* Why the interval is wider than what was asked for. */
#define NUMBERS_WHY_WIDER "sampling took more than HPMALLOC_SAMPLE_BUDGET, or its tables grew too large"

/* Bytes with a unit, padded to one width. */
void numbers_put_bytes(struct output *output, double bytes);

/* Half the width of a 95 % interval: 1.96 standard deviations of a normal distribution. */
double numbers_error_95(double variance);

#endif
