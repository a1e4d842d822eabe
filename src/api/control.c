/* What a program may ask of the profiler and the heap: the hpm_ calls that are not allocation. */
#include <errno.h>

#include "base/options.h"
#include "heap/central.h"
#include "heap/pageheap.h"
#include "hpmalloc.h"
#include "prof/sampler.h"
#include "report/dump.h"

static_assert((int)HPM_PROFILE_PEAK == DUMP_PROFILE_PEAK, "one numbering");
static_assert((int)HPM_FORMAT_COLLAPSED == DUMP_FORMAT_COLLAPSED, "one numbering");

#define INTERVAL_MAX_BYTES TiB

static bool is_known(unsigned profile, unsigned format)
{
    return profile <= HPM_PROFILE_PEAK && format <= HPM_FORMAT_COLLAPSED;
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
    return sampler_interval();
}

HPM_EXPORT size_t hpm_release_memory(size_t bytes)
{
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++)
        central_drain(class);
    return pageheap_release(bytes);
}

HPM_EXPORT const char *hpm_version(void)
{
    return HPM_VERSION;
}
