#include "report/legacy.h"

#include <errno.h>

#include "base/options.h"
#include "hpmalloc.h"
#include "prof/sampler.h"
#include "report/frames.h"
#include "report/output.h"
#include "report/rows.h"

/* What stands for a stack that is not known: readers skip a line without any address. */
enum { UNKNOWN_ADDRESS = 1 };

static struct {
    struct output output;
    const struct snapshot *snapshot;
    const struct symbol_table *table;
    unsigned profile;
    bool is_raw;
} legacy;

struct pair {
    uint64_t objects, bytes;
};

struct line {
    struct pair inuse, alloc;
};

static uint64_t rounded(double value)
{
    return value > 0 ? (uint64_t)(value + 0.5) : 0;
}

/* Readers refuse bytes of no object. */
static struct pair pair_of(const struct estimate *estimate, size_t object_bytes)
{
    if (legacy.is_raw)
        return (struct pair){estimate->samples, estimate->samples * object_bytes};
    struct pair pair = {rounded(estimate->objects), rounded(estimate->bytes)};
    pair.objects += pair.objects == 0 && pair.bytes != 0;
    return pair;
}

static struct line line_of(const struct profile_row *row)
{
    return (struct line){pair_of(rows_inuse(row, legacy.profile), row->object_bytes),
                         pair_of(&row->alloc, row->object_bytes)};
}

/* Whether a reader who scales the samples arrives at our estimate. */
static bool is_scaled(const struct estimate *estimate, double probability)
{
    double samples = (double)estimate->samples;
    double error = estimate->objects * probability - samples;
    return (error < 0 ? -error : error) <= 1e-4 * (1 + samples);
}

/* What is calibrated cannot be compared. */
static bool can_be_raw(const struct snapshot *snapshot)
{
    bool is_calibrated = snapshot->calibration != 1 && legacy.profile != DUMP_PROFILE_PEAK;
    if (legacy.profile == DUMP_PROFILE_PINNED || snapshot->interval_bytes == 0 ||
        snapshot->interval_bytes != sampler_interval())
        return false;
    for (size_t i = 0; i < snapshot->row_count; i++) {
        const struct profile_row *row = &snapshot->rows[i];
        double probability = sampler_probability(snapshot->interval_bytes, row->object_bytes);
        if (!is_scaled(&row->alloc, probability) ||
            (!is_calibrated && !is_scaled(rows_inuse(row, legacy.profile), probability)))
            return false;
    }
    return true;
}

static void add_pair(struct pair *sum, struct pair pair)
{
    sum->objects += pair.objects;
    sum->bytes += pair.bytes;
}

static void put_pair(struct pair pair)
{
    output_decimal(&legacy.output, pair.objects);
    output_text(&legacy.output, ": ");
    output_decimal(&legacy.output, pair.bytes);
}

static void put_line(struct line line)
{
    put_pair(line.inuse);
    output_text(&legacy.output, " [");
    put_pair(line.alloc);
    output_text(&legacy.output, "] @");
}

/* Where the second pair is as the first, or nothing, readers take the file for one of two columns:
 * a byte more keeps four. */
static void put_header(void)
{
    struct line sum = {0};
    for (size_t i = 0; i < legacy.snapshot->row_count; i++) {
        struct line line = line_of(&legacy.snapshot->rows[i]);
        add_pair(&sum.inuse, line.inuse);
        add_pair(&sum.alloc, line.alloc);
    }
    sum.alloc.bytes += sum.alloc.bytes == sum.inuse.bytes || sum.alloc.bytes == 0;
    output_text(&legacy.output, "heap profile: ");
    put_line(sum);
    if (legacy.is_raw)
        output_print(&legacy.output, " heap_v2/%zu\n", legacy.snapshot->interval_bytes);
    else
        output_text(&legacy.output, " heapprofile\n");
}

static void put_comments(void)
{
    const struct snapshot *snapshot = legacy.snapshot;
    output_print(&legacy.output, "# hpmalloc %s\n", HPM_VERSION);
    output_print(&legacy.output, "# interval: %zu bytes between samples, on average\n",
                 snapshot->interval_bytes);
    output_print(&legacy.output, "# samples: %lu of live objects, %lu in all\n",
                 snapshot->total.inuse.samples, snapshot->total.alloc.samples);
    if (legacy.is_raw && snapshot->calibration != 1 && legacy.profile != DUMP_PROFILE_PEAK)
        output_print(&legacy.output,
                     "# raw: by the exact count, %.6f of what these samples say is in use\n",
                     snapshot->calibration);
    if (!legacy.is_raw)
        output_text(&legacy.output,
                    "# estimates, not samples: one interval does not explain them\n");
    output_print(&legacy.output,
                 "# lost: %lu samples for want of memory; without a stack of their own: %lu\n",
                 snapshot->lost_samples, snapshot->other_samples);
}

static void put_address(uintptr_t address)
{
    output_text(&legacy.output, " 0x");
    output_hex(&legacy.output, address, 1);
}

static void put_stack(const struct stack *stack)
{
    if (stack == NULL || stack->depth == 0) {
        put_address(UNKNOWN_ADDRESS);
        return;
    }
    for (size_t i = frames_own_count(stack, legacy.table); i < stack->depth; i++)
        put_address(stack->frames[i]);
}

static void put_rows(const struct row_order *order)
{
    for (size_t i = 0; i < order->count; i++) {
        const struct profile_row *row = &legacy.snapshot->rows[order->indices[i]];
        put_line(line_of(row));
        put_stack(row->stack);
        output_text(&legacy.output, "\n");
    }
}

static void put_mapping(const struct mapping *mapping)
{
    output_hex(&legacy.output, mapping->start, 8);
    output_text(&legacy.output, "-");
    output_hex(&legacy.output, mapping->limit, 8);
    output_text(&legacy.output, " r-xp ");
    output_hex(&legacy.output, mapping->file_offset, 8);
    output_text(&legacy.output, " 00:00 0 ");
    output_text(&legacy.output, mapping->path);
    output_text(&legacy.output, "\n");
}

/* As in /proc/self/maps, but for the device and the inode, which nobody reads. */
static void put_mappings(void)
{
    output_text(&legacy.output, "\nMAPPED_LIBRARIES:\n");
    for (size_t i = 0; i < legacy.table->mapping_count; i++)
        put_mapping(&legacy.table->mappings[i]);
}

bool legacy_write(int fd, const struct snapshot *snapshot, const struct symbol_table *table,
                  unsigned profile)
{
    struct row_order order = {0};
    errno = ENOMEM;
    if (!rows_sort(&order, snapshot->rows, snapshot->row_count, profile))
        return false;
    legacy.snapshot = snapshot;
    legacy.table = table;
    legacy.profile = profile;
    legacy.is_raw = can_be_raw(snapshot);
    output_begin(&legacy.output, fd);
    put_header();
    put_comments();
    put_rows(&order);
    put_mappings();
    bool done = output_finish(&legacy.output);
    rows_sort_free(&order);
    return done;
}
