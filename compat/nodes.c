#define _GNU_SOURCE
#include "nodes.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common.h"

enum { LG_INTERVAL_MAX = 40 };

/* As jemalloc's, statistics stand still between two writes of `epoch`: reading ten numbers gathers
 * them once. Each is stored by itself: who reads while another thread writes `epoch` may see
 * numbers of two moments. */
static _Atomic uint64_t epoch, allocated, active, metadata, resident, mapped, retained;

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void gather(void)
{
    struct hpm_stats stats;
    if (hpm_stats_get(&stats, sizeof(stats)) != 0)
        return;
    uint64_t pages =
        stats.live_bytes + stats.thread_cache_bytes + stats.central_bytes + stats.slab_free_bytes;
    allocated = stats.live_bytes;
    active = pages;
    metadata = stats.metadata_bytes;
    resident = pages + stats.span_free_bytes + stats.metadata_bytes;
    mapped = max(stats.mapped_bytes - stats.released_bytes, pages);
    retained = stats.released_bytes;
    epoch++;
}

static size_t get_stat(_Atomic uint64_t *stat)
{
    if (epoch == 0)
        gather();
    return *stat;
}

#define STAT(name)                                                                                 \
    static union node_value get_##name(void)                                                       \
    {                                                                                              \
        return (union node_value){.size = get_stat(&name)};                                        \
    }
STAT(allocated)
STAT(active)
STAT(metadata)
STAT(resident)
STAT(mapped)
STAT(retained)

static union node_value get_epoch(void)
{
    return (union node_value){.u64 = get_stat(&epoch)};
}

static int set_epoch(const union node_value *given)
{
    if (given != NULL)
        gather();
    return 0;
}

static union node_value get_true(void)
{
    return (union node_value){.flag = true};
}

static union node_value get_false(void)
{
    return (union node_value){.flag = false};
}

static union node_value get_zero(void)
{
    return (union node_value){.u64 = 0};
}

static union node_value get_minus_one(void)
{
    return (union node_value){.ssize = -1};
}

static union node_value get_one(void)
{
    return (union node_value){.number = 1};
}

static union node_value get_quantum(void)
{
    return (union node_value){.size = COMMON_ALIGNMENT};
}

static union node_value get_page(void)
{
    return (union node_value){.size = (size_t)sysconf(_SC_PAGESIZE)};
}

static union node_value get_version(void)
{
    return (union node_value){.text = hpm_version()};
}

#ifdef HPM_NO_PROFILING
static const bool has_profiler = false;
#else
static const bool has_profiler = true;
#endif

static union node_value get_has_profiler(void)
{
    return (union node_value){.flag = has_profiler};
}

/* The options of the start, whatever was set since. */
static size_t first_interval;

__attribute__((constructor)) static void note_options(void)
{
    first_interval = hpm_profile_interval();
}

static union node_value get_is_active_first(void)
{
    return (union node_value){.flag = first_interval != 0};
}

static union node_value get_dumps_at_exit(void)
{
    const char *text = secure_getenv("HPMALLOC_DUMP_AT_EXIT");
    return (union node_value){.flag = text != NULL && *text == '1'};
}

static union node_value get_prefix(void)
{
    const char *pattern = secure_getenv("HPMALLOC_DUMP_PATH");
    return (union node_value){.text = pattern != NULL ? pattern : "hpmalloc.%e.%p.%n"};
}

static union node_value get_is_active(void)
{
    return (union node_value){.flag = hpm_profile_interval() != 0};
}

static int set_is_active(const union node_value *given)
{
    if (given != NULL)
        common_switch_profiling(given->flag);
    return 0;
}

/* Of an interval that is no power of two, the logarithm rounded down. */
static union node_value logarithm_of(size_t interval)
{
    return (union node_value){.size = interval != 0 ? 63 - (size_t)__builtin_clzll(interval) : 0};
}

static union node_value get_lg_sample(void)
{
    return logarithm_of(hpm_profile_interval());
}

static union node_value get_lg_sample_first(void)
{
    return logarithm_of(first_interval);
}

/* What is known stays known: weights hold whatever the interval becomes. */
static int reset_profile(const union node_value *given)
{
    if (given == NULL)
        return 0;
    if (given->size > LG_INTERVAL_MAX)
        return EINVAL;
    return -hpm_profile_set_interval((size_t)1 << given->size);
}

static int dump(const union node_value *given)
{
    const char *path = given != NULL ? given->text : NULL;
    int status = path != NULL ? common_dump(path)
                              : hpm_profile_dump(HPM_PROFILE_HEAP, HPM_FORMAT_LEGACY, NULL);
    return status == 0 ? 0 : EFAULT;
}

static int release(const union node_value *given)
{
    (void)given;
    hpm_release_memory(SIZE_MAX);
    return 0;
}

static int do_nothing(const union node_value *given)
{
    (void)given;
    return 0;
}

const struct node nodes[] = {
    {"version", NODE_TEXT, get_version, NULL},
    {"epoch", NODE_U64, get_epoch, set_epoch},
    {"config.prof", NODE_BOOL, get_has_profiler, NULL},
    {"config.stats", NODE_BOOL, get_true, NULL},
    {"config.debug", NODE_BOOL, get_false, NULL},
    {"opt.prof", NODE_BOOL, get_has_profiler, NULL},
    {"opt.prof_active", NODE_BOOL, get_is_active_first, NULL},
    {"opt.prof_thread_active_init", NODE_BOOL, get_true, NULL},
    {"opt.prof_accum", NODE_BOOL, get_true, NULL},
    {"opt.prof_final", NODE_BOOL, get_dumps_at_exit, NULL},
    {"opt.prof_gdump", NODE_BOOL, get_false, NULL},
    {"opt.prof_leak", NODE_BOOL, get_false, NULL},
    {"opt.prof_prefix", NODE_TEXT, get_prefix, NULL},
    {"opt.lg_prof_sample", NODE_SIZE, get_lg_sample_first, NULL},
    {"opt.lg_prof_interval", NODE_SSIZE, get_minus_one, NULL},
    {"opt.narenas", NODE_UNSIGNED, get_one, NULL},
    {"prof.active", NODE_BOOL, get_is_active, set_is_active},
    {"prof.dump", NODE_TEXT, NULL, dump},
    {"prof.reset", NODE_SIZE, NULL, reset_profile},
    {"prof.lg_sample", NODE_SIZE, get_lg_sample, NULL},
    {"prof.interval", NODE_U64, get_zero, NULL},
    {"stats.allocated", NODE_SIZE, get_allocated, NULL},
    {"stats.active", NODE_SIZE, get_active, NULL},
    {"stats.metadata", NODE_SIZE, get_metadata, NULL},
    {"stats.resident", NODE_SIZE, get_resident, NULL},
    {"stats.mapped", NODE_SIZE, get_mapped, NULL},
    {"stats.retained", NODE_SIZE, get_retained, NULL},
    {"arenas.narenas", NODE_UNSIGNED, get_one, NULL},
    {"arenas.quantum", NODE_SIZE, get_quantum, NULL},
    {"arenas.page", NODE_SIZE, get_page, NULL},
    {"arena.#.purge", NODE_CALL, NULL, release},
    {"arena.#.decay", NODE_CALL, NULL, release},
    {"thread.tcache.flush", NODE_CALL, NULL, do_nothing},
};

const unsigned node_count = sizeof(nodes) / sizeof(nodes[0]);

size_t node_bytes(enum node_kind kind)
{
    static const size_t bytes[] = {
        [NODE_CALL] = 0,
        [NODE_BOOL] = sizeof(bool),
        [NODE_UNSIGNED] = sizeof(unsigned),
        [NODE_SIZE] = sizeof(size_t),
        [NODE_SSIZE] = sizeof(ssize_t),
        [NODE_U64] = sizeof(uint64_t),
        [NODE_TEXT] = sizeof(const char *),
    };
    return bytes[kind];
}
