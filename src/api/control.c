/* What a program may ask of the profiler and the heap: the hpm_ calls that are not allocation. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/options.h"
#include "base/print.h"
#include "heap/central.h"
#include "heap/pageheap.h"
#include "hpmalloc.h"
#include "prof/labels.h"
#include "prof/sampler.h"
#include "report/dump.h"
#include "report/http.h"
#include "report/stats.h"
#include "report/statsfile.h"

static_assert((int)HPM_PROFILE_PINNED == DUMP_PROFILE_PINNED, "one numbering");
static_assert((int)HPM_FORMAT_COLLAPSED == DUMP_FORMAT_COLLAPSED, "one numbering");
static_assert((int)HPM_STATS_TEXT + 1 == STATS_TEXT, "one numbering, after off");
static_assert((int)HPM_STATS_JSON + 1 == STATS_JSON, "one numbering, after off");

#define INTERVAL_MAX_BYTES TiB

static bool is_known(unsigned profile, unsigned format)
{
    return profile <= HPM_PROFILE_PINNED && format <= HPM_FORMAT_COLLAPSED;
}

HPM_EXPORT int hpm_profile_dump(enum hpm_profile profile, enum hpm_format format, const char *path)
{
    return is_known(profile, format) ? dump_to_path(profile, format, path, "api") : -EINVAL;
}

HPM_EXPORT int hpm_profile_write(enum hpm_profile profile, enum hpm_format format, int fd)
{
    return is_known(profile, format) ? dump_to_fd(profile, format, fd) : -EINVAL;
}

HPM_EXPORT int hpm_profile_set_interval(size_t bytes)
{
    if (bytes > INTERVAL_MAX_BYTES)
        return -EINVAL;
    sampler_set_interval(bytes);
    return 0;
}

HPM_EXPORT size_t hpm_profile_interval(void)
{
    return sampler_asked_interval();
}

/* A caller built against a later header has a longer struct. */
static void give(void *target, size_t size, const void *known, size_t known_bytes)
{
    memcpy(target, known, min_size(size, known_bytes));
    if (size > known_bytes)
        memset((char *)target + known_bytes, 0, size - known_bytes);
}

HPM_EXPORT int hpm_stats_get(struct hpm_stats *stats, size_t size)
{
    struct hpm_stats known;
    if (size == 0)
        return -EINVAL;
    if (lock_held_count() != 0)
        return -EDEADLK;
    stats_collect(&known);
    give(stats, size, &known, sizeof(known));
    return 0;
}

HPM_EXPORT int hpm_stats_get_class(unsigned number, struct hpm_class_stats *stats, size_t size)
{
    struct hpm_class_stats known;
    if (size == 0)
        return -EINVAL;
    if (lock_held_count() != 0)
        return -EDEADLK;
    if (!stats_collect_class(number, &known))
        return -ENOENT;
    give(stats, size, &known, sizeof(known));
    return 0;
}

HPM_EXPORT int hpm_stats_write(int fd, enum hpm_stats_format format)
{
    return (unsigned)format <= HPM_STATS_PROMETHEUS ? statsfile_write(fd, format) : -EINVAL;
}

__attribute__((destructor)) static void print_stats_at_exit(void)
{
    uint64_t choice = option_number(OPTION_STATS);
    if (choice != STATS_OFF && print_is_heard())
        statsfile_write(STDERR_FILENO, (enum hpm_stats_format)(choice - 1));
}

HPM_EXPORT int hpm_label_set(const char *key, const char *value)
{
    return labels_set(key, value);
}

HPM_EXPORT int hpm_label_clear(const char *key)
{
    return labels_clear(key);
}

HPM_EXPORT size_t hpm_release_memory(size_t bytes)
{
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++)
        central_drain(class);
    return pageheap_release(bytes);
}

HPM_EXPORT int hpm_http_start(const char *address, const char *token, unsigned ttl_seconds)
{
    return http_start(address, token, (uint64_t)ttl_seconds * 1000000000u);
}

HPM_EXPORT int hpm_http_stop(void)
{
    return http_stop();
}

HPM_EXPORT const char *hpm_version(void)
{
    return HPM_VERSION;
}
