#include "report/text.h"

#include <errno.h>
#include <string.h>

#include "base/options.h"
#include "base/print.h"
#include "hpmalloc.h"
#include "prof/spread.h"
#include "report/account.h"
#include "report/cuts.h"
#include "report/frames.h"
#include "report/lives.h"
#include "report/numbers.h"
#include "report/output.h"
#include "report/rows.h"

static struct {
    struct output output;
    const struct snapshot *snapshot;
    const struct symbol_table *table;
    const struct hpm_stats *stats;
    unsigned profile;
} text;

static void put_title(void)
{
    static char moment[32];
    const struct snapshot *snapshot = text.snapshot;
    print_time(moment, sizeof(moment), snapshot->wall_clock_ns);
    output_print(&text.output, "hpmalloc %s %s profile, %s\n", HPM_VERSION,
                 rows_profile_name(text.profile), moment);
    output_print(&text.output,
                 "one sample each %zu KiB on average; %lu samples of live objects, %lu in all\n",
                 snapshot->interval_bytes / KiB, snapshot->total.inuse.samples,
                 snapshot->total.alloc.samples);
    if (snapshot->interval_bytes > snapshot->asked_interval_bytes)
        output_print(&text.output,
                     "the interval is wider than the %zu bytes asked for: " NUMBERS_WHY_WIDER "\n",
                     snapshot->asked_interval_bytes);
    if (snapshot->lost_samples != 0 || snapshot->other_samples != 0)
        output_print(&text.output,
                     "%lu samples were lost for want of memory, %lu are under " FRAME_OTHER "\n",
                     snapshot->lost_samples, snapshot->other_samples);
}

/* What the program asked for, of what it holds: the share is known from the samples. */
static size_t requested_bytes(void)
{
    const struct profile_row *total = &text.snapshot->total;
    if (!(total->inuse.bytes > 0) || !(total->inuse.requested_bytes > 0))
        return text.stats->live_bytes;
    double share = total->inuse.requested_bytes / total->inuse.bytes;
    return share < 1 ? (size_t)((double)text.stats->live_bytes * share) : text.stats->live_bytes;
}

static void put_estimate(double bytes, double spread)
{
    numbers_put_bytes(&text.output, bytes);
    output_text(&text.output, " \xc2\xb1 ");
    numbers_put_bytes(&text.output, numbers_error_95(spread));
}

/* Beside the estimate it shows whether the samples can be trusted. */
static void put_exact(void)
{
    if (text.stats == NULL)
        return;
    output_text(&text.output, "; by exact count ");
    numbers_put_bytes(&text.output, (double)text.stats->live_bytes);
    if (text.snapshot->calibration != 1)
        output_print(&text.output, "; rows are calibrated to it (x %.3f)",
                     text.snapshot->calibration);
}

static void put_total(void)
{
    static const char *const what[] = {
        [DUMP_PROFILE_HEAP] = "are live",
        [DUMP_PROFILE_ALLOCS] = "were ever allocated",
        [DUMP_PROFILE_PEAK] = "were live at the peak, ",
        [DUMP_PROFILE_LIFETIME] = "were ever allocated",
        [DUMP_PROFILE_PINNED] = "are free in slabs and held by live objects",
    };
    output_text(&text.output, "\nBy the samples ");
    const struct estimate *total = rows_estimate(&text.snapshot->total, text.profile);
    put_estimate(total->bytes, spread_of(total->bytes, total->bytes_variance));
    output_print(&text.output, " (95 %%) %s", what[text.profile]);
    if (text.profile == DUMP_PROFILE_HEAP)
        put_exact();
    if (text.profile == DUMP_PROFILE_PEAK) {
        lives_put_duration(&text.output, text.snapshot->peak_age_ns);
        output_text(&text.output, " ago");
    }
    if (text.profile == DUMP_PROFILE_PINNED) {
        output_text(&text.output, "; and ");
        numbers_put_bytes(&text.output, text.snapshot->unpinned_bytes);
        output_text(&text.output, " by objects of which no sample is live");
    }
    output_text(&text.output, "\n\n");
}

static void put_cuts(void)
{
    static struct cuts cuts;
    static char line[1200];
    cuts_count(&cuts, text.snapshot, text.table);
    if (cuts.samples == 0)
        return;
    cuts_print_whole(&cuts, line, sizeof(line));
    output_print(&text.output, "%s\n", line);
    for (size_t i = 0; i < cuts.count; i++) {
        cuts_print(&cuts, i, text.table, line, sizeof(line));
        output_print(&text.output, "%s\n", line);
    }
}

static void put_stack(const struct stack *stack)
{
    if (stack == NULL) {
        output_text(&text.output, "        " FRAME_OTHER "\n");
        return;
    }
    for (size_t i = frames_own_count(stack, text.table); i < stack->depth; i++)
        frames_put_line(&text.output, text.table, frames_find(text.table, stack->frames[i]),
                        stack->frames[i]);
    if (stack->end != STACK_WHOLE)
        output_text(&text.output, "        " FRAME_TRUNCATED "\n");
}

static void put_labels(const struct label_set *labels)
{
    for (size_t i = 0; labels != NULL && i < labels->count; i++)
        output_print(&text.output, "        with label %s=%s\n", labels->labels[i].key,
                     labels->labels[i].value);
}

static double row_spread(const struct estimate *estimate)
{
    if (text.profile == DUMP_PROFILE_HEAP)
        return spread_of_inuse(text.snapshot, estimate);
    return spread_of(estimate->bytes, estimate->bytes_variance);
}

static void put_row(size_t number, const struct profile_row *row)
{
    const struct estimate *estimate = rows_estimate(row, text.profile);
    double total = rows_estimate(&text.snapshot->total, text.profile)->bytes;
    if (text.profile == DUMP_PROFILE_HEAP)
        total *= text.snapshot->calibration;
    output_print(&text.output, "%5zu. ", number);
    put_estimate(estimate->bytes, row_spread(estimate));
    output_print(&text.output, "  %5.1f %%  %10.0f objects  %7lu samples",
                 total > 0 ? 100 * estimate->bytes / total : 0, estimate->objects,
                 estimate->samples);
    if (text.profile == DUMP_PROFILE_HEAP || text.profile == DUMP_PROFILE_PINNED)
        lives_put_age(&text.output, text.snapshot, row);
    output_text(&text.output, "\n");
    if (text.profile == DUMP_PROFILE_LIFETIME)
        lives_put_lifetimes(&text.output, text.snapshot, row);
    put_labels(row->labels);
    put_stack(row->stack);
    output_text(&text.output, "\n");
}

/* In a heap profile, stacks whose objects are all freed are left out. */
static void put_rows(const struct row_set *set, const struct row_order *order)
{
    size_t number = 0;
    for (size_t i = 0; i < order->count; i++) {
        const struct profile_row *row = &set->rows[order->indices[i]];
        if (rows_estimate(row, text.profile)->samples != 0)
            put_row(++number, row);
    }
    if (number == 0)
        output_text(&text.output, "No samples.\n");
}

static bool write_all(const struct row_set *set, const struct row_order *order, int fd)
{
    output_begin(&text.output, fd);
    put_title();
    put_cuts();
    if (text.stats != NULL) {
        output_text(&text.output, "\n");
        account_print(&text.output, text.stats, requested_bytes());
    }
    put_total();
    if (text.profile == DUMP_PROFILE_HEAP)
        lives_put_summary(&text.output, text.snapshot, set, order);
    put_rows(set, order);
    return output_finish(&text.output);
}

bool text_write(int fd, const struct snapshot *snapshot, const struct symbol_table *table,
                const struct hpm_stats *stats, unsigned profile)
{
    static struct row_set set;
    static struct row_order order;
    bool done = false;
    text.snapshot = snapshot;
    text.table = table;
    text.stats = stats;
    text.profile = profile;
    errno = ENOMEM;
    if (rows_merge(&set, snapshot)) {
        if (rows_sort(&order, set.rows, set.count, profile)) {
            done = write_all(&set, &order, fd);
            rows_sort_free(&order);
        }
        rows_merge_free(&set);
    }
    return done;
}
