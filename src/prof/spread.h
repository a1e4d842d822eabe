/* How far estimates may be off: variances to make 95 % intervals from, as value +- 1.96 roots of
 * them.
 *
 *   profile  --estimates-->  spread  --their spread-->  report
 *
 * The plain variance of few samples is too small just when they are too few: it counts k samples,
 * of variance/value bytes each, and two more set that right ("add two": Agresti and Coull 1998, for
 * a binomial count; a weighted sum taken for a scaled Poisson count: Fay and Feuer 1997). Of stacks
 * with 8 expected samples or more the interval covers the truth in 93 to 97 of 100 cases, of those
 * with 3 to 8 in 93 to 98; below, one in twenty stacks is not seen at all. A stack whose samples
 * were taken at intervals far apart, with few at the longer one, is covered less often: 92 of 100
 * with two. */
#ifndef HPM_PROF_SPREAD_H
#define HPM_PROF_SPREAD_H

#include "prof/profile.h"

double spread_of(double value, double variance);

/* The same after calibration to the exact total. With V the variance of `total` and r = v/V the
 * part that is a row's, the row's error is (1 - r) times its own less r times that of all others,
 * of which those without a sample count as two more: (1 - r)^2 spread + r^2 (V - v + 2 (V / all
 * bytes)^2) */
double spread_of_calibrated(double spread, double variance, const struct estimate *total);

/* Of the bytes that a row, or several added up, says are in use, calibrated or not. */
double spread_of_inuse(const struct snapshot *snapshot, const struct estimate *inuse);

#endif
