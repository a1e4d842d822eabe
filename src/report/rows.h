/* Rows of a profile put in order, and added up by stack.
 *
 * Fails:  calls that need memory return false when the kernel gives none.
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_ROWS_H
#define HPM_REPORT_ROWS_H

#include "base/base.h"
#include "prof/profile.h"

/* What a profile (DUMP_PROFILE_) is about: what is live, or was ever allocated, or was live at the
 * peak. */
const struct estimate *rows_estimate(const struct profile_row *row, unsigned profile);

/* What a profile shows as in use: what is live, or was at the peak, or is pinned. */
const struct estimate *rows_inuse(const struct profile_row *row, unsigned profile);

/* How the option calls the profile. */
const char *rows_profile_name(unsigned profile);

/* Indices of rows, those with the most bytes first, in pages of their own. */
struct row_order {
    uint64_t *indices;
    size_t count, mapped_bytes;
};

bool rows_sort(struct row_order *order, const struct profile_row *rows, size_t count,
               unsigned profile);
void rows_sort_free(struct row_order *order);

/* One row a stack and set of labels, of whatever sizes (its object_bytes is 0), in pages of their own. */
struct row_set {
    struct profile_row *rows;
    size_t count, mapped_bytes;
};

bool rows_merge(struct row_set *set, const struct snapshot *snapshot);
void rows_merge_free(struct row_set *set);

/* Makes rows show what happened since an earlier snapshot, and leaves out those where nothing did.
 * `keeps_inuse`: what is in use stays as it is. */
void rows_subtract(struct snapshot *snapshot, const struct snapshot *earlier, bool keeps_inuse);

#endif
