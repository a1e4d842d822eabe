#include "report/account.h"

#include "report/numbers.h"

static uint64_t own_bytes(const struct hpm_stats *stats)
{
    return stats->live_bytes - stats->live_untouched_bytes + stats->thread_cache_bytes +
           stats->central_bytes + stats->slab_free_bytes + stats->span_free_bytes +
           stats->metadata_bytes;
}

static struct account_row row(const char *key, uint64_t bytes, const char *what)
{
    return (struct account_row){.key = key, .what = what, .bytes = (int64_t)bytes};
}

/* The kernel's count lags a little behind, so what is not ours can fall below nothing. */
static struct account_row process_row(const struct hpm_stats *stats, enum account which)
{
    bool is_known = stats->resident_bytes != 0;
    uint64_t own = own_bytes(stats), resident = is_known ? stats->resident_bytes : own;
    if (which == ACCOUNT_RESIDENT)
        return row("resident", resident,
                   is_known ? "resident memory of the process"
                            : "in sum; the resident memory of the process is unknown");
    return row("other", resident - own,
               resident < own ? "of the above not resident (less what else the process has)"
                              : "not of this allocator: code, stacks, other mappings");
}

struct account_row account_row(const struct hpm_stats *stats, uint64_t requested,
                               enum account which)
{
    switch (which) {
    case ACCOUNT_REQUESTED:
        return row("requested", requested,
                   "live: asked for by the program (share known from samples)");
    case ACCOUNT_ROUNDING:
        return row("rounding", stats->live_bytes - requested, "live: rounding up to size classes");
    case ACCOUNT_UNTOUCHED:
        return row("untouched", -stats->live_untouched_bytes,
                   "live: never written, or swapped out, so not resident");
    case ACCOUNT_CACHES:
        return row("caches", stats->thread_cache_bytes, "free, in the caches of threads");
    case ACCOUNT_CENTRAL:
        return row("central", stats->central_bytes, "free, in central lists");
    case ACCOUNT_SLABS:
        return row("slabs", stats->slab_free_bytes, "free, in slabs that hold live objects");
    case ACCOUNT_PAGES:
        return row("pages", stats->span_free_bytes, "free pages kept");
    case ACCOUNT_TABLES:
        return row("tables", stats->metadata_bytes, "tables of the allocator and the profiler");
    default:
        return process_row(stats, which);
    }
}

/* Exact bytes, which can be added up, and the same to read. */
static void print_row(struct output *output, struct account_row row)
{
    output_print(output, "%16ld  %s", row.bytes, row.bytes < 0 ? "-" : " ");
    numbers_put_bytes(output, (double)(row.bytes < 0 ? -row.bytes : row.bytes));
    output_print(output, "  %s\n", row.what);
}

void account_print(struct output *output, const struct hpm_stats *stats, uint64_t requested)
{
    for (enum account which = 0; which < ACCOUNT_ROWS; which++)
        print_row(output, account_row(stats, requested, which));
    if (stats->residency_assumed)
        output_text(output,
                    "the kernel does not tell which pages are resident: all that was handed "
                    "out is taken for it\n");
    output_print(output,
                 "%lu live objects of %lu threads; %lu bytes of address space are free and not "
                 "resident\n",
                 stats->live_objects, stats->threads, stats->released_bytes);
}
