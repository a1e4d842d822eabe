#include "heap/large.h"

#include "base/os.h"
#include "heap/pagemap.h"
#include "heap/pageheap.h"
#include "heap/thp.h"

#define BLOCK_MAX_BYTES ((size_t)1 << 47)

static _Atomic size_t live_bytes, live_blocks, huge_bytes, huge_blocks;

static void count(struct span *span, bool is_alloc)
{
    size_t bytes = large_usable_bytes(span);
    size_t change = is_alloc ? bytes : 0 - bytes;
    size_t blocks = is_alloc ? 1 : (size_t)-1;
    atomic_fetch_add_explicit(&live_bytes, change, memory_order_relaxed);
    atomic_fetch_add_explicit(&live_blocks, blocks, memory_order_relaxed);
    if (span->kind != SPAN_HUGE)
        return;
    atomic_fetch_add_explicit(&huge_bytes, change, memory_order_relaxed);
    atomic_fetch_add_explicit(&huge_blocks, blocks, memory_order_relaxed);
}

static size_t huge_bytes_for(size_t bytes)
{
    return round_up(bytes, os_page_bytes());
}

size_t large_charged_bytes(size_t bytes)
{
    if (bytes > BLOCK_MAX_BYTES)
        return SIZE_MAX;
    return bytes >= HUGE_MIN_BYTES ? huge_bytes_for(bytes) : bytes_of_pages(pages_for(bytes));
}

/* Only the first region of a huge block is made known: a block is found by its first address. Its
 * span covers one page as far as the page map is concerned. */
static bool make_known(struct span *span, char *start, size_t bytes)
{
    if (!pagemap_add_regions(start, REGION_BYTES))
        return false;
    span->start = start;
    span->pages = 1;
    span->kind = SPAN_HUGE;
    span->mapped_bytes = bytes;
    pagemap_set_span(span);
    return true;
}

static struct span *huge_map(size_t bytes, size_t alignment)
{
    struct span *span = pageheap_span_alloc();
    if (span == NULL)
        return NULL;
    char *start = os_map_aligned(bytes, max_size(alignment, REGION_BYTES), NULL);
    if (start != NULL)
        thp_advise_block(start, bytes);
    if (start != NULL && make_known(span, start, bytes))
        return span;
    if (start != NULL)
        os_unmap(start, bytes);
    pageheap_span_free(span);
    return NULL;
}

/* Moves the pages of a huge block that cannot grow in place to an aligned place that can hold it. */
static bool huge_move(struct span *span, size_t bytes)
{
    char *target = os_map_aligned(bytes, REGION_BYTES, NULL);
    if (target == NULL)
        return false;
    struct region *before = pagemap_region_get(span->start);
    thp_advise_block(target, bytes);
    bool is_known = pagemap_add_regions(target, REGION_BYTES);
    if (!is_known || !os_move(span->start, span->mapped_bytes, target, bytes)) {
        if (is_known)
            pagemap_drop_regions(target, REGION_BYTES);
        os_unmap(target, bytes);
        return false;
    }
    pagemap_drop_left(before);
    span->start = target;
    pagemap_set_span(span);
    return true;
}

static bool huge_fit(struct span *span, size_t bytes)
{
    bool done = bytes == span->mapped_bytes ||
                os_resize(span->start, span->mapped_bytes, bytes) || huge_move(span, bytes);
    if (done)
        span->mapped_bytes = bytes;
    return done;
}

/* One that was kept. Where zeroes are wanted its pages go back first: many a block that is to read
 * as zeroes is hardly touched. */
static struct span *huge_reuse(size_t bytes, bool wants_zeroes)
{
    struct span *span = pageheap_take_huge(bytes);
    if (span == NULL)
        return NULL;
    bool is_zeroed = !wants_zeroes || os_release(span->start, span->mapped_bytes);
    if (is_zeroed && huge_fit(span, bytes)) {
        span->kind = SPAN_HUGE;
        return span;
    }
    pageheap_free_huge(span);
    return NULL;
}

static struct span *huge_alloc(size_t bytes, size_t alignment, bool wants_zeroes)
{
    bytes = huge_bytes_for(bytes);
    if (!pageheap_claim(bytes))
        return NULL;
    struct span *span = alignment <= REGION_BYTES ? huge_reuse(bytes, wants_zeroes) : NULL;
    if (span == NULL)
        span = huge_map(bytes, alignment);
    if (span == NULL)
        pageheap_disclaim(bytes);
    return span;
}

struct span *large_alloc(size_t bytes, size_t alignment, bool *is_zeroed)
{
    if (bytes > BLOCK_MAX_BYTES || alignment > BLOCK_MAX_BYTES)
        return NULL;
    struct span *span;
    if (is_zeroed != NULL)
        *is_zeroed = true;
    if (bytes >= HUGE_MIN_BYTES || alignment >= HUGE_MIN_BYTES)
        span = huge_alloc(max_size(bytes, 1), alignment, is_zeroed != NULL);
    else if (alignment > HEAP_PAGE_BYTES)
        span = pageheap_alloc_aligned(pages_for(max_size(bytes, 1)), alignment, SPAN_LARGE,
                                      is_zeroed);
    else
        span = pageheap_alloc(pages_for(max_size(bytes, 1)), SPAN_LARGE, is_zeroed);
    if (span == NULL)
        return NULL;
    span->tag = 0;
    span->canary_bytes = 0;
    count(span, true);
    return span;
}

void large_free(struct span *span)
{
    count(span, false);
    if (span->kind == SPAN_LARGE) {
        pageheap_free(span);
        return;
    }
    pageheap_disclaim(span->mapped_bytes);
    pageheap_free_huge(span);
}

void large_drop(struct span *span)
{
    if (span->kind != SPAN_HUGE) {
        large_free(span);
        return;
    }
    count(span, false);
    char *start = span->start;
    size_t bytes = span->mapped_bytes;
    pagemap_drop_regions(start, REGION_BYTES);
    pageheap_span_free(span);
    os_unmap(start, bytes);
    pageheap_disclaim(bytes);
}

/* A block that cannot be closed is not kept. */
bool large_retire(struct span *span)
{
    if (!os_close(span->start, span_bytes(span)))
        return false;
    os_release(span->start, span_bytes(span));
    count(span, false);
    span->kind = SPAN_QUARANTINED;
    return true;
}

/* What cannot be opened again stays closed for good. */
void large_bury(struct span *span)
{
    if (os_open(span->start, span_bytes(span)))
        pageheap_free(span);
}

static bool huge_resize(struct span *span, size_t bytes)
{
    if (bytes < HUGE_MIN_BYTES || bytes > BLOCK_MAX_BYTES)
        return false;
    bytes = huge_bytes_for(bytes);
    size_t before = span->mapped_bytes;
    if (bytes > before && !pageheap_claim(bytes - before))
        return false;
    bool done = huge_fit(span, bytes);
    if (span->mapped_bytes < max_size(before, bytes))
        pageheap_disclaim(max_size(before, bytes) - span->mapped_bytes);
    return done;
}

bool large_resize(struct span *span, size_t bytes)
{
    count(span, false);
    bool done = span->kind == SPAN_HUGE
                    ? huge_resize(span, bytes)
                    : bytes < HUGE_MIN_BYTES && pageheap_resize(span, pages_for(bytes));
    count(span, true);
    return done;
}

void large_stats_get(struct large_stats *stats)
{
    stats->live_bytes = atomic_load_explicit(&live_bytes, memory_order_relaxed);
    stats->live_blocks = atomic_load_explicit(&live_blocks, memory_order_relaxed);
    stats->huge_blocks = atomic_load_explicit(&huge_blocks, memory_order_relaxed);
    stats->huge_bytes = atomic_load_explicit(&huge_bytes, memory_order_relaxed);
}
