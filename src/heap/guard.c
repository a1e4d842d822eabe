#include "heap/guard.h"

#include <string.h>

#include "base/lock.h"
#include "base/os.h"
#include "heap/pagemap.h"
#include "heap/pageheap.h"
#include "heap/span.h"

enum { FILLER = 0xb6 };

static struct {
    char *start;
    size_t room_bytes, gap_bytes; // of each slot: its pages, and what is never opened behind them
    struct lock lock;

    /* Guarded by lock. */
    struct guard_object objects[GUARD_SLOTS];
    uint16_t free[GUARD_SLOTS]; // a ring, the one longest free first
    size_t first_free, free_count;
    size_t live_bytes;
    _Atomic bool is_accused[GUARD_SLOTS];
} pool = {.lock = LOCK_INITIAL(LOCK_GUARD)};

static size_t stride_bytes(void)
{
    return pool.room_bytes + pool.gap_bytes;
}

static char *room_of(size_t slot)
{
    return pool.start + pool.gap_bytes + slot * stride_bytes();
}

static size_t pool_bytes(void)
{
    return round_up(pool.gap_bytes + GUARD_SLOTS * stride_bytes(), REGION_BYTES);
}

/* The page map is told, so that no address of the pool shares an entry with a small object's. */
static bool make_known(char *start)
{
    struct span *span = pageheap_span_alloc();
    if (span == NULL)
        return false;
    if (!pagemap_add_regions(start, pool_bytes())) {
        pageheap_span_free(span);
        return false;
    }
    span->start = start;
    span->pages = (uint32_t)pages_for(pool_bytes());
    span->kind = SPAN_GUARDED;
    pagemap_set_span(span);
    return true;
}

static void fill_ring(void)
{
    for (size_t slot = 0; slot < GUARD_SLOTS; slot++) {
        pool.objects[slot].slot = pool.free[slot] = (uint16_t)slot;
        pool.objects[slot].start = room_of(slot);
    }
    pool.free_count = GUARD_SLOTS;
}

bool guard_init(void)
{
    pool.gap_bytes = max_size(os_page_bytes(), HEAP_PAGE_BYTES);
    pool.room_bytes = round_up(SMALL_MAX_BYTES, pool.gap_bytes);
    char *start = os_map_aligned(pool_bytes(), REGION_BYTES, NULL);
    if (start == NULL)
        return false;
    if (!os_close(start, pool_bytes()) || !make_known(start)) {
        os_unmap(start, pool_bytes());
        return false;
    }
    pool.start = start;
    fill_ring();
    return true;
}

/* The pages that an object lies in: all of its slot that is open while it lives. */
static char *pages_of(const struct guard_object *object, size_t *bytes)
{
    uintptr_t start = round_down((uintptr_t)object->start, os_page_bytes());
    uintptr_t limit =
        round_up((uintptr_t)object->start + max_size(object->bytes, 1), os_page_bytes());
    *bytes = limit - start;
    return (char *)start;
}

static bool open_pages(const struct guard_object *object)
{
    size_t bytes;
    char *start = pages_of(object, &bytes);
    if (!os_open(start, bytes))
        return false;
    memset(start, FILLER, (size_t)(object->start - start));
    char *end = object->start + object->bytes;
    memset(end, FILLER, (size_t)(start + bytes - end));
    return true;
}

static void close_pages(const struct guard_object *object)
{
    size_t bytes;
    char *start = pages_of(object, &bytes);
    os_release(start, bytes);
    os_close(start, bytes);
}

static char *place(size_t slot, size_t bytes, size_t alignment, bool at_end)
{
    if (!at_end)
        return room_of(slot);
    return (char *)round_down((uintptr_t)room_of(slot) + pool.room_bytes - max_size(bytes, 1),
                              alignment);
}

static bool take_slot_locked(size_t *slot)
{
    if (pool.free_count == 0)
        return false;
    *slot = pool.free[pool.first_free];
    pool.first_free = (pool.first_free + 1) % GUARD_SLOTS;
    pool.free_count--;
    return true;
}

static void put_slot_locked(uint16_t slot)
{
    pool.free[(pool.first_free + pool.free_count++) % GUARD_SLOTS] = slot;
}

static char *alloc_locked(size_t bytes, size_t alignment, unsigned class, uint32_t tag, bool at_end)
{
    size_t slot;
    if (!take_slot_locked(&slot))
        return NULL;
    struct guard_object *object = &pool.objects[slot];
    *object = (struct guard_object){.start = place(slot, bytes, alignment, at_end),
                                    .bytes = bytes,
                                    .tag = tag,
                                    .slot = (uint16_t)slot,
                                    .class = (uint8_t)class};
    if (!open_pages(object)) {
        put_slot_locked((uint16_t)slot);
        return NULL;
    }
    object->state = GUARD_LIVE;
    pool.live_bytes += sizeclass_bytes(class);
    atomic_store_explicit(&pool.is_accused[slot], false, memory_order_relaxed);
    return object->start;
}

char *guard_alloc(size_t bytes, size_t alignment, unsigned class, uint32_t tag, bool at_end)
{
    if (pool.start == NULL)
        return NULL;
    lock_acquire(&pool.lock);
    char *start = alloc_locked(bytes, alignment, class, tag, at_end);
    lock_release(&pool.lock);
    return start;
}

/* A gap's first half belongs to the slot before it. */
bool guard_find(const void *address, struct guard_object *object)
{
    uintptr_t start = (uintptr_t)pool.start, at = (uintptr_t)address;
    if (start == 0 || at < start || at - start >= pool_bytes())
        return false;
    size_t offset = at - start - min_size(at - start, pool.gap_bytes / 2);
    *object = pool.objects[min_size(offset / stride_bytes(), GUARD_SLOTS - 1)];
    return true;
}

/* How far behind `start` the pattern was last written to; 0: not at all. */
static size_t written_behind(const char *start, const char *limit)
{
    while (limit > start && (unsigned char)limit[-1] == FILLER)
        limit--;
    return (size_t)(limit - start);
}

static size_t written_before(const char *start, const char *limit)
{
    while (start < limit && (unsigned char)*start == FILLER)
        start++;
    return (size_t)(limit - start);
}

static enum guard_crime check(const struct guard_object *object, size_t *distance)
{
    size_t bytes;
    const char *start = pages_of(object, &bytes);
    *distance = written_behind(object->start + object->bytes, start + bytes);
    if (*distance != 0)
        return GUARD_OVERFLOW;
    *distance = written_before(start, object->start);
    return *distance != 0 ? GUARD_UNDERFLOW : GUARD_INNOCENT;
}

static enum guard_crime free_locked(const void *address, struct guard_object *object,
                                    size_t *distance)
{
    if (!guard_find(address, object) || object->start != address || object->state == GUARD_UNUSED)
        return GUARD_NO_OBJECT;
    if (object->state == GUARD_FREED)
        return GUARD_FREED_BEFORE;
    enum guard_crime crime = check(object, distance);
    if (crime != GUARD_INNOCENT)
        return crime;
    pool.objects[object->slot].state = GUARD_FREED;
    pool.live_bytes -= sizeclass_bytes(object->class);
    close_pages(object);
    put_slot_locked(object->slot);
    return GUARD_INNOCENT;
}

enum guard_crime guard_free(const void *address, struct guard_object *object, size_t *distance)
{
    *distance = 0;
    lock_acquire(&pool.lock);
    enum guard_crime crime = free_locked(address, object, distance);
    lock_release(&pool.lock);
    return crime;
}

bool guard_accuse(const struct guard_object *object)
{
    return !atomic_exchange(&pool.is_accused[object->slot], true);
}

void guard_stats_get(struct guard_stats *stats)
{
    *stats = (struct guard_stats){0};
    if (pool.start == NULL)
        return;
    lock_acquire(&pool.lock);
    stats->live_objects = GUARD_SLOTS - pool.free_count;
    stats->live_bytes = pool.live_bytes;
    lock_release(&pool.lock);
}

void guard_fork_prepare(void)
{
    lock_acquire(&pool.lock);
}

void guard_fork_parent(void)
{
    lock_release(&pool.lock);
}

void guard_fork_child(void)
{
    lock_reset(&pool.lock);
}
