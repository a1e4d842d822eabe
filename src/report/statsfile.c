#include "report/statsfile.h"

#include <errno.h>

#include "base/lock.h"
#include "base/os.h"
#include "report/account.h"

static struct {
    struct lock lock;

    /* Guarded by lock. */
    struct hpm_stats stats;
    struct output output;
} file = {.lock = LOCK_INITIAL(LOCK_STATS)};

enum metric_kind { GAUGE, COUNTER, COUNTER_NS };

/* Each number of a struct by its name there, and as Prometheus has it. Rows of one metric follow
 * each other, told apart by their label; the first has the help. */
struct number {
    const char *name;
    size_t offset;
    enum metric_kind kind;
    const char *metric, *label, *help;
};

#define STATS(field)       .name = #field, .offset = offsetof(struct hpm_stats, field)
#define CLASS_STATS(field) .name = #field, .offset = offsetof(struct hpm_class_stats, field)

#define RESIDENT           "hpmalloc_heap_resident_bytes"
#define CALLS              "hpmalloc_system_calls_total"

static const struct number numbers[] = {
    {STATS(resident_bytes), GAUGE, "hpmalloc_process_resident_bytes", NULL,
     "Resident memory of the process, as the kernel counts; 0 when it does not say."},
    {STATS(thread_cache_bytes), GAUGE, RESIDENT, "part=\"thread_caches\"",
     "Where the resident memory of the allocator is; the parts add up, and the rest of the process "
     "is not the allocator's."},
    {STATS(central_bytes), GAUGE, RESIDENT, "part=\"central_lists\"", NULL},
    {STATS(slab_free_bytes), GAUGE, RESIDENT, "part=\"slabs_free\"", NULL},
    {STATS(span_free_bytes), GAUGE, RESIDENT, "part=\"pages_free\"", NULL},
    {STATS(metadata_bytes), GAUGE, RESIDENT, "part=\"metadata\"", NULL},
    {STATS(live_bytes), GAUGE, "hpmalloc_live_bytes", NULL,
     "Bytes of objects in the program's hands, exact, as their size classes count."},
    {STATS(live_untouched_bytes), GAUGE, "hpmalloc_live_untouched_bytes", NULL,
     "Of what was handed out, bytes that are not resident: never written, or swapped out."},
    {STATS(live_requested_bytes), GAUGE, "hpmalloc_live_requested_bytes", NULL,
     "Of the live bytes, those that the program asked for: an estimate from the samples."},
    {STATS(live_objects), GAUGE, "hpmalloc_live_objects", NULL,
     "Objects in the program's hands, exact."},
    {STATS(live_small_bytes), GAUGE, "hpmalloc_live_small_bytes", NULL,
     "Of the live bytes, those in size classes, up to 32 KiB."},
    {STATS(live_large_bytes), GAUGE, "hpmalloc_live_large_bytes", NULL,
     "Of the live bytes, those in blocks of their own, above 32 KiB."},
    {STATS(live_huge_bytes), GAUGE, "hpmalloc_live_huge_bytes", NULL,
     "Of the bytes in large blocks, those in mappings of their own, from 32 MiB."},
    {STATS(live_huge_blocks), GAUGE, "hpmalloc_live_huge_blocks", NULL,
     "Blocks in mappings of their own."},
    {STATS(mapped_bytes), GAUGE, "hpmalloc_mapped_bytes", NULL,
     "Address space of the heap, metadata apart."},
    {STATS(released_bytes), GAUGE, "hpmalloc_released_bytes", NULL,
     "Of the address space, free bytes that are with the system: given back, or never used."},
    {STATS(residency_assumed), GAUGE, "hpmalloc_residency_assumed", NULL,
     "1 when the kernel does not say which pages are resident: what was handed out is taken for "
     "it."},
    {STATS(threads), GAUGE, "hpmalloc_threads", NULL, "Threads that have allocated and live."},
    {STATS(samples), COUNTER, "hpmalloc_profile_samples_total", NULL,
     "Allocations sampled for the heap profile."},
    {STATS(lost_samples), COUNTER, "hpmalloc_profile_lost_samples_total", NULL,
     "Samples not recorded for want of memory."},
    {STATS(other_samples), COUNTER, "hpmalloc_profile_other_samples_total", NULL,
     "Samples whose stack was not kept for want of room."},
    {STATS(live_samples), GAUGE, "hpmalloc_profile_live_samples", NULL,
     "Samples whose object is live."},
    {STATS(stacks), GAUGE, "hpmalloc_profile_stacks", NULL, "Distinct stacks sampled so far."},
    {STATS(sample_nanoseconds), COUNTER_NS, "hpmalloc_profile_seconds_total", NULL,
     "Time that taking samples took: an estimate from one sample in 16."},
    {STATS(sample_metadata_bytes), GAUGE, "hpmalloc_profile_metadata_bytes", NULL,
     "Memory taken for samples and stacks."},
    {STATS(sample_interval_bytes), GAUGE, "hpmalloc_profile_interval_bytes", NULL,
     "Mean bytes between samples; 0 when profiling is off."},
    {STATS(map_calls), COUNTER, CALLS, "call=\"mmap\"", "System calls the library made."},
    {STATS(unmap_calls), COUNTER, CALLS, "call=\"munmap\"", NULL},
    {STATS(remap_calls), COUNTER, CALLS, "call=\"mremap\"", NULL},
    {STATS(release_calls), COUNTER, CALLS, "call=\"madvise\"", NULL},
    {STATS(resident_calls), COUNTER, CALLS, "call=\"mincore\"", NULL},
    {STATS(wait_calls), COUNTER, CALLS, "call=\"futex_wait\"", NULL},
    {STATS(wake_calls), COUNTER, CALLS, "call=\"futex_wake\"", NULL},
    {STATS(contended_locks), COUNTER, "hpmalloc_contended_locks_total", NULL,
     "How often a lock of the library was another thread's when it was wanted."},
};

static const struct number class_numbers[] = {
    {CLASS_STATS(object_bytes), GAUGE, NULL, NULL, NULL},
    {CLASS_STATS(live_objects), GAUGE, "hpmalloc_size_class_live_objects", NULL,
     "Objects of a size class in the program's hands, exact."},
    {CLASS_STATS(thread_cache_objects), GAUGE, "hpmalloc_size_class_thread_cache_objects", NULL,
     "Free objects of a size class in threads' lists."},
    {CLASS_STATS(central_objects), GAUGE, "hpmalloc_size_class_central_objects", NULL,
     "Free objects of a size class in lists that threads share."},
    {CLASS_STATS(slab_objects), GAUGE, "hpmalloc_size_class_slab_objects", NULL,
     "Objects of a size class free in slabs, or never handed out."},
    {CLASS_STATS(slabs), GAUGE, "hpmalloc_size_class_slabs", NULL, "Slabs of a size class."},
    {CLASS_STATS(slab_bytes), GAUGE, "hpmalloc_size_class_slab_bytes", NULL,
     "Address space of the slabs of a size class."},
};

static uint64_t value_of(const void *stats, const struct number *number)
{
    return *(const uint64_t *)(const void *)((const char *)stats + number->offset);
}

static void print_help(struct output *output, const struct number *number)
{
    output_print(output, "# HELP %s %s\n# TYPE %s %s\n", number->metric, number->help,
                 number->metric, number->kind == GAUGE ? "gauge" : "counter");
}

static void print_metric(struct output *output, const struct hpm_stats *stats,
                         const struct number *number)
{
    uint64_t value = value_of(stats, number);
    if (number->help != NULL)
        print_help(output, number);
    output_text(output, number->metric);
    if (number->label != NULL)
        output_print(output, "{%s}", number->label);
    if (number->kind == COUNTER_NS)
        output_print(output, " %lu.%09lu\n", value / 1000000000u, value % 1000000000u);
    else
        output_print(output, " %lu\n", value);
}

/* A metric's rows belong together, so the classes are gone through once for each. */
static void print_class_metric(struct output *output, const struct number *number)
{
    struct hpm_class_stats class;
    print_help(output, number);
    for (unsigned i = 0; stats_collect_class(i, &class); i++)
        output_print(output, "%s{object_bytes=\"%lu\"} %lu\n", number->metric, class.object_bytes,
                     value_of(&class, number));
}

static void print_prometheus(struct output *output, const struct hpm_stats *stats)
{
    output_text(output, "# HELP hpmalloc_info The library's version.\n"
                        "# TYPE hpmalloc_info gauge\n"
                        "hpmalloc_info{version=\"" HPM_VERSION "\"} 1\n");
    for (size_t i = 0; i < array_count(numbers); i++) {
        print_metric(output, stats, &numbers[i]);
        if (numbers[i].offset == offsetof(struct hpm_stats, metadata_bytes))
            output_print(output, RESIDENT "{part=\"live\"} %lu\n",
                         stats->live_bytes - stats->live_untouched_bytes);
    }
    for (size_t i = 1; i < array_count(class_numbers); i++)
        print_class_metric(output, &class_numbers[i]);
}

static void print_json_class(struct output *output, const struct hpm_class_stats *class)
{
    for (size_t i = 0; i < array_count(class_numbers); i++)
        output_print(output, "%s\"%s\": %lu", i == 0 ? "{" : ", ", class_numbers[i].name,
                     value_of(class, &class_numbers[i]));
    output_text(output, "}");
}

static void print_json(struct output *output, const struct hpm_stats *stats)
{
    struct hpm_class_stats class;
    output_text(output, "{\"version\": \"" HPM_VERSION "\"");
    for (size_t i = 0; i < array_count(numbers); i++)
        output_print(output, ",\n\"%s\": %lu", numbers[i].name, value_of(stats, &numbers[i]));
    output_text(output, ",\n\"size_classes\": [");
    for (unsigned i = 0; stats_collect_class(i, &class); i++) {
        output_text(output, i == 0 ? "\n" : ",\n");
        print_json_class(output, &class);
    }
    output_text(output, "\n]}\n");
}

static void print_costs(struct output *output, const struct hpm_stats *stats)
{
    uint64_t each = stats->samples != 0 ? stats->sample_nanoseconds / stats->samples : 0;
    output_print(output,
                 "\nProfiling: %lu samples, one each %lu KiB on average; %lu of live objects, %lu "
                 "lost, %lu without their stack\n",
                 stats->samples, stats->sample_interval_bytes / KiB, stats->live_samples,
                 stats->lost_samples, stats->other_samples);
    output_print(output,
                 "Profiling took %lu.%06lu s, %lu ns a sample, and %lu bytes for %lu stacks and "
                 "the samples\n",
                 stats->sample_nanoseconds / 1000000000u,
                 stats->sample_nanoseconds % 1000000000u / 1000u, each,
                 stats->sample_metadata_bytes, stats->stacks);
    output_print(
        output,
        "System calls: %lu mmap, %lu munmap, %lu mremap, %lu madvise, %lu mincore (for "
        "statistics), %lu futex wait, %lu futex wake; %lu times a lock was held by another "
        "thread\n",
        stats->map_calls, stats->unmap_calls, stats->remap_calls, stats->release_calls,
        stats->resident_calls, stats->wait_calls, stats->wake_calls, stats->contended_locks);
}

static void print_classes(struct output *output)
{
    struct hpm_class_stats class;
    output_print(output, "\n%12s %12s %14s %12s %12s %12s %8s\n", "object bytes", "live",
                 "live bytes", "in threads", "in lists", "in slabs", "slabs");
    for (unsigned i = 0; stats_collect_class(i, &class); i++) {
        if (class.slabs != 0)
            output_print(output, "%12lu %12lu %14lu %12lu %12lu %12lu %8lu\n", class.object_bytes,
                         class.live_objects, class.live_objects * class.object_bytes,
                         class.thread_cache_objects, class.central_objects, class.slab_objects,
                         class.slabs);
    }
}

static void print_text(struct output *output, const struct hpm_stats *stats)
{
    output_text(output, "hpmalloc " HPM_VERSION " statistics\n\n");
    account_print(output, stats, stats->live_requested_bytes);
    output_print(
        output,
        "live bytes: %lu in size classes, %lu in large blocks (%lu of them in %lu mappings "
        "of their own)\n",
        stats->live_small_bytes, stats->live_large_bytes, stats->live_huge_bytes,
        stats->live_huge_blocks);
    print_classes(output);
    print_costs(output, stats);
}

void statsfile_print(struct output *output, const struct hpm_stats *stats,
                     enum hpm_stats_format format)
{
    if (format == HPM_STATS_PROMETHEUS)
        print_prometheus(output, stats);
    else if (format == HPM_STATS_JSON)
        print_json(output, stats);
    else
        print_text(output, stats);
}

static int write_locked(int fd, enum hpm_stats_format format)
{
    lock_assert_held(&file.lock);
    stats_collect(&file.stats);
    output_begin(&file.output, fd);
    statsfile_print(&file.output, &file.stats, format);
    return output_finish(&file.output) ? 0 : -errno;
}

int statsfile_write(int fd, enum hpm_stats_format format)
{
    if (lock_held_count() != 0)
        return -EDEADLK;
    int saved = errno, cancel = os_put_cancel_off();
    lock_acquire(&file.lock);
    int error = write_locked(fd, format);
    lock_release(&file.lock);
    os_allow_cancel(cancel);
    errno = saved;
    return error;
}

void statsfile_fork_prepare(void)
{
    lock_acquire(&file.lock);
}

void statsfile_fork_parent(void)
{
    lock_release(&file.lock);
}

void statsfile_fork_child(void)
{
    lock_reset(&file.lock);
}
