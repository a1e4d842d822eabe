#include "report/account.h"

#include "report/numbers.h"

static uint64_t own_bytes(const struct hpm_stats *stats)
{
    return stats->live_bytes - stats->live_untouched_bytes + stats->thread_cache_bytes +
           stats->central_bytes + stats->slab_free_bytes + stats->span_free_bytes +
           stats->metadata_bytes;
}

/* Exact bytes, which can be added up, and the same to read. */
static void print_row(struct output *output, int64_t bytes, const char *what)
{
    output_print(output, "%16ld  %s", bytes, bytes < 0 ? "-" : " ");
    numbers_put_bytes(output, (double)(bytes < 0 ? -bytes : bytes));
    output_print(output, "  %s\n", what);
}

static void print_own_rows(struct output *output, const struct hpm_stats *stats, uint64_t requested)
{
    print_row(output, (int64_t)requested,
              "live: asked for by the program (share known from samples)");
    print_row(output, (int64_t)(stats->live_bytes - requested),
              "live: rounding up to size classes");
    print_row(output, -(int64_t)stats->live_untouched_bytes,
              "live: never written, or swapped out, so not resident");
    print_row(output, (int64_t)stats->thread_cache_bytes, "free, in the caches of threads");
    print_row(output, (int64_t)stats->central_bytes, "free, in central lists");
    print_row(output, (int64_t)stats->slab_free_bytes, "free, in slabs that hold live objects");
    print_row(output, (int64_t)stats->span_free_bytes, "free pages kept");
    print_row(output, (int64_t)stats->metadata_bytes, "tables of the allocator and the profiler");
}

/* The kernel's count lags a little behind, so what is not ours can fall below nothing. */
void account_print(struct output *output, const struct hpm_stats *stats, uint64_t requested)
{
    bool is_known = stats->resident_bytes != 0;
    uint64_t own = own_bytes(stats), resident = is_known ? stats->resident_bytes : own;
    int64_t rest = (int64_t)(resident - own);
    print_own_rows(output, stats, requested);
    print_row(output, rest,
              rest < 0 ? "of the above not resident (less what else the process has)"
                       : "not of this allocator: code, stacks, other mappings");
    print_row(output, (int64_t)resident,
              is_known ? "resident memory of the process"
                       : "in sum; the resident memory of the process is unknown");
    if (stats->residency_assumed)
        output_text(output,
                    "the kernel does not tell which pages are resident: all that was handed "
                    "out is taken for it\n");
    output_print(output,
                 "%lu live objects of %lu threads; %lu bytes of address space are free and not "
                 "resident\n",
                 stats->live_objects, stats->threads, stats->released_bytes);
}
