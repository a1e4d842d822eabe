/* gperftools' heap profiler and MallocExtension. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "hpmalloc_compat.h"

static struct {
    pthread_mutex_t lock;
    bool is_running;
    bool was_sampling; // before it was started
    unsigned dumps;
    pid_t process; // that started it: a child's exit writes no file
    char prefix[PATH_MAX];
} profiler = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void unlock_in_child(void)
{
    pthread_mutex_init(&profiler.lock, NULL);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, unlock_in_child);
}

static void complain(const char *call, const char *path, int error)
{
    const char *quiet = getenv("HPMALLOC_QUIET");
    if (quiet == NULL || strcmp(quiet, "0") == 0)
        fprintf(stderr, "hpmalloc: %s: no profile %s: %s\n", call, path, strerror(error));
}

void HeapProfilerStart(const char *prefix)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (prefix == NULL || strlen(prefix) >= sizeof(profiler.prefix)) {
        complain("HeapProfilerStart", "of that name", prefix == NULL ? EINVAL : ENAMETOOLONG);
        return;
    }
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&profiler.lock);
    if (!profiler.is_running) {
        strcpy(profiler.prefix, prefix);
        profiler.was_sampling = common_switch_profiling(true);
        profiler.process = getpid();
        profiler.dumps = 0;
        profiler.is_running = true;
    }
    pthread_mutex_unlock(&profiler.lock);
}

int IsHeapProfilerRunning(void)
{
    pthread_mutex_lock(&profiler.lock);
    bool is_running = profiler.is_running;
    pthread_mutex_unlock(&profiler.lock);
    return is_running;
}

void HeapProfilerStop(void)
{
    pthread_mutex_lock(&profiler.lock);
    if (profiler.is_running && !profiler.was_sampling)
        common_switch_profiling(false);
    profiler.is_running = false;
    pthread_mutex_unlock(&profiler.lock);
}

static void dump_locked(void)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof(path), "%s.%04u.heap", profiler.prefix, profiler.dumps + 1);
    int status = length < (int)sizeof(path) ? common_dump(path) : -ENAMETOOLONG;
    profiler.dumps += status == 0;
    if (status != 0)
        complain("HeapProfilerDump", path, -status);
}

void HeapProfilerDump(const char *reason)
{
    (void)reason;
    pthread_mutex_lock(&profiler.lock);
    if (profiler.is_running)
        dump_locked();
    pthread_mutex_unlock(&profiler.lock);
}

/* A program that ends without HeapProfilerStop leaves a last profile. */
__attribute__((destructor)) static void dump_at_exit(void)
{
    pthread_mutex_lock(&profiler.lock);
    if (profiler.is_running && profiler.process == getpid())
        dump_locked();
    pthread_mutex_unlock(&profiler.lock);
}

char *GetHeapProfile(void)
{
    return common_read(common_write_profile);
}

/* Blocks are checked when they are freed, not on demand: nothing wrong is known. */
int MallocExtension_VerifyAllMemory(void)
{
    return 1;
}

int MallocExtension_VerifyNewMemory(const void *block)
{
    (void)block;
    return 1;
}

int MallocExtension_VerifyArrayNewMemory(const void *block)
{
    (void)block;
    return 1;
}

int MallocExtension_VerifyMallocMemory(const void *block)
{
    (void)block;
    return 1;
}

static int clip(uint64_t n)
{
    return n < INT_MAX ? (int)n : INT_MAX;
}

static void count_blocks(int histogram[], uint64_t object_bytes, uint64_t objects)
{
    if (objects == 0)
        return;
    int bucket = 63 - __builtin_clzll(object_bytes | 1);
    histogram[bucket] = clip((uint64_t)histogram[bucket] + objects);
}

/* Large blocks are known by their number and sum: they count at their mean. */
int MallocExtension_MallocMemoryStats(int *blocks, size_t *total,
                                      int histogram[HPM_COMPAT_HISTOGRAM_COUNT])
{
    struct hpm_stats stats;
    struct hpm_class_stats class;
    memset(histogram, 0, HPM_COMPAT_HISTOGRAM_COUNT * sizeof(histogram[0]));
    if (hpm_stats_get(&stats, sizeof(stats)) != 0)
        return 0;
    uint64_t small = 0;
    for (unsigned number = 0; hpm_stats_get_class(number, &class, sizeof(class)) == 0; number++) {
        count_blocks(histogram, class.object_bytes, class.live_objects);
        small += class.live_objects;
    }
    if (stats.live_objects > small)
        count_blocks(histogram, stats.live_large_bytes / (stats.live_objects - small),
                     stats.live_objects - small);
    *blocks = clip(stats.live_objects);
    *total = stats.live_bytes;
    return 1;
}

void MallocExtension_GetStats(char *buffer, int bytes)
{
    if (bytes <= 0)
        return;
    char *text = common_read(common_write_text);
    snprintf(buffer, (size_t)bytes, "%s", text != NULL ? text : "");
    free(text);
}

enum property {
    LIVE,
    HEAP,
    PHYSICAL,
    SPAN_FREE,
    RELEASED,
    THREAD_CACHE,
    CENTRAL,
    SLACK,
    NOTHING,
    INTERVAL,
};

static const struct {
    const char *name;
    enum property property;
} properties[] = {
    {"generic.current_allocated_bytes", LIVE},
    {"generic.heap_size", HEAP},
    {"generic.total_physical_bytes", PHYSICAL},
    {"tcmalloc.pageheap_free_bytes", SPAN_FREE},
    {"tcmalloc.pageheap_unmapped_bytes", RELEASED},
    {"tcmalloc.current_total_thread_cache_bytes", THREAD_CACHE},
    {"tcmalloc.thread_cache_free_bytes", THREAD_CACHE},
    {"tcmalloc.central_cache_free_bytes", CENTRAL},
    {"tcmalloc.transfer_cache_free_bytes", NOTHING},
    {"tcmalloc.slack_bytes", SLACK},
    {"tcmalloc.sampling_period_bytes", INTERVAL},
};

static size_t value_of(enum property property, const struct hpm_stats *stats)
{
    switch (property) {
    case LIVE:
        return stats->live_bytes;
    case HEAP:
        return stats->mapped_bytes;
    case PHYSICAL:
        return stats->live_bytes + stats->thread_cache_bytes + stats->central_bytes +
               stats->slab_free_bytes + stats->span_free_bytes + stats->metadata_bytes -
               stats->live_untouched_bytes;
    case SPAN_FREE:
        return stats->span_free_bytes;
    case RELEASED:
        return stats->released_bytes;
    case THREAD_CACHE:
        return stats->thread_cache_bytes;
    case CENTRAL:
        return stats->central_bytes + stats->slab_free_bytes;
    case SLACK:
        return stats->span_free_bytes + stats->released_bytes;
    case INTERVAL:
        return stats->sample_interval_bytes;
    case NOTHING:
        break;
    }
    return 0;
}

int MallocExtension_GetNumericProperty(const char *property, size_t *value)
{
    struct hpm_stats stats;
    for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++) {
        if (strcmp(property, properties[i].name) != 0)
            continue;
        if (hpm_stats_get(&stats, sizeof(stats)) != 0)
            return 0;
        *value = value_of(properties[i].property, &stats);
        return 1;
    }
    return 0;
}

/* The one that can be set here; thread caches are bounded by other means. */
int MallocExtension_SetNumericProperty(const char *property, size_t value)
{
    return strcmp(property, "tcmalloc.sampling_period_bytes") == 0 &&
           hpm_profile_set_interval(value) == 0;
}

void MallocExtension_MarkThreadIdle(void)
{
}

void MallocExtension_MarkThreadBusy(void)
{
}

void MallocExtension_MarkThreadTemporarilyIdle(void)
{
}

void MallocExtension_ReleaseToSystem(size_t bytes)
{
    hpm_release_memory(bytes);
}

void MallocExtension_ReleaseFreeMemory(void)
{
    hpm_release_memory(SIZE_MAX);
}

size_t MallocExtension_GetEstimatedAllocatedSize(size_t bytes)
{
    return hpm_nallocx(bytes);
}

size_t MallocExtension_GetAllocatedSize(const void *block)
{
    return hpm_usable_size(block);
}

/* One thread's share is not known from outside. */
size_t MallocExtension_GetThreadCacheSize(void)
{
    return 0;
}

/* "Unknown", which gperftools may answer too. */
int MallocExtension_GetOwnership(const void *block)
{
    (void)block;
    return 0;
}
