#include "heap/pageheap.h"

#include "base/lock.h"
#include "base/meta.h"
#include "base/os.h"
#include "heap/bins.h"
#include "heap/hugekeep.h"
#include "heap/pagemap.h"

#define RETAIN_BYTES (64 * MiB)
#define PERIODS_PER_DECAY 100

static struct {
    struct lock lock;

    /* Guarded by lock. */
    bool is_ready;
    struct bins dirty, fresh; // with dirty pages, and without
    size_t free_pages, dirty_pages;
    size_t moving_pages; // free, but in no list while the kernel takes them back
    char *lowest_region;       // where the newest region lies: the kernel maps downwards
    size_t unused_pages; // least idle pages seen in this period
    size_t displaced_pages; // taken into use beside kept huge blocks
    size_t surplus_pages; // given back as too many, of late, and not wanted since
    size_t extra_pages;   // kept beyond the bound: so many were wanted again
    uint64_t period_end_ns;
    size_t mapped_bytes, claimed_bytes, limit_bytes; // limit 0: none
    uint64_t release_calls;
    uint64_t decay_ns;
} heap = {.lock = LOCK_INITIAL(LOCK_PAGEHEAP), .decay_ns = 10000000000u};

static struct meta_pool span_pool = META_POOL_INITIAL(struct span);

struct span *pageheap_span_alloc(void)
{
    struct span *span = meta_pool_alloc(&span_pool);
    if (span != NULL)
        list_init(&span->link);
    return span;
}

/* The record keeps its last start and kind, for pagemap's stale entries; the pool's link overlays
 * only the list link. */
void pageheap_span_free(struct span *span)
{
    span->kind = SPAN_UNUSED;
    span->pages = 0;
    meta_pool_free(&span_pool, span);
}

static void init_locked(void)
{
    bins_init(&heap.dirty);
    bins_init(&heap.fresh);
    heap.is_ready = true;
}

static struct bins *bins_of(const struct span *span)
{
    return span->dirty_pages != 0 ? &heap.dirty : &heap.fresh;
}

static void insert_locked(struct span *span)
{
    bins_put(bins_of(span), span);
    span->kind = SPAN_FREE;
    heap.free_pages += span->pages;
    heap.dirty_pages += span->dirty_pages;
    pagemap_set_ends(span);
}

/* The span is of no kind then, so that no neighbour joins it. */
static void remove_locked(struct span *span)
{
    bins_take(bins_of(span), span);
    span->kind = SPAN_UNUSED;
    heap.free_pages -= span->pages;
    heap.dirty_pages -= span->dirty_pages;
}

static struct span *free_neighbour(const char *address)
{
    struct span *span = pagemap_find(address);
    return span != NULL && span->kind == SPAN_FREE ? span : NULL;
}

/* Makes a span free whose dirty pages are counted, one with its free neighbours. */
static void put_locked(struct span *span)
{
    struct span *before = free_neighbour(span->start - HEAP_PAGE_BYTES);
    if (before != NULL) {
        remove_locked(before);
        before->pages += span->pages;
        before->dirty_pages += span->dirty_pages;
        pageheap_span_free(span);
        span = before;
    }
    struct span *after = free_neighbour(span_limit(span));
    if (after != NULL) {
        remove_locked(after);
        span->pages += after->pages;
        span->dirty_pages += after->dirty_pages;
        pageheap_span_free(after);
    }
    insert_locked(span);
}

/* Parts a span that is in no list in two: it keeps its first pages, the others are returned. NULL:
 * no record to be had. */
static struct span *part_locked(struct span *span, size_t pages)
{
    struct span *rest = pageheap_span_alloc();
    if (rest == NULL)
        return NULL;
    rest->start = span->start + bytes_of_pages(pages);
    rest->pages = span->pages - (uint32_t)pages;
    rest->kind = SPAN_UNUSED;
    rest->dirty_pages = 0;
    if (span->dirty_pages != 0)
        rest->dirty_pages = (uint32_t)pagemap_count_dirty(rest->start, rest->pages);
    span->pages = (uint32_t)pages;
    span->dirty_pages -= rest->dirty_pages;
    return rest;
}

/* Cuts what lies behind `pages` off and frees it. False: nothing cut. */
static bool trim_locked(struct span *span, size_t pages)
{
    if (span->pages == pages)
        return true;
    struct span *rest = part_locked(span, pages);
    if (rest == NULL)
        return false;
    put_locked(rest);
    return true;
}

/* Unmaps kept huge blocks, the lock put down around the system call. Returns pages given. */
static size_t release_kept_locked(size_t pages)
{
    size_t given = 0;
    struct hugekeep_cut cut;
    while (given < pages && hugekeep_cut(bytes_of_pages(pages - given), &cut)) {
        lock_release(&heap.lock);
        if (cut.span != NULL)
            pagemap_drop_regions(cut.start, REGION_BYTES);
        os_unmap(cut.start, cut.bytes);
        if (cut.span != NULL)
            pageheap_span_free(cut.span);
        lock_acquire(&heap.lock);
        heap.release_calls++;
        given += pages_for(cut.bytes);
    }
    return given;
}

/* A new span of at least `pages`, in no list. */
static struct span *grow_locked(size_t pages)
{
    size_t bytes = round_up(bytes_of_pages(pages), REGION_BYTES);
    char *hint = heap.lowest_region != NULL ? heap.lowest_region - bytes : NULL;
    char *start = os_map_aligned(bytes, REGION_BYTES, hint);
    if (start == NULL)
        return NULL;
    struct span *span = pageheap_span_alloc();
    if (span == NULL || !pagemap_add_regions(start, bytes)) {
        os_unmap(start, bytes);
        if (span != NULL)
            pageheap_span_free(span);
        return NULL;
    }
    thp_advise_new(start, bytes, bytes_of_pages(pages), heap.mapped_bytes);
    heap.lowest_region = start;
    owner_store(&heap.mapped_bytes, heap.mapped_bytes + bytes);
    span->start = start;
    span->pages = (uint32_t)(bytes >> HEAP_PAGE_SHIFT);
    span->kind = SPAN_UNUSED;
    span->dirty_pages = 0;
    return span;
}

/* A span of at least `pages`, taken from its list. */
static struct span *take_locked(size_t pages)
{
    struct span *span = bins_find(&heap.dirty, pages);
    if (span == NULL)
        span = bins_find(&heap.fresh, pages);
    if (span == NULL)
        return grow_locked(pages);
    remove_locked(span);
    return span;
}

/* What was too much a moment ago is used again now. */
static void note_regret_locked(size_t clean_pages)
{
    size_t regretted = min_size(clean_pages, heap.surplus_pages);
    heap.surplus_pages -= regretted;
    heap.extra_pages += regretted;
}

/* Kept for later, and resident. */
static size_t idle_pages_locked(void)
{
    return heap.dirty_pages + (hugekeep_bytes() >> HEAP_PAGE_SHIFT);
}

static void note_idle_low_locked(void)
{
    heap.unused_pages = min_size(heap.unused_pages, idle_pages_locked());
}

static bool is_sane(size_t pages)
{
    return pages != 0 && pages < (size_t)1 << 31;
}

/* Frees the pages before the aligned place; returns the rest, NULL when no record is to be had. */
static struct span *align_locked(struct span *span, size_t alignment)
{
    char *aligned = (char *)round_up((uintptr_t)span->start, alignment);
    if (aligned == span->start)
        return span;
    struct span *rest = part_locked(span, (size_t)(aligned - span->start) >> HEAP_PAGE_SHIFT);
    put_locked(span);
    return rest;
}

/* Gives back the pages of a span that is in no list, the lock put down around the system call.
 * False: the kernel refused. */
static bool release_span_locked(struct span *span)
{
    heap.moving_pages += span->pages;
    thp_advise_release(span->start, span_bytes(span));
    lock_release(&heap.lock);
    bool is_released = os_release(span->start, span_bytes(span));
    lock_acquire(&heap.lock);
    heap.moving_pages -= span->pages;
    heap.release_calls++;
    if (is_released) {
        pagemap_clear_dirty(span->start, span->pages);
        span->dirty_pages = 0;
    }
    return is_released;
}

/* Where a span longer than a region is cut in two: about the middle, between two regions, so that
 * regions go back as a whole. */
static size_t middle_of(const struct span *span)
{
    uintptr_t middle = (uintptr_t)span->start + span_bytes(span) / 2;
    uintptr_t cut = round_up(middle, REGION_BYTES);
    if (cut >= (uintptr_t)span_limit(span))
        cut -= REGION_BYTES;
    return (cut - (uintptr_t)span->start) >> HEAP_PAGE_SHIFT;
}

/* Halves a span until no more than `wanted` of it is dirty, or it is short; frees what is left over.
 * The part that stays has dirty pages, the last ones if it can be. */
static struct span *narrow_locked(struct span *span, size_t wanted)
{
    while (span->dirty_pages > wanted && span->pages > REGION_PAGES) {
        struct span *rest = part_locked(span, middle_of(span));
        if (rest == NULL)
            break;
        struct span *kept = rest->dirty_pages != 0 ? rest : span;
        put_locked(kept == rest ? span : rest);
        span = kept;
    }
    return span;
}

/* Gives idle pages back: huge blocks, then the longest spans first. Returns pages given. */
static size_t release_locked(size_t pages)
{
    size_t given = release_kept_locked(pages);
    while (given < pages) {
        struct span *span = bins_longest(&heap.dirty);
        if (span == NULL)
            break;
        remove_locked(span);
        span = narrow_locked(span, pages - given);
        size_t dirty = span->dirty_pages;
        bool is_released = release_span_locked(span);
        put_locked(span);
        if (!is_released)
            break;
        given += dirty;
    }
    note_idle_low_locked();
    return given;
}

static size_t used_bytes_locked(void)
{
    size_t free_pages = heap.free_pages + heap.moving_pages;
    return heap.mapped_bytes - bytes_of_pages(free_pages) + heap.claimed_bytes;
}

/* Whether so much more may be in use. What is kept for later counts too, but goes back before
 * anything is refused. */
static bool make_room_locked(size_t bytes)
{
    if (heap.limit_bytes == 0)
        return true;
    size_t used = used_bytes_locked(), kept = bytes_of_pages(idle_pages_locked());
    if (used > heap.limit_bytes || bytes > heap.limit_bytes - used)
        return false;
    size_t room = heap.limit_bytes - used - bytes;
    if (kept > room)
        release_locked(pages_for(kept - room));
    return true;
}

/* Pages that are clean are about to be used: kept huge blocks make way, a region at a time. */
static void note_clean_locked(size_t pages)
{
    note_regret_locked(pages);
    heap.displaced_pages += pages;
    if (hugekeep_bytes() == 0) {
        heap.displaced_pages = 0;
    } else if (heap.displaced_pages >= REGION_PAGES) {
        size_t displaced = heap.displaced_pages;
        heap.displaced_pages = 0;
        release_kept_locked(displaced);
    }
}

static struct span *alloc_locked(size_t pages, size_t alignment, enum span_kind kind,
                                 bool *is_fresh)
{
    size_t padding = alignment > HEAP_PAGE_BYTES ? alignment >> HEAP_PAGE_SHIFT : 0;
    if (!make_room_locked(bytes_of_pages(pages)))
        return NULL;
    struct span *span = take_locked(pages + padding);
    if (span != NULL && padding != 0)
        span = align_locked(span, alignment);
    if (span == NULL)
        return NULL;
    if (!trim_locked(span, pages)) {
        put_locked(span);
        return NULL;
    }
    if (is_fresh != NULL)
        *is_fresh = span->dirty_pages == 0;
    size_t clean_pages = span->pages - span->dirty_pages;
    span->kind = (uint8_t)kind;
    pagemap_set_span(span);
    note_clean_locked(clean_pages);
    note_idle_low_locked();
    return span;
}

struct span *pageheap_alloc_aligned(size_t pages, size_t alignment, enum span_kind kind,
                                    bool *is_fresh)
{
    if (!is_sane(pages) || !is_sane(alignment))
        return NULL;
    lock_acquire(&heap.lock);
    if (!heap.is_ready)
        init_locked();
    struct span *span = alloc_locked(pages, alignment, kind, is_fresh);
    lock_release(&heap.lock);
    return span;
}

struct span *pageheap_alloc(size_t pages, enum span_kind kind, bool *is_fresh)
{
    return pageheap_alloc_aligned(pages, HEAP_PAGE_BYTES, kind, is_fresh);
}

static size_t retain_pages_locked(void)
{
    if (heap.decay_ns == 0)
        return 0;
    size_t live_pages = used_bytes_locked() >> HEAP_PAGE_SHIFT;
    return (RETAIN_BYTES >> HEAP_PAGE_SHIFT) + live_pages / 8 +
           min_size(heap.extra_pages, live_pages / 4);
}

/* Half of what nobody wanted since the period began, once the period is over. */
static size_t decayed_pages_locked(void)
{
    uint64_t now = os_clock_coarse_ns();
    if (now < heap.period_end_ns)
        return 0;
    size_t unused = heap.period_end_ns == 0 ? 0 : heap.unused_pages;
    heap.period_end_ns = now + heap.decay_ns / PERIODS_PER_DECAY;
    heap.unused_pages = idle_pages_locked();
    heap.surplus_pages /= 2;
    heap.extra_pages -= (heap.extra_pages + 7) / 8;
    return (unused + 1) / 2;
}

static void release_surplus_locked(void)
{
    if (heap.decay_ns == UINT64_MAX)
        return;
    size_t retain = retain_pages_locked();
    size_t idle = idle_pages_locked();
    size_t surplus = idle > retain ? idle - retain : 0;
    if (heap.decay_ns != 0)
        heap.surplus_pages += surplus;
    surplus = max_size(surplus, decayed_pages_locked());
    if (surplus > 0)
        release_locked(surplus);
}

static void free_locked(struct span *span, size_t written)
{
    pagemap_set_dirty(span->start, written);
    span->dirty_pages = (uint32_t)pagemap_count_dirty(span->start, span->pages);
    span->kind = SPAN_UNUSED;
    put_locked(span);
}

void pageheap_free_part(struct span *span, size_t written)
{
    lock_acquire(&heap.lock);
    free_locked(span, written);
    release_surplus_locked();
    lock_release(&heap.lock);
}

void pageheap_free(struct span *span)
{
    pageheap_free_part(span, span->pages);
}

/* Takes what is missing from the free span behind. */
static bool extend_locked(struct span *span, size_t pages)
{
    size_t missing = pages - span->pages;
    if (!make_room_locked(bytes_of_pages(missing)))
        return false;
    struct span *after = free_neighbour(span_limit(span));
    if (after == NULL || after->pages < missing)
        return false;
    remove_locked(after);
    if (!trim_locked(after, missing)) {
        put_locked(after);
        return false;
    }
    pageheap_span_free(after);
    span->pages = (uint32_t)pages;
    pagemap_set_span(span);
    note_idle_low_locked();
    return true;
}

/* The end of a live span becomes a span of its own and is freed. */
static bool shrink_locked(struct span *span, size_t pages)
{
    struct span *rest = pageheap_span_alloc();
    if (rest == NULL)
        return false;
    rest->start = span->start + bytes_of_pages(pages);
    rest->pages = span->pages - (uint32_t)pages;
    span->pages = (uint32_t)pages;
    free_locked(rest, rest->pages);
    return true;
}

bool pageheap_resize(struct span *span, size_t pages)
{
    if (!is_sane(pages))
        return false;
    lock_acquire(&heap.lock);
    bool done = pages > span->pages ? extend_locked(span, pages)
                                    : pages == span->pages || shrink_locked(span, pages);
    lock_release(&heap.lock);
    return done;
}

size_t pageheap_release(size_t bytes)
{
    lock_acquire(&heap.lock);
    size_t given = release_locked(pages_for(min_size(bytes, SIZE_MAX / 2)));
    lock_release(&heap.lock);
    return bytes_of_pages(given);
}

void pageheap_set_release(uint64_t decay_ns)
{
    lock_acquire(&heap.lock);
    heap.decay_ns = decay_ns;
    heap.period_end_ns = 0;
    lock_release(&heap.lock);
}

void pageheap_set_thp(enum thp_mode mode)
{
    lock_acquire(&heap.lock);
    thp_set_mode(mode);
    lock_release(&heap.lock);
}

void pageheap_set_limit(size_t bytes)
{
    lock_acquire(&heap.lock);
    heap.limit_bytes = bytes;
    lock_release(&heap.lock);
}

bool pageheap_claim(size_t bytes)
{
    lock_acquire(&heap.lock);
    bool done = make_room_locked(bytes);
    if (done)
        heap.claimed_bytes += bytes;
    lock_release(&heap.lock);
    return done;
}

void pageheap_disclaim(size_t bytes)
{
    lock_acquire(&heap.lock);
    heap.claimed_bytes -= bytes;
    lock_release(&heap.lock);
}

void pageheap_free_huge(struct span *span)
{
    lock_acquire(&heap.lock);
    hugekeep_put(span);
    release_surplus_locked();
    lock_release(&heap.lock);
}

struct span *pageheap_take_huge(size_t bytes)
{
    lock_acquire(&heap.lock);
    struct span *span = hugekeep_take(bytes);
    size_t found = span != NULL ? min_size(span->mapped_bytes, bytes) : 0;
    note_regret_locked((bytes - found) >> HEAP_PAGE_SHIFT);
    note_idle_low_locked();
    lock_release(&heap.lock);
    return span;
}

size_t pageheap_used_bytes(void)
{
    lock_acquire(&heap.lock);
    size_t bytes = used_bytes_locked();
    lock_release(&heap.lock);
    return bytes;
}

size_t pageheap_mapped_bytes(void)
{
    return peek_load(&heap.mapped_bytes);
}

void pageheap_stats_get(struct pageheap_stats *stats)
{
    lock_acquire(&heap.lock);
    stats->mapped_bytes = heap.mapped_bytes + hugekeep_bytes();
    stats->dirty_bytes = bytes_of_pages(heap.dirty_pages) + hugekeep_bytes();
    stats->fresh_bytes = bytes_of_pages(heap.free_pages - heap.dirty_pages);
    stats->release_calls = heap.release_calls;
    lock_release(&heap.lock);
}

void pageheap_fork_prepare(void)
{
    lock_acquire(&heap.lock);
}

void pageheap_fork_parent(void)
{
    lock_release(&heap.lock);
}

void pageheap_fork_child(void)
{
    lock_reset(&heap.lock);
}
