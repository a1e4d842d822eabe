#include "heap/pagemap.h"

#include <string.h>

#include "base/meta.h"
#include "base/os.h"
#include "heap/span.h"

/* The spans of one 2 MiB-aligned stretch of address space. */
struct region {
    uintptr_t base;
    struct region *next_known; // NULL: in no list yet; LAST_KNOWN ends it
    enum region_pages pages;
    uint64_t dirty[REGION_PAGES / 64];
    struct span *_Atomic spans[REGION_PAGES];
};

/* How far apart two of our addresses may lie. Programs ask for far more than they touch, and are
 * given it, so memory is no measure; only a limit of the address space is. */
enum { WINDOW_SHARE = 4 };
#define WINDOW_LIMITED_BYTES (64 * GiB)
#define WINDOW_BYTES         (4 * TiB)
#define WINDOW_MAX_BYTES     (128 * TiB)
#define STRETCH_BYTES        (8 * GiB)

static uint8_t no_codes[1];
HPM_LINE_ALIGNED uint8_t *pagemap_codes = no_codes;
size_t pagemap_page_mask;

static struct region *_Atomic *regions;
static size_t region_mask;

/* Which stretches of both tables may be written. */
static struct {
    _Atomic bool codes, regions;
} open_stretches[WINDOW_MAX_BYTES / STRETCH_BYTES];

/* All records there ever were: one that was dropped is in no slot. */
static struct region *_Atomic known_regions;
#define LAST_KNOWN ((struct region *)1)

static struct meta_pool region_pool = META_POOL_INITIAL(struct region);

static size_t window_bytes(void)
{
    size_t window = os_space_limit_bytes() != 0 ? WINDOW_LIMITED_BYTES : WINDOW_BYTES;
    size_t limit = os_memory_limit_bytes();
    while (window / WINDOW_SHARE < limit && window < WINDOW_MAX_BYTES)
        window *= 2;
    return window;
}

/* A stretch's slots fill a system page at least. */
static size_t stretch_bytes(void)
{
    return max_size(STRETCH_BYTES, os_page_bytes() / sizeof(regions[0]) * REGION_BYTES);
}

/* The codes go in before the mask: whoever sees the mask sees the codes (a thread that races with
 * this has no memory of ours to free). */
bool pagemap_init(void)
{
    size_t window = window_bytes();
    size_t pages = window >> HEAP_PAGE_SHIFT;
    size_t region_count = window >> REGION_SHIFT;
    char *tables = meta_reserve(pages + region_count * sizeof(struct region *));
    if (tables == NULL)
        return false;
    regions = (struct region * _Atomic *)(void *)(tables + pages);
    region_mask = region_count - 1;
    pagemap_codes = (uint8_t *)tables;
    atomic_thread_fence(memory_order_release);
    pagemap_page_mask = pages - 1;
    return true;
}

static struct region *_Atomic *region_slot(uintptr_t address)
{
    return &regions[(address >> REGION_SHIFT) & region_mask];
}

HPM_INLINE struct region *region_find(uintptr_t address)
{
    if (unlikely(regions == NULL))
        return NULL;
    /* Acquire: pairs with the release in add_region. */
    struct region *region = atomic_load_explicit(region_slot(address), memory_order_acquire);
    if (region == NULL || region->base != round_down(address, REGION_BYTES))
        return NULL;
    return region;
}

/* A record stays listed when it is used again, so that readers can be anywhere in the list. */
static void list_region(struct region *region)
{
    struct region *first = atomic_load_explicit(&known_regions, memory_order_relaxed);
    if (region->next_known != NULL)
        return;
    /* Release: pairs with the acquire in pagemap_next_region. */
    do
        owner_store(&region->next_known, first != NULL ? first : LAST_KNOWN);
    while (!atomic_compare_exchange_weak_explicit(&known_regions, &first, region,
                                                  memory_order_release, memory_order_relaxed));
}

/* Of two addresses a window apart, one only can be known. A record of this very address is of a
 * block that has moved away (the address could not be the caller's else), whose thread is about to
 * drop it, or died in a fork: it makes way. */
static bool fill_slot(struct region *_Atomic *slot, struct region *region)
{
    struct region *before = atomic_load_explicit(slot, memory_order_acquire);
    do {
        if (before != NULL && peek_load(&before->base) != region->base &&
            atomic_load_explicit(slot, memory_order_acquire) == before)
            return false;
        /* Release: pairs with the acquire in region_find. */
    } while (!atomic_compare_exchange_strong_explicit(slot, &before, region, memory_order_acq_rel,
                                                      memory_order_acquire));
    return true;
}

static bool open_stretch_of(uintptr_t address)
{
    size_t bytes = stretch_bytes(), window = (region_mask + 1) << REGION_SHIFT;
    size_t number = (address & (window - 1)) / bytes;
    size_t codes = bytes >> HEAP_PAGE_SHIFT, slots = bytes >> REGION_SHIFT;
    return meta_open(&pagemap_codes[number * codes], codes, &open_stretches[number].codes) &&
           meta_open((void *)&regions[number * slots], slots * sizeof(regions[0]),
                     &open_stretches[number].regions);
}

static bool add_region(uintptr_t base)
{
    if (unlikely(regions == NULL) || !open_stretch_of(base))
        return false;
    struct region *region = meta_pool_alloc(&region_pool);
    if (region == NULL)
        return false;
    memset(&region->pages, 0, sizeof(*region) - offsetof(struct region, pages));
    owner_store(&region->base, base);
    list_region(region);
    if (fill_slot(region_slot(base), region))
        return true;
    meta_pool_free(&region_pool, region);
    return false;
}

bool pagemap_add_regions(void *start, size_t bytes)
{
    uintptr_t base = (uintptr_t)start;
    for (size_t offset = 0; offset < bytes; offset += REGION_BYTES) {
        if (!add_region(base + offset)) {
            pagemap_drop_regions(start, offset);
            return false;
        }
    }
    return true;
}

void pagemap_drop_regions(void *start, size_t bytes)
{
    for (size_t offset = 0; offset < bytes; offset += REGION_BYTES) {
        struct region *_Atomic *slot = region_slot((uintptr_t)start + offset);
        struct region *region = atomic_exchange_explicit(slot, NULL, memory_order_relaxed);
        meta_pool_free(&region_pool, region);
    }
}

struct region *pagemap_region_get(const void *start)
{
    return atomic_load_explicit(region_slot((uintptr_t)start), memory_order_relaxed);
}

void pagemap_drop_left(struct region *region)
{
    struct region *left = region;
    atomic_compare_exchange_strong_explicit(region_slot(region->base), &left, NULL,
                                            memory_order_relaxed, memory_order_relaxed);
    meta_pool_free(&region_pool, region);
}

static void set_page(uintptr_t address, struct span *span)
{
    struct region *region = region_find(address);
    size_t page = (address >> HEAP_PAGE_SHIFT) % REGION_PAGES;
    /* Release: pairs with the acquire in pagemap_find. */
    atomic_store_explicit(&region->spans[page], span, memory_order_release);
}

void pagemap_set_span(struct span *span)
{
    for (size_t page = 0; page < span->pages; page++)
        set_page((uintptr_t)span->start + bytes_of_pages(page), span);
}

void pagemap_set_ends(struct span *span)
{
    set_page((uintptr_t)span->start, span);
    set_page((uintptr_t)span_limit(span) - HEAP_PAGE_BYTES, span);
}

void pagemap_set_code(const struct span *span, unsigned code)
{
    size_t page = ((uintptr_t)span->start >> HEAP_PAGE_SHIFT) & pagemap_page_mask;
    size_t before_wrap = min_size(span->pages, pagemap_page_mask + 1 - page);
    memset(&pagemap_codes[page], (int)code, before_wrap);
    memset(pagemap_codes, (int)code, span->pages - before_wrap);
}

enum dirty_change { DIRTY_KEEP, DIRTY_SET, DIRTY_CLEAR };

/* Visits the words of the bitmap that the range lies in. */
static size_t change_dirty(const char *start, size_t pages, enum dirty_change change)
{
    size_t were_set = 0;
    for (uintptr_t at = (uintptr_t)start; pages > 0;) {
        struct region *region = region_find(at);
        size_t first = (at >> HEAP_PAGE_SHIFT) % REGION_PAGES;
        size_t bits = min_size(64 - first % 64, pages);
        uint64_t mask = (~(uint64_t)0 >> (64 - bits)) << first % 64;
        uint64_t *word = &region->dirty[first / 64];
        were_set += (size_t)__builtin_popcountll(*word & mask);
        if (change == DIRTY_SET)
            *word |= mask;
        else if (change == DIRTY_CLEAR)
            *word &= ~mask;
        at += bytes_of_pages(bits);
        pages -= bits;
    }
    return were_set;
}

size_t pagemap_count_dirty(const char *start, size_t pages)
{
    return change_dirty(start, pages, DIRTY_KEEP);
}

size_t pagemap_set_dirty(const char *start, size_t pages)
{
    return change_dirty(start, pages, DIRTY_SET);
}

size_t pagemap_clear_dirty(const char *start, size_t pages)
{
    return change_dirty(start, pages, DIRTY_CLEAR);
}

enum region_pages pagemap_region_pages(const char *start)
{
    return region_find((uintptr_t)start)->pages;
}

void pagemap_set_region_pages(const char *start, enum region_pages pages)
{
    region_find((uintptr_t)start)->pages = pages;
}

struct span *pagemap_find(const void *address)
{
    struct region *region = region_find((uintptr_t)address);
    if (region == NULL)
        return NULL;
    size_t page = ((uintptr_t)address >> HEAP_PAGE_SHIFT) % REGION_PAGES;
    /* Acquire: pairs with the release in set_page. */
    struct span *span = atomic_load_explicit(&region->spans[page], memory_order_acquire);
    if (span == NULL || (const char *)address < span->start ||
        (const char *)address >= span_limit(span))
        return NULL;
    return span;
}

struct region *pagemap_next_region(struct region *region, char **start)
{
    /* Acquire: pairs with the release in list_region. */
    struct region *next = region != NULL
                              ? peek_load(&region->next_known)
                              : atomic_load_explicit(&known_regions, memory_order_acquire);
    for (; next != NULL && next != LAST_KNOWN; next = peek_load(&next->next_known)) {
        uintptr_t base = peek_load(&next->base);
        if (atomic_load_explicit(region_slot(base), memory_order_acquire) == next) {
            *start = (char *)base;
            return next;
        }
    }
    return NULL;
}

__attribute__((no_sanitize("thread"))) unsigned pagemap_peek_kind(const void *address,
                                                                  struct span **span)
{
    struct region *region = region_find((uintptr_t)address);
    size_t page = ((uintptr_t)address >> HEAP_PAGE_SHIFT) % REGION_PAGES;
    *span =
        region == NULL ? NULL : atomic_load_explicit(&region->spans[page], memory_order_acquire);
    if (*span == NULL || (const char *)address < (*span)->start ||
        (const char *)address >= span_limit(*span) || (*span)->kind == SPAN_UNUSED)
        return SPAN_FREE;
    return (*span)->kind;
}
