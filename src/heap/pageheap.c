#include "heap/pageheap.h"

#include "base/lock.h"
#include "base/meta.h"
#include "base/os.h"
#include "heap/pagemap.h"

enum {
    EXACT_BINS = 64,     // bin n holds spans of n pages
    BINS_PER_DOUBLING = 4, // beyond, bins hold spans of a range of lengths
    BIN_COUNT = EXACT_BINS + 26 * BINS_PER_DOUBLING,
    BIN_WORDS = (BIN_COUNT + 63) / 64,
    RELEASE_BATCH = 32,    // spans given back with the lock put down once
};

#define RETAIN_BYTES (64 * MiB)
#define PERIODS_PER_DECAY 100

struct free_spans {
    struct list bins[BIN_COUNT];
    uint64_t used[BIN_WORDS]; // bit: the bin is not empty
    size_t pages;
};

static struct {
    struct lock lock;

    /* Guarded by lock. */
    bool is_ready;
    struct free_spans dirty, fresh;
    char *lowest_region;      // where the newest region lies: the kernel maps downwards
    size_t unused_dirty_pages; // least dirty pages seen in this period
    uint64_t period_end_ns;
    size_t mapped_bytes;
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

static unsigned log2_floor(size_t n)
{
    return 63u - (unsigned)__builtin_clzll(n);
}

/* The bin a span of this length lies in. */
static unsigned bin_of(size_t pages)
{
    if (pages < EXACT_BINS)
        return (unsigned)pages;
    unsigned doubling = log2_floor(pages);
    unsigned quarter = (unsigned)(pages >> (doubling - 2)) & 3;
    return EXACT_BINS + (doubling - 6) * BINS_PER_DOUBLING + quarter;
}

static void free_spans_init(struct free_spans *set)
{
    for (unsigned bin = 0; bin < BIN_COUNT; bin++)
        list_init(&set->bins[bin]);
}

static void init_locked(void)
{
    free_spans_init(&heap.dirty);
    free_spans_init(&heap.fresh);
    heap.is_ready = true;
}

static struct free_spans *set_of(const struct span *span)
{
    return span->kind == SPAN_FREE_DIRTY ? &heap.dirty : &heap.fresh;
}

static void insert_locked(struct span *span)
{
    struct free_spans *set = set_of(span);
    unsigned bin = bin_of(span->pages);
    list_push(&set->bins[bin], &span->link);
    set->used[bin / 64] |= (uint64_t)1 << bin % 64;
    set->pages += span->pages;
    pagemap_set_ends(span);
}

/* Takes a span out of its list and returns the kind it had. It is of no kind then, so that no
 * neighbour joins it. */
static uint8_t remove_locked(struct span *span)
{
    struct free_spans *set = set_of(span);
    unsigned bin = bin_of(span->pages);
    list_take(&span->link);
    if (list_is_empty(&set->bins[bin]))
        set->used[bin / 64] &= ~((uint64_t)1 << bin % 64);
    set->pages -= span->pages;
    uint8_t kind = span->kind;
    span->kind = SPAN_UNUSED;
    return kind;
}

/* The first bin at or after `bin` that holds something, or BIN_COUNT. */
static unsigned next_used_bin(const struct free_spans *set, unsigned bin)
{
    for (unsigned word = bin / 64; word < BIN_WORDS; word++) {
        uint64_t bits = set->used[word];
        if (word == bin / 64)
            bits &= ~(uint64_t)0 << bin % 64;
        if (bits != 0)
            return word * 64 + (unsigned)__builtin_ctzll(bits);
    }
    return BIN_COUNT;
}

/* The shortest span of the bin that is long enough; the lowest address among equals, so that high
 * ones empty out. */
static struct span *best_of_bin(struct list *bin, size_t pages)
{
    struct span *best = NULL;
    list_walk (node, bin) {
        struct span *span = list_entry(node, struct span, link);
        if (span->pages < pages)
            continue;
        if (best == NULL || span->pages < best->pages ||
            (span->pages == best->pages && span->start < best->start))
            best = span;
    }
    return best;
}

static struct span *find_locked(struct free_spans *set, size_t pages)
{
    for (unsigned bin = next_used_bin(set, bin_of(pages)); bin < BIN_COUNT;
         bin = next_used_bin(set, bin + 1)) {
        struct span *span = best_of_bin(&set->bins[bin], pages);
        if (span != NULL)
            return span;
    }
    return NULL;
}

static struct span *neighbour(const char *address, uint8_t kind)
{
    struct span *span = pagemap_find(address);
    return span != NULL && span->kind == kind ? span : NULL;
}

/* Makes a span free as `kind`, one with its free neighbours of that kind. */
static void put_locked(struct span *span, uint8_t kind)
{
    span->kind = kind;
    struct span *before = neighbour(span->start - HEAP_PAGE_BYTES, kind);
    if (before != NULL && span_limit(before) == span->start) {
        remove_locked(before);
        before->pages += span->pages;
        before->kind = kind;
        pageheap_span_free(span);
        span = before;
    }
    struct span *after = neighbour(span_limit(span), kind);
    if (after != NULL && after->start == span_limit(span)) {
        remove_locked(after);
        span->pages += after->pages;
        pageheap_span_free(after);
    }
    insert_locked(span);
}

/* Cuts what lies behind `pages` off a span that is in no list, and frees it as `kind`. False: no
 * record to be had, nothing cut. */
static bool split_locked(struct span *span, size_t pages, uint8_t kind)
{
    if (span->pages == pages)
        return true;
    struct span *rest = pageheap_span_alloc();
    if (rest == NULL)
        return false;
    rest->start = span->start + bytes_of_pages(pages);
    rest->pages = span->pages - (uint32_t)pages;
    span->pages = (uint32_t)pages;
    put_locked(rest, kind);
    return true;
}

/* A new span of at least `pages`, of no kind, in no list; it is fresh. */
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
    heap.lowest_region = start;
    heap.mapped_bytes += bytes;
    span->start = start;
    span->pages = (uint32_t)(bytes >> HEAP_PAGE_SHIFT);
    span->kind = SPAN_UNUSED;
    return span;
}

/* A span of at least `pages`, taken from its list; *kind is what it was. */
static struct span *take_locked(size_t pages, uint8_t *kind)
{
    struct span *span = find_locked(&heap.dirty, pages);
    if (span == NULL)
        span = find_locked(&heap.fresh, pages);
    *kind = SPAN_FREE_FRESH;
    if (span == NULL)
        return grow_locked(pages);
    *kind = remove_locked(span);
    return span;
}

static void note_dirty_low_locked(void)
{
    heap.unused_dirty_pages = min_size(heap.unused_dirty_pages, heap.dirty.pages);
}

static void finish_alloc_locked(struct span *span, enum span_kind kind)
{
    span->kind = (uint8_t)kind;
    pagemap_set_span(span);
    note_dirty_low_locked();
}

static bool is_sane(size_t pages)
{
    return pages != 0 && pages < (size_t)1 << 31;
}

/* Cuts the pages before the aligned place off. False: no record to be had, nothing cut. */
static bool align_locked(struct span *span, size_t alignment, uint8_t kind)
{
    char *aligned = (char *)round_up((uintptr_t)span->start, alignment);
    size_t before = (size_t)(aligned - span->start) >> HEAP_PAGE_SHIFT;
    if (before == 0)
        return true;
    struct span *front = pageheap_span_alloc();
    if (front == NULL)
        return false;
    front->start = span->start;
    front->pages = (uint32_t)before;
    span->start = aligned;
    span->pages -= (uint32_t)before;
    put_locked(front, kind);
    return true;
}

static struct span *alloc_locked(size_t pages, size_t alignment, enum span_kind kind,
                                 bool *is_fresh)
{
    uint8_t was;
    size_t padding = alignment > HEAP_PAGE_BYTES ? alignment >> HEAP_PAGE_SHIFT : 0;
    struct span *span = take_locked(pages + padding, &was);
    if (span == NULL)
        return NULL;
    if (!align_locked(span, alignment, was) || !split_locked(span, pages, was)) {
        put_locked(span, was);
        return NULL;
    }
    finish_alloc_locked(span, kind);
    if (is_fresh != NULL)
        *is_fresh = was == SPAN_FREE_FRESH;
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

/* The longest dirty span, or NULL. */
static struct span *longest_dirty_locked(void)
{
    for (unsigned word = BIN_WORDS; word-- > 0;) {
        uint64_t bits = heap.dirty.used[word];
        if (bits != 0) {
            unsigned bin = word * 64 + 63u - (unsigned)__builtin_clzll(bits);
            return list_entry(heap.dirty.bins[bin].previous, struct span, link);
        }
    }
    return NULL;
}

/* Takes dirty spans, the longest first, for up to `pages`. */
static unsigned collect_locked(struct span **spans, size_t pages)
{
    unsigned count = 0;
    while (pages > 0 && count < RELEASE_BATCH) {
        struct span *span = longest_dirty_locked();
        if (span == NULL)
            break;
        remove_locked(span);
        split_locked(span, min_size(pages, span->pages), SPAN_FREE_DIRTY);
        spans[count++] = span;
        pages -= min_size(pages, span->pages);
    }
    note_dirty_low_locked();
    return count;
}

/* Gives pages back, the lock put down around the system calls. Returns pages given. */
static size_t release_locked(size_t pages)
{
    size_t given = 0;
    while (given < pages) {
        struct span *spans[RELEASE_BATCH];
        bool released[RELEASE_BATCH];
        unsigned count = collect_locked(spans, pages - given);
        if (count == 0)
            break;
        lock_release(&heap.lock);
        for (unsigned i = 0; i < count; i++)
            released[i] = os_release(spans[i]->start, span_bytes(spans[i]));
        lock_acquire(&heap.lock);
        heap.release_calls += count;
        for (unsigned i = 0; i < count; i++) {
            given += spans[i]->pages;
            put_locked(spans[i], released[i] ? SPAN_FREE_FRESH : SPAN_FREE_DIRTY);
        }
    }
    return given;
}

static size_t retain_pages_locked(void)
{
    if (heap.decay_ns == 0)
        return 0;
    size_t free_pages = heap.dirty.pages + heap.fresh.pages;
    size_t live_pages = (heap.mapped_bytes >> HEAP_PAGE_SHIFT) - free_pages;
    return (RETAIN_BYTES >> HEAP_PAGE_SHIFT) + live_pages / 8;
}

/* Half of what nobody wanted since the period began, once the period is over. */
static size_t decayed_pages_locked(void)
{
    uint64_t now = os_clock_coarse_ns();
    if (now < heap.period_end_ns)
        return 0;
    size_t unused = heap.period_end_ns == 0 ? 0 : heap.unused_dirty_pages;
    heap.period_end_ns = now + heap.decay_ns / PERIODS_PER_DECAY;
    heap.unused_dirty_pages = heap.dirty.pages;
    return (unused + 1) / 2;
}

static void release_surplus_locked(void)
{
    if (heap.decay_ns == UINT64_MAX)
        return;
    size_t retain = retain_pages_locked();
    size_t surplus = heap.dirty.pages > retain ? heap.dirty.pages - retain : 0;
    surplus = max_size(surplus, decayed_pages_locked());
    if (surplus > 0)
        release_locked(surplus);
}

void pageheap_free(struct span *span)
{
    lock_acquire(&heap.lock);
    put_locked(span, SPAN_FREE_DIRTY);
    release_surplus_locked();
    lock_release(&heap.lock);
}

/* Takes what is missing from the free span behind. */
static bool extend_locked(struct span *span, size_t pages)
{
    size_t missing = pages - span->pages;
    struct span *after = pagemap_find(span_limit(span));
    if (after == NULL || after->start != span_limit(span) || after->pages < missing ||
        (after->kind != SPAN_FREE_DIRTY && after->kind != SPAN_FREE_FRESH))
        return false;
    uint8_t kind = remove_locked(after);
    if (!split_locked(after, missing, kind)) {
        put_locked(after, kind);
        return false;
    }
    pageheap_span_free(after);
    span->pages = (uint32_t)pages;
    pagemap_set_span(span);
    note_dirty_low_locked();
    return true;
}

bool pageheap_resize(struct span *span, size_t pages)
{
    if (!is_sane(pages))
        return false;
    lock_acquire(&heap.lock);
    bool done = pages > span->pages ? extend_locked(span, pages)
                                    : split_locked(span, pages, SPAN_FREE_DIRTY);
    lock_release(&heap.lock);
    return done;
}

size_t pageheap_release(size_t bytes)
{
    lock_acquire(&heap.lock);
    size_t given = heap.is_ready ? release_locked(pages_for(bytes)) : 0;
    lock_release(&heap.lock);
    return bytes_of_pages(given);
}

void pageheap_set_release(uint64_t decay_ns)
{
    lock_acquire(&heap.lock);
    heap.decay_ns = decay_ns;
    lock_release(&heap.lock);
}

void pageheap_stats_get(struct pageheap_stats *stats)
{
    lock_acquire(&heap.lock);
    stats->mapped_bytes = heap.mapped_bytes;
    stats->dirty_bytes = bytes_of_pages(heap.dirty.pages);
    stats->fresh_bytes = bytes_of_pages(heap.fresh.pages);
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
