/* jemalloc's calls with flags, and its statistics. Caches and arenas that flags name are not
 * chosen: every thread's own serves. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "hpmalloc_compat.h"

enum { LG_ALIGNMENT_MASK = 0x3f, ZERO = 0x40, LARGE_BYTES = 1 << 20 };

static size_t alignment_of(int flags)
{
    size_t alignment = (size_t)1 << (flags & LG_ALIGNMENT_MASK);
    return alignment > COMMON_ALIGNMENT ? alignment : COMMON_ALIGNMENT;
}

/* All that the block holds is zeroed, not only what was asked for: rallocx zeroes from there on. */
static void zero_from(void *block, size_t from)
{
    size_t usable = hpm_usable_size(block);
    if (usable > from)
        memset((char *)block + from, 0, usable - from);
}

void *mallocx(size_t bytes, int flags)
{
    size_t alignment = alignment_of(flags);
    if (alignment > COMMON_ALIGNMENT) {
        void *block = hpm_aligned_alloc(alignment, bytes);
        if (block != NULL && (flags & ZERO) != 0)
            zero_from(block, 0);
        return block;
    }
    if ((flags & ZERO) == 0)
        return hpm_malloc(bytes);
    void *block = hpm_calloc(1, bytes);
    if (block != NULL)
        zero_from(block, bytes);
    return block;
}
COMMON_ALIAS(je_mallocx, mallocx);

void *rallocx(void *block, size_t bytes, int flags)
{
    size_t before = hpm_usable_size(block);
    void *moved = common_realloc_aligned(block, bytes, alignment_of(flags));
    if (moved != NULL && (flags & ZERO) != 0)
        zero_from(moved, before);
    return moved;
}
COMMON_ALIAS(je_rallocx, rallocx);

/* Nothing is resized in place: the block stays what it is. */
size_t xallocx(void *block, size_t bytes, size_t extra, int flags)
{
    (void)bytes, (void)extra, (void)flags;
    return hpm_usable_size(block);
}
COMMON_ALIAS(je_xallocx, xallocx);

size_t sallocx(const void *block, int flags)
{
    (void)flags;
    return hpm_usable_size(block);
}
COMMON_ALIAS(je_sallocx, sallocx);

void dallocx(void *block, int flags)
{
    (void)flags;
    hpm_free(block);
}
COMMON_ALIAS(je_dallocx, dallocx);

void sdallocx(void *block, size_t bytes, int flags)
{
    (void)flags;
    hpm_free_sized(block, bytes);
}
COMMON_ALIAS(je_sdallocx, sdallocx);

/* Large blocks are whole pages of the heap: what one byte above a round size adds is one. */
static size_t heap_page_bytes(void)
{
    return hpm_nallocx(LARGE_BYTES + 1) - LARGE_BYTES;
}

/* Of the sizes from the request on, the first whose blocks all lie at that alignment; above that of
 * pages there are whole pages only. */
size_t nallocx(size_t bytes, int flags)
{
    size_t alignment = alignment_of(flags), page = heap_page_bytes(), holds = bytes;
    if (alignment == COMMON_ALIGNMENT || bytes > LARGE_BYTES)
        return hpm_nallocx(bytes);
    if (alignment > page)
        return (bytes + (bytes == 0) + page - 1) / page * page;
    do {
        holds = hpm_nallocx((holds + alignment - 1) & ~(alignment - 1));
    } while (holds % alignment != 0);
    return holds;
}
COMMON_ALIAS(je_nallocx, nallocx);

/* Of the options, J is known: JSON. */
void malloc_stats_print(void (*write)(void *, const char *), void *argument, const char *options)
{
    bool is_json = options != NULL && strchr(options, 'J') != NULL;
    int (*writer)(int) = is_json ? common_write_json : common_write_text;
    if (write == NULL) {
        writer(STDERR_FILENO);
        return;
    }
    char *text = common_read(writer);
    if (text != NULL)
        write(argument, text);
    free(text);
}
COMMON_ALIAS(je_malloc_stats_print, malloc_stats_print);

void *je_malloc(size_t bytes)
{
    return hpm_malloc(bytes);
}

void *je_calloc(size_t count, size_t bytes)
{
    return hpm_calloc(count, bytes);
}

void *je_realloc(void *block, size_t bytes)
{
    return hpm_realloc(block, bytes);
}

void *je_aligned_alloc(size_t alignment, size_t bytes)
{
    return hpm_aligned_alloc(alignment, bytes);
}

int je_posix_memalign(void **block, size_t alignment, size_t bytes)
{
    return common_memalign(block, alignment, bytes);
}

void je_free(void *block)
{
    hpm_free(block);
}

size_t je_malloc_usable_size(void *block)
{
    return hpm_usable_size(block);
}
