#include "report/stats.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/meta.h"
#include "base/os.h"
#include "heap/central.h"
#include "heap/large.h"
#include "heap/pageheap.h"
#include "heap/tcache.h"

static void add_class(struct stats *stats, unsigned class)
{
    struct central_stats central;
    size_t cached;
    central_stats_get(class, &central);
    tcache_stats_get(class, &cached);
    size_t bytes = sizeclass_bytes(class);
    size_t out = central.out_objects - min_size(central.out_objects, central.list_objects);
    cached = min_size(cached, out);
    size_t live = out - cached + central.tagged_out_objects;
    stats->live_objects += live;
    stats->live_small_bytes += live * bytes;
    stats->thread_cache_bytes += cached * bytes;
    stats->central_bytes += central.list_objects * bytes;
    stats->slab_free_bytes +=
        central.slab_bytes - (central.out_objects + central.tagged_out_objects) * bytes;
}

/* The second number of /proc/self/statm, in pages. */
static size_t resident_bytes(void)
{
    char text[64];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof(text) - 1);
    close(fd);
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

void stats_collect(struct stats *stats)
{
    *stats = (struct stats){0};
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++)
        add_class(stats, class);
    struct large_stats large;
    large_stats_get(&large);
    struct pageheap_stats pages;
    pageheap_stats_get(&pages);
    stats->live_large_bytes = large.live_bytes;
    stats->live_objects += large.live_blocks;
    stats->live_bytes = stats->live_small_bytes + stats->live_large_bytes;
    stats->span_free_bytes = pages.dirty_bytes;
    stats->released_bytes = pages.fresh_bytes;
    stats->mapped_bytes = pages.mapped_bytes + large.huge_bytes;
    stats->meta_bytes = meta_bytes();
    stats->thread_count = tcache_count();
    stats->memory_calls = os_memory_call_count();
    stats->lock_waits = lock_wait_count();
    stats->resident_bytes = resident_bytes();
}
