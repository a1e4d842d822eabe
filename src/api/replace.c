/* The C library's allocation calls under their own names. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/malloc.h"
#include "base/os.h"
#include "base/print.h"
#include "hpmalloc.h"
#include "report/stats.h"

#ifdef HPM_REPLACE
HPM_EXPORT HPM_API void *malloc(size_t bytes)
{
    return malloc_fast(bytes);
}

HPM_EXPORT HPM_API void free(void *address)
{
    free_fast(address);
}

HPM_EXPORT HPM_API void cfree(void *address)
{
    free_fast(address);
}

HPM_EXPORT HPM_API void free_sized(void *address, size_t bytes)
{
    (void)bytes;
    free_fast(address);
}

HPM_EXPORT HPM_API void free_aligned_sized(void *address, size_t alignment, size_t bytes)
{
    (void)alignment, (void)bytes;
    free_fast(address);
}

HPM_EXPORT HPM_API void *calloc(size_t count, size_t size)
{
    return hpm_calloc(count, size);
}

HPM_EXPORT HPM_API void *realloc(void *address, size_t bytes)
{
    return hpm_realloc(address, bytes);
}

HPM_EXPORT HPM_API void *reallocarray(void *address, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return hpm_realloc(address, bytes);
}

HPM_EXPORT HPM_API void *aligned_alloc(size_t alignment, size_t bytes)
{
    return hpm_aligned_alloc(alignment, bytes);
}

/* As the C library's: any alignment is taken, and rounded up to a power of two. */
HPM_EXPORT HPM_API void *memalign(size_t alignment, size_t bytes)
{
    size_t power = OBJECT_ALIGNMENT;
    while (power < alignment && power != 0)
        power *= 2;
    return hpm_aligned_alloc(power, bytes);
}

HPM_EXPORT HPM_API int posix_memalign(void **block, size_t alignment, size_t bytes)
{
    if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    int saved = errno;
    void *address = malloc_aligned(bytes, alignment);
    errno = saved;
    if (address == NULL)
        return ENOMEM;
    *block = address;
    return 0;
}

HPM_EXPORT HPM_API void *valloc(size_t bytes)
{
    return malloc_aligned(bytes, os_page_bytes());
}

HPM_EXPORT HPM_API void *pvalloc(size_t bytes)
{
    size_t rounded = round_up(max_size(bytes, 1), os_page_bytes());
    if (rounded < bytes) {
        errno = ENOMEM;
        return NULL;
    }
    return malloc_aligned(rounded, os_page_bytes());
}

HPM_EXPORT size_t malloc_usable_size(void *address)
{
    return hpm_usable_size(address);
}

HPM_EXPORT int malloc_trim(size_t keep_bytes)
{
    (void)keep_bytes;
    return hpm_release_memory(SIZE_MAX / 2) != 0;
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

struct info read_info(void)
{
    struct stats stats;
    stats_collect(&stats);
    return (struct info){
        .arena = stats.mapped_bytes - stats.released_bytes,
        .ordblks = stats.live_objects,
        .uordblks = stats.live_bytes,
        .fordblks = stats.mapped_bytes - stats.released_bytes - stats.live_bytes,
        .keepcost = stats.span_free_bytes,
    };
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
        .uordblks = clip(info.uordblks),
        .fordblks = clip(info.fordblks),
        .keepcost = clip(info.keepcost),
    };
}

static size_t format_stats(char *buffer, size_t size, const char *format)
{
    struct stats stats;
    stats_collect(&stats);
    return print_format(buffer, size, format, stats.mapped_bytes - stats.released_bytes,
                        stats.live_bytes, stats.thread_cache_bytes, stats.central_bytes,
                        stats.slab_free_bytes, stats.span_free_bytes, stats.meta_bytes,
                        stats.thread_count);
}

HPM_EXPORT void malloc_stats(void)
{
    char text[512];
    size_t length = format_stats(text, sizeof(text),
                                 "hpmalloc: system bytes     = %10zu\n"
                                 "hpmalloc: in use bytes     = %10zu\n"
                                 "hpmalloc: thread caches    = %10zu\n"
                                 "hpmalloc: central lists    = %10zu\n"
                                 "hpmalloc: free in slabs    = %10zu\n"
                                 "hpmalloc: free spans       = %10zu\n"
                                 "hpmalloc: metadata         = %10zu\n"
                                 "hpmalloc: threads          = %10zu\n");
    print_write_all(STDERR_FILENO, text, length);
}

HPM_EXPORT int malloc_info(int options, FILE *stream)
{
    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    char text[768];
    format_stats(text, sizeof(text),
                 "<malloc version=\"hpmalloc-1\">\n"
                 "<system type=\"current\" size=\"%zu\"/>\n"
                 "<total type=\"inuse\" size=\"%zu\"/>\n"
                 "<total type=\"thread-caches\" size=\"%zu\"/>\n"
                 "<total type=\"central-lists\" size=\"%zu\"/>\n"
                 "<total type=\"slab-free\" size=\"%zu\"/>\n"
                 "<total type=\"span-free\" size=\"%zu\"/>\n"
                 "<total type=\"metadata\" size=\"%zu\"/>\n"
                 "<threads count=\"%zu\"/>\n"
                 "</malloc>\n");
    return fputs(text, stream) < 0 ? -1 : 0;
}
#endif
