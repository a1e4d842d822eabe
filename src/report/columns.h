/* Which numbers a profile has for each stack: the sample types of a pprof file.
 *
 * heap, allocs, peak: as Go's runtime names and orders them. lifetime: as Google's tcmalloc names them
 * (an object that is still live is `censored`: how long it will have lived is not known), and how long
 * the freed objects lived in all, which divided by their number is the mean. */
#ifndef HPM_REPORT_COLUMNS_H
#define HPM_REPORT_COLUMNS_H

#include "prof/profile.h"

enum { COLUMNS_MAX = 7 };

struct column_set {
    size_t count;
    size_t shown; // the one that a reader opens
    struct {
        const char *type, *unit;
    } columns[COLUMNS_MAX];
};

const struct column_set *columns_of(unsigned profile);

/* The row's number in each column. */
void columns_values(const struct profile_row *row, unsigned profile, double values[COLUMNS_MAX]);

#endif
