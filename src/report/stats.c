#include "report/stats.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/meta.h"
#include "base/os.h"
#include "heap/central.h"
#include "heap/guard.h"
#include "heap/hardened.h"
#include "heap/large.h"
#include "heap/pageheap.h"
#include "heap/residency.h"
#include "heap/tcache.h"
#include "prof/cost.h"
#include "prof/profile.h"
#include "prof/sampler.h"
#include "prof/stacktab.h"

/* Threads go on meanwhile, so a part may come out larger than its whole: it is cut. */
bool stats_collect_class(unsigned number, struct hpm_class_stats *stats)
{
    unsigned class = number + 1;
    struct central_stats central;
    size_t cached;
    if (number >= SIZECLASS_COUNT - 1)
        return false;
    struct hardened_stats hardened;
    central_stats_get(class, &central);
    hardened_stats_get(class, &hardened);
    tcache_stats_get(class, &cached);
    size_t out = central.out_objects - min_size(central.out_objects, central.list_objects);
    cached = min_size(cached, out);
    size_t slabs = central.slab_count + hardened.slab_count;
    size_t capacity = slabs * sizeclass_table[class].slab_objects;
    size_t taken = central.out_objects + central.tagged_out_objects + hardened.live_objects +
                   hardened.quarantined_objects;
    *stats = (struct hpm_class_stats){
        .object_bytes = sizeclass_bytes(class),
        .live_objects = out - cached + central.tagged_out_objects + hardened.live_objects,
        .thread_cache_objects = cached,
        .central_objects = central.list_objects + hardened.quarantined_objects,
        .slab_objects = capacity - min_size(capacity, taken),
        .slabs = slabs,
        .slab_bytes = slabs * bytes_of_pages(sizeclass_table[class].slab_pages),
    };
    return true;
}

static ssize_t read_statm(char *text, size_t size)
{
    ssize_t length = -1;
    int cancel = os_put_cancel_off();
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        length = read(fd, text, size);
        close(fd);
    }
    os_allow_cancel(cancel);
    return length;
}

/* The second number of /proc/self/statm, in pages. */
static size_t resident_bytes(void)
{
    char text[64];
    ssize_t length = read_statm(text, sizeof(text) - 1);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    const char *at = text;
    while (*at != '\0' && *at != ' ')
        at++;
    size_t pages = 0;
    for (at += *at == ' '; *at >= '0' && *at <= '9'; at++)
        pages = pages * 10 + (size_t)(*at - '0');
    return pages * os_page_bytes();
}

/* Returns the bytes of all slabs. */
static size_t collect_classes(struct hpm_stats *stats)
{
    struct hpm_class_stats class;
    size_t slab_bytes = 0;
    for (unsigned number = 0; stats_collect_class(number, &class); number++) {
        stats->live_objects += class.live_objects;
        stats->live_small_bytes += class.live_objects * class.object_bytes;
        stats->thread_cache_bytes += class.thread_cache_objects * class.object_bytes;
        stats->central_bytes += class.central_objects * class.object_bytes;
        slab_bytes += class.slab_bytes;
    }
    return slab_bytes;
}

static void collect_large(struct hpm_stats *stats)
{
    struct large_stats large;
    large_stats_get(&large);
    stats->live_large_bytes = large.live_bytes;
    stats->live_huge_bytes = large.huge_bytes;
    stats->live_huge_blocks = large.huge_blocks;
    stats->live_objects += large.live_blocks;
    stats->live_bytes = stats->live_small_bytes + stats->live_large_bytes;
}

/* They are charged as if they lay among others of their size; what their pages take besides is
 * free memory. */
static void collect_guarded(struct hpm_stats *stats)
{
    struct guard_stats guard;
    guard_stats_get(&guard);
    stats->live_large_bytes += guard.live_bytes;
    stats->live_objects += guard.live_objects;
    stats->live_bytes += guard.live_bytes;
}

/* Of a kind of memory, what is in use and what is resident are known: the difference is free, or
 * was handed out and never touched. */
static void settle(uint64_t used, uint64_t resident, uint64_t *free, uint64_t *untouched)
{
    if (resident >= used)
        *free += resident - used;
    else
        *untouched += used - resident;
}

static void collect_pages(struct hpm_stats *stats)
{
    struct pageheap_stats pages;
    pageheap_stats_get(&pages);
    stats->mapped_bytes = pages.mapped_bytes + stats->live_huge_bytes;
    stats->released_bytes = pages.fresh_bytes;
    stats->span_free_bytes = pages.dirty_bytes;
}

/* Returns the bytes of all slabs. */
static size_t count_heap(struct hpm_stats *stats)
{
    *stats = (struct hpm_stats){.residency_assumed = 1};
    size_t slab_bytes = collect_classes(stats);
    collect_large(stats);
    collect_guarded(stats);
    collect_pages(stats);
    return slab_bytes;
}

static void settle_slabs(struct hpm_stats *stats, size_t resident)
{
    settle(stats->live_small_bytes + stats->thread_cache_bytes + stats->central_bytes, resident,
           &stats->slab_free_bytes, &stats->live_untouched_bytes);
}

void stats_count(struct hpm_stats *stats)
{
    settle_slabs(stats, count_heap(stats));
    stats->metadata_bytes = meta_bytes();
}

static void collect_residency(struct hpm_stats *stats, size_t slab_bytes)
{
    struct residency residency;
    size_t metadata;
    if (!residency_get(&residency) || !meta_resident_bytes(&metadata)) {
        residency = (struct residency){slab_bytes, stats->live_large_bytes, stats->span_free_bytes};
        metadata = meta_bytes();
    } else {
        stats->residency_assumed = 0;
    }
    stats->metadata_bytes = metadata;
    stats->span_free_bytes = residency.free_bytes;
    settle_slabs(stats, residency.slab_bytes);
    settle(stats->live_large_bytes, residency.large_bytes, &stats->span_free_bytes,
           &stats->live_untouched_bytes);
}

/* The samples know which share of what is live was asked for. */
static uint64_t requested_bytes(uint64_t live)
{
    double charged = (double)profile_live_bytes();
    double requested = (double)profile_live_requested_bytes();
    return requested > 0 && requested < charged ? (uint64_t)((double)live * (requested / charged))
                                                : live;
}

static void collect_profiler(struct hpm_stats *stats)
{
    struct cost cost;
    cost_get(&cost);
    stats->samples = cost.samples;
    stats->live_samples = profile_live_count();
    stats->lost_samples = profile_lost_count();
    stats->other_samples = stacktab_other_count();
    stats->stacks = stacktab_stack_count();
    stats->sample_nanoseconds = cost.nanoseconds;
    stats->sample_metadata_bytes = cost.meta_bytes;
    stats->sample_interval_bytes = sampler_interval();
    stats->live_requested_bytes = requested_bytes(stats->live_bytes);
}

static void collect_calls(struct hpm_stats *stats)
{
    stats->map_calls = os_call_count(OS_CALL_MAP);
    stats->unmap_calls = os_call_count(OS_CALL_UNMAP);
    stats->remap_calls = os_call_count(OS_CALL_REMAP);
    stats->release_calls = os_call_count(OS_CALL_RELEASE);
    stats->resident_calls = os_call_count(OS_CALL_RESIDENT);
    stats->wait_calls = os_call_count(OS_CALL_WAIT);
    stats->wake_calls = os_call_count(OS_CALL_WAKE);
    stats->contended_locks = lock_contended_count();
}

void stats_collect(struct hpm_stats *stats)
{
    collect_residency(stats, count_heap(stats));
    stats->resident_bytes = resident_bytes();
    stats->threads = tcache_count();
    collect_profiler(stats);
    collect_calls(stats);
}
