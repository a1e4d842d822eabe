#include "report/pinned.h"

#include "report/stats.h"

enum { CLASSES_MAX = 64 };

/* A size class's live objects by the samples, and what is free in its slabs by exact count. */
struct holding {
    size_t object_bytes;
    double live_objects, free_bytes;
};

static struct {
    struct holding holdings[CLASSES_MAX]; // by size
    size_t count;
    struct hpm_class_stats stats;
} pinned;

static void read_classes(void)
{
    for (pinned.count = 0; pinned.count < CLASSES_MAX; pinned.count++) {
        if (!stats_collect_class((unsigned)pinned.count, &pinned.stats))
            break;
        pinned.holdings[pinned.count] = (struct holding){
            .object_bytes = pinned.stats.object_bytes,
            .free_bytes = (double)(pinned.stats.slab_objects * pinned.stats.object_bytes),
        };
    }
}

/* NULL: objects of this size have no slabs, or the row is of several sizes. */
static struct holding *find_holding(const struct profile_row *row)
{
    size_t from = 0, to = pinned.count;
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (pinned.holdings[middle].object_bytes < row->object_bytes)
            from = middle + 1;
        else
            to = middle;
    }
    bool is_found = from < pinned.count && pinned.holdings[from].object_bytes == row->object_bytes;
    return is_found ? &pinned.holdings[from] : NULL;
}

static void charge_row(struct profile_row *row, double bytes_per_object)
{
    row->pinned = row->inuse;
    row->pinned.bytes = row->inuse.objects * bytes_per_object;
    row->pinned.bytes_variance = row->inuse.objects_variance * bytes_per_object * bytes_per_object;
}

double pinned_charge(struct snapshot *snapshot)
{
    read_classes();
    for (size_t i = 0; i < snapshot->row_count; i++) {
        struct holding *holding = find_holding(&snapshot->rows[i]);
        if (holding != NULL)
            holding->live_objects += snapshot->rows[i].inuse.objects;
    }
    for (size_t i = 0; i < snapshot->row_count; i++) {
        struct profile_row *row = &snapshot->rows[i];
        const struct holding *holding = find_holding(row);
        if (holding == NULL || !(row->inuse.objects > 0))
            continue;
        charge_row(row, holding->free_bytes / holding->live_objects);
        estimate_add(&snapshot->total.pinned, &row->pinned);
    }
    double charged_to_none = 0;
    for (size_t i = 0; i < pinned.count; i++) {
        if (!(pinned.holdings[i].live_objects > 0))
            charged_to_none += pinned.holdings[i].free_bytes;
    }
    return charged_to_none;
}
