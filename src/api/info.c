/* The C library's calls that tell of its heap, and those that tune it. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/print.h"
#include "hpmalloc.h"
#include "report/stats.h"
#include "report/statsfile.h"

#ifdef HPM_REPLACE
/* Free pages above `keep_bytes` go back. */
HPM_EXPORT int malloc_trim(size_t keep_bytes)
{
    struct hpm_stats stats;
    if (keep_bytes == 0)
        return hpm_release_memory(SIZE_MAX / 2) != 0;
    stats_count(&stats);
    return stats.span_free_bytes > keep_bytes &&
           hpm_release_memory(stats.span_free_bytes - keep_bytes) != 0;
}

/* The parameters are those of another design: accepted, without effect. */
HPM_EXPORT int mallopt(int parameter, int value)
{
    (void)parameter, (void)value;
    return 1;
}

/* Both calls by symbol name, with fields as glibc has them: other C libraries lack the types. */
struct info {
    size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

struct info_clipped {
    int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

HPM_EXPORT struct info read_info(void) __asm__("mallinfo2");
HPM_EXPORT struct info_clipped read_info_clipped(void) __asm__("mallinfo");

static void count_free_objects(size_t *in_threads, size_t *elsewhere)
{
    struct hpm_class_stats class;
    *in_threads = *elsewhere = 0;
    for (unsigned number = 0; stats_collect_class(number, &class); number++) {
        *in_threads += class.thread_cache_objects;
        *elsewhere += class.central_objects + class.slab_objects;
    }
}

/* As glibc counts: blocks in mappings of their own are in hblks and hblkhd and nowhere else, what
 * threads keep at hand is its "fast bins", and in use and free add up to the arena. */
struct info read_info(void)
{
    struct hpm_stats stats;
    struct info info = {0};
    stats_count(&stats);
    count_free_objects(&info.smblks, &info.ordblks);
    info.hblks = stats.live_huge_blocks;
    info.hblkhd = stats.live_huge_bytes;
    info.fsmblks = stats.thread_cache_bytes;
    info.uordblks = stats.live_bytes - stats.live_huge_bytes;
    info.arena =
        max_size(stats.mapped_bytes - stats.released_bytes - stats.live_huge_bytes, info.uordblks);
    info.fordblks = info.arena - info.uordblks;
    info.keepcost = stats.span_free_bytes;
    return info;
}

static int clip(size_t n)
{
    return n < INT32_MAX ? (int)n : INT32_MAX;
}

struct info_clipped read_info_clipped(void)
{
    struct info info = read_info();
    return (struct info_clipped){
        .arena = clip(info.arena),
        .ordblks = clip(info.ordblks),
        .smblks = clip(info.smblks),
        .hblks = clip(info.hblks),
        .hblkhd = clip(info.hblkhd),
        .fsmblks = clip(info.fsmblks),
        .uordblks = clip(info.uordblks),
        .fordblks = clip(info.fordblks),
        .keepcost = clip(info.keepcost),
    };
}

HPM_EXPORT void malloc_stats(void)
{
    statsfile_write(STDERR_FILENO, HPM_STATS_TEXT);
}

struct xml {
    FILE *stream;
    bool has_failed;
    char line[256];
};

static void put(struct xml *xml, const char *format, ...) HPM_PRINTF(2, 3);

static void put(struct xml *xml, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_format_list(xml->line, sizeof(xml->line), format, arguments);
    va_end(arguments);
    xml->has_failed |= fputs(xml->line, xml->stream) < 0;
}

/* As glibc's: each row is of what is free. */
static void put_sizes(struct xml *xml)
{
    struct hpm_class_stats class;
    uint64_t from = 0;
    put(xml, "<sizes>\n");
    for (unsigned number = 0; stats_collect_class(number, &class); number++) {
        uint64_t free = class.thread_cache_objects + class.central_objects + class.slab_objects;
        if (class.slabs != 0)
            put(xml,
                "<size from=\"%lu\" to=\"%lu\" total=\"%lu\" count=\"%lu\" inuse=\"%lu\" "
                "slabs=\"%lu\"/>\n",
                from + 1, class.object_bytes, free * class.object_bytes, free, class.live_objects,
                class.slabs);
        from = class.object_bytes;
    }
    put(xml, "</sizes>\n");
}

static void put_totals(struct xml *xml, const struct info *info)
{
    put(xml, "<total type=\"fast\" count=\"%zu\" size=\"%zu\"/>\n", info->smblks, info->fsmblks);
    put(xml, "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n", info->ordblks,
        info->fordblks - min_size(info->fordblks, info->fsmblks));
}

static void put_all(struct xml *xml)
{
    struct info info = read_info();
    struct hpm_stats stats;
    stats_count(&stats);
    put(xml, "<malloc version=\"hpmalloc-1\">\n<heap nr=\"0\">\n");
    put_sizes(xml);
    put_totals(xml, &info);
    put(xml, "<system type=\"current\" size=\"%zu\"/>\n", info.arena);
    put(xml, "<aspace type=\"total\" size=\"%lu\"/>\n</heap>\n",
        stats.mapped_bytes - stats.live_huge_bytes);
    put_totals(xml, &info);
    put(xml, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n", info.hblks, info.hblkhd);
    put(xml, "<total type=\"inuse\" count=\"%lu\" size=\"%lu\"/>\n", stats.live_objects,
        stats.live_bytes);
    put(xml, "<total type=\"metadata\" count=\"1\" size=\"%lu\"/>\n", stats.metadata_bytes);
    put(xml, "<system type=\"current\" size=\"%zu\"/>\n", info.arena + info.hblkhd);
    put(xml, "<aspace type=\"total\" size=\"%lu\"/>\n", stats.mapped_bytes);
    put(xml, "<threads count=\"%lu\"/>\n</malloc>\n", stats.threads);
}

HPM_EXPORT int malloc_info(int options, FILE *stream)
{
    struct xml xml = {.stream = stream};
    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    put_all(&xml);
    return xml.has_failed ? -1 : 0;
}
#endif
