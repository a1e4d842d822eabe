/* One picture of what is watched, as text: for a terminal of some size, or for a pipe. */
#ifndef HPPROF_WATCHVIEW_H
#define HPPROF_WATCHVIEW_H

#include <stdio.h>

#include "screen.h"
#include "sights.h"
#include "source.h"
#include "units.h"

struct watchview {
    const struct source *source;
    const struct sights *sights;
    const char *type, *unit; // of the values
    enum sight_order order;
    double interval_seconds, seconds; // between pictures; since the first
    const char *message;              // the last line; NULL: none
    bool is_paused, has_utf8, has_help;
    size_t most_rows;        // 0: as many as there is room for
    struct screen_size size; // columns 0: no limit
};

extern const char *const watchview_orders[ORDER_COUNT];

void watchview_put(FILE *out, const struct watchview *view);

/* A value with its unit. */
const char *watchview_format(const struct watchview *view, char text[UNITS_TEXT_MAX], double value);

/* On stdout. */
void watchview_put_json(const struct watchview *view);

#endif
