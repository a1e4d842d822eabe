#include "report/rows.h"

#include <string.h>

#include "base/options.h"
#include "base/os.h"
#include "base/sort.h"

const struct estimate *rows_estimate(const struct profile_row *row, unsigned profile)
{
    switch (profile) {
    case DUMP_PROFILE_ALLOCS:
    case DUMP_PROFILE_LIFETIME:
        return &row->alloc;
    default:
        return rows_inuse(row, profile);
    }
}

const struct estimate *rows_inuse(const struct profile_row *row, unsigned profile)
{
    return profile == DUMP_PROFILE_PEAK     ? &row->peak
           : profile == DUMP_PROFILE_PINNED ? &row->pinned
                                            : &row->inuse;
}

const char *rows_profile_name(unsigned profile)
{
    static const char *const names[] = {
        [DUMP_PROFILE_HEAP] = "heap",
        [DUMP_PROFILE_ALLOCS] = "allocs",
        [DUMP_PROFILE_PEAK] = "peak",
        [DUMP_PROFILE_LIFETIME] = "lifetime",
        [DUMP_PROFILE_PINNED] = "pinned",
    };
    return names[profile];
}

/* Positive floats are in the order of their bits; turned over, the heaviest sorts first. A change may
 * be less than nothing, and weighs the same. */
static uint64_t sort_key(double weight, size_t index)
{
    float rough = (float)(weight > 0 ? weight : 0 - weight);
    uint32_t bits;
    memcpy(&bits, &rough, sizeof(bits));
    return (uint64_t)~bits << 32 | (uint32_t)index;
}

bool rows_sort(struct row_order *order, const struct profile_row *rows, size_t count,
               unsigned profile)
{
    order->count = count;
    order->mapped_bytes = max_size(count, 1) * sizeof(*order->indices);
    order->indices = os_map_whole(order->mapped_bytes);
    if (order->indices == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        order->indices[i] = sort_key(rows_estimate(&rows[i], profile)->bytes, i);
    sort_words(order->indices, count);
    for (size_t i = 0; i < count; i++)
        order->indices[i] = (uint32_t)order->indices[i];
    return true;
}

void rows_sort_free(struct row_order *order)
{
    if (order->indices != NULL)
        os_unmap(order->indices, order->mapped_bytes);
    order->indices = NULL;
}

/* The place of the row of a stack and labels in a table of indices (0: none yet), which has room to spare. */
static uint32_t *find_slot(uint32_t *slots, size_t slot_count, const struct row_set *set,
                           const struct profile_row *row)
{
    uintptr_t key = (uintptr_t)row->stack + 3 * (uintptr_t)row->labels;
    size_t at = (size_t)((key * 0x9e3779b97f4a7c15u) >> 24) & (slot_count - 1);
    while (slots[at] != 0 && (set->rows[slots[at] - 1].stack != row->stack ||
                              set->rows[slots[at] - 1].labels != row->labels))
        at = (at + 1) & (slot_count - 1);
    return &slots[at];
}

static void merge_rows(struct row_set *set, const struct snapshot *snapshot, uint32_t *slots,
                       size_t slot_count)
{
    for (size_t i = 0; i < snapshot->row_count; i++) {
        const struct profile_row *row = &snapshot->rows[i];
        uint32_t *slot = find_slot(slots, slot_count, set, row);
        if (*slot == 0) {
            set->rows[set->count].stack = row->stack;
            set->rows[set->count].labels = row->labels;
            *slot = (uint32_t)++set->count;
        }
        profile_row_add(&set->rows[*slot - 1], row);
    }
}

bool rows_merge(struct row_set *set, const struct snapshot *snapshot)
{
    size_t slot_count = 64;
    while (slot_count < 2 * snapshot->row_count)
        slot_count *= 2;
    set->count = 0;
    set->mapped_bytes = max_size(snapshot->row_count, 1) * sizeof(*set->rows);
    set->rows = os_map_whole(set->mapped_bytes);
    uint32_t *slots = os_map_whole(slot_count * sizeof(*slots));
    bool done = set->rows != NULL && slots != NULL;
    if (done)
        merge_rows(set, snapshot, slots, slot_count);
    if (slots != NULL)
        os_unmap(slots, slot_count * sizeof(*slots));
    if (!done)
        rows_merge_free(set);
    return done;
}

void rows_merge_free(struct row_set *set)
{
    if (set->rows != NULL)
        os_unmap(set->rows, set->mapped_bytes);
    set->rows = NULL;
}

static void subtract(struct estimate *estimate, const struct estimate *earlier)
{
    estimate->objects -= earlier->objects;
    estimate->bytes -= earlier->bytes;
    estimate->requested_bytes -= earlier->requested_bytes;
    estimate->samples -= estimate->samples < earlier->samples ? estimate->samples : earlier->samples;
}

static void subtract_row(struct profile_row *row, const struct profile_row *earlier,
                         bool keeps_inuse)
{
    subtract(&row->alloc, &earlier->alloc);
    subtract(&row->freed, &earlier->freed);
    row->freed_seconds -= earlier->freed_seconds;
    if (keeps_inuse)
        return;
    subtract(&row->inuse, &earlier->inuse);
    subtract(&row->peak, &earlier->peak);
    subtract(&row->pinned, &earlier->pinned);
}

static bool is_same_site(const struct profile_row *a, const struct profile_row *b)
{
    return a->stack == b->stack && a->object_bytes == b->object_bytes && a->labels == b->labels;
}

static bool is_empty(const struct profile_row *row)
{
    return row->alloc.objects == 0 && row->inuse.objects == 0 && row->peak.objects == 0 &&
           row->freed.objects == 0 && row->pinned.bytes == 0;
}

/* From the oldest row on, both lists are in step: the later one has what the earlier one has, in its
 * order, and more in between. */
void rows_subtract(struct snapshot *snapshot, const struct snapshot *earlier, bool keeps_inuse)
{
    size_t left = earlier->row_count, kept = 0;
    for (size_t i = snapshot->row_count; i-- > 0;) {
        struct profile_row *row = &snapshot->rows[i];
        if (left > 0 && is_same_site(row, &earlier->rows[left - 1]))
            subtract_row(row, &earlier->rows[--left], keeps_inuse);
    }
    for (size_t i = 0; i < snapshot->row_count; i++) {
        if (!is_empty(&snapshot->rows[i]))
            snapshot->rows[kept++] = snapshot->rows[i];
    }
    snapshot->row_count = kept;
    uint64_t now = snapshot->wall_clock_ns, then = earlier->wall_clock_ns;
    snapshot->duration_ns = now > then ? now - then : 1;
}
