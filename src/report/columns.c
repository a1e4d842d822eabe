#include "report/columns.h"

#include "base/options.h"
#include "report/rows.h"

#define GO_COLUMNS                                                                                 \
    {                                                                                              \
        {"alloc_objects", "count"}, {"alloc_space", "bytes"}, {"inuse_objects", "count"},          \
            {"inuse_space", "bytes"}                                                               \
    }

static const struct column_set sets[] = {
    [DUMP_PROFILE_HEAP] = {4, 3, GO_COLUMNS},
    [DUMP_PROFILE_ALLOCS] = {4, 1, GO_COLUMNS},
    [DUMP_PROFILE_PEAK] = {4, 3, GO_COLUMNS},
    [DUMP_PROFILE_LIFETIME] = {7,
                               6,
                               {{"allocated_objects", "count"},
                                {"allocated_space", "bytes"},
                                {"deallocated_objects", "count"},
                                {"deallocated_space", "bytes"},
                                {"censored_allocated_objects", "count"},
                                {"censored_allocated_space", "bytes"},
                                {"object_lifetime", "nanoseconds"}}},
    [DUMP_PROFILE_PINNED] = {2, 1, {{"pinning_objects", "count"}, {"pinned_space", "bytes"}}},
};

const struct column_set *columns_of(unsigned profile)
{
    return &sets[profile];
}

static void put_pair(double **at, const struct estimate *estimate)
{
    *(*at)++ = estimate->objects;
    *(*at)++ = estimate->bytes;
}

void columns_values(const struct profile_row *row, unsigned profile, double values[COLUMNS_MAX])
{
    double *at = values;
    if (profile == DUMP_PROFILE_PINNED) {
        put_pair(&at, &row->pinned);
        return;
    }
    put_pair(&at, &row->alloc);
    if (profile == DUMP_PROFILE_LIFETIME)
        put_pair(&at, &row->freed);
    put_pair(&at, rows_inuse(row, profile));
    if (profile == DUMP_PROFILE_LIFETIME)
        *at = row->freed_seconds * 1e9;
}
