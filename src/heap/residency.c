#include "heap/residency.h"

#include "base/os.h"
#include "heap/pagemap.h"
#include "heap/span.h"

/* The stack may be a signal handler's small one: a region is asked for in parts. */
enum { PART_PAGES = 32 };

static size_t *kind_bytes(struct residency *residency, unsigned kind)
{
    switch (kind) {
    case SPAN_SLAB:
    case SPAN_TAGGED_SLAB:
    case SPAN_HARDENED:
        return &residency->slab_bytes;
    case SPAN_LARGE:
    case SPAN_HUGE:
    case SPAN_GUARDED:
        return &residency->large_bytes;
    default:
        return &residency->free_bytes;
    }
}

/* The system's pages may be smaller than the heap's, or larger. */
static size_t resident_of_page(const uint8_t *pages, size_t heap_page)
{
    size_t offset = bytes_of_pages(heap_page), unit = min_size(os_page_bytes(), HEAP_PAGE_BYTES);
    size_t resident = 0;
    for (size_t at = 0; at < HEAP_PAGE_BYTES; at += unit)
        resident += pages[(offset + at) / os_page_bytes()] * unit;
    return resident;
}

static bool add_part(struct residency *residency, const char *start)
{
    uint8_t pages[PART_PAGES * HEAP_PAGE_BYTES / 4096];
    if (!os_resident_pages(start, bytes_of_pages(PART_PAGES), pages))
        return false;
    for (size_t page = 0; page < PART_PAGES; page++) {
        struct span *span;
        unsigned kind = pagemap_peek_kind(start + bytes_of_pages(page), &span);
        *kind_bytes(residency, kind) += resident_of_page(pages, page);
    }
    return true;
}

/* The block may go, or become another, meanwhile. */
__attribute__((no_sanitize("thread"))) static bool add_huge(struct residency *residency,
                                                            const struct span *span)
{
    size_t resident;
    if (!os_resident_bytes(span->start, peek_load(&span->mapped_bytes), &resident))
        return false;
    *kind_bytes(residency, span->kind) += resident;
    return true;
}

/* A huge block's region may be gone from the kernel by now; the page heap's stay. */
static bool add_region(struct residency *residency, const char *start)
{
    struct span *span;
    unsigned kind = pagemap_peek_kind(start, &span);
    if (kind == SPAN_HUGE || kind == SPAN_KEPT)
        return add_huge(residency, span);
    for (size_t page = 0; page < REGION_PAGES; page += PART_PAGES) {
        size_t resident;
        if (!add_part(residency, start + bytes_of_pages(page)) &&
            !os_resident_bytes(start, 1, &resident))
            return false;
    }
    return true;
}

bool residency_get(struct residency *residency)
{
    *residency = (struct residency){0};
    char *start;
    for (struct region *region = pagemap_next_region(NULL, &start); region != NULL;
         region = pagemap_next_region(region, &start)) {
        if (!add_region(residency, start))
            return false;
    }
    return true;
}
