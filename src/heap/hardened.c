#include "heap/hardened.h"

#include <string.h>

#include "base/lock.h"
#include "base/meta.h"
#include "base/os.h"
#include "base/print.h"
#include "heap/large.h"
#include "heap/pagemap.h"
#include "heap/pageheap.h"
#include "heap/slab.h"

/* Junk that is no address where a program takes it for one. */
enum { JUNK = 0xdf };

enum { OBJECTS_MAX = 16384, BLOCKS_MAX = 128, SLABS_TO_CHOOSE = 8 };
#define OBJECTS_MAX_BYTES (8 * MiB)
#define BLOCKS_MAX_BYTES  (64 * MiB)

enum { RECORD_FRESH, RECORD_LIVE, RECORD_QUARANTINED, RECORD_FREE };

/* The oldest first. */
struct queue {
    void *entries[OBJECTS_MAX];
    size_t first, count, bytes;
};

struct hardened_class {
    struct list partial, full;             // slabs with something to give, and the others
    struct hardened_record *spare_records; // arrays of slabs that went back, linked
    struct hardened_stats stats;
};

bool hardened_on;

/* No byte is 0 or 1: a string's end written one too far is found always, not in most processes. */
#define CANARY_BITS ((uint64_t)0x0202020202020202)

static struct {
    struct lock lock;

    /* Guarded by lock. */
    struct hardened_class classes[SIZECLASS_COUNT];
    struct queue objects, blocks; // freed, the latter spans of large blocks
    struct list large;            // live large blocks
    uint64_t chance;
    uint64_t canary; // each process has its own, with CANARY_BITS set
} heap = {.lock = LOCK_INITIAL(LOCK_HARDENED)};

void hardened_start(void)
{
    for (unsigned class = 0; class < SIZECLASS_COUNT; class++) {
        list_init(&heap.classes[class].partial);
        list_init(&heap.classes[class].full);
    }
    list_init(&heap.large);
    heap.canary = os_random_u64() | CANARY_BITS;
    heap.chance = os_random_u64();
    hardened_on = true;
}

static size_t draw(size_t count)
{
    heap.chance += 0x9e3779b97f4a7c15u;
    return mix_bits(heap.chance) % count;
}

unsigned hardened_class_of(size_t bytes, size_t alignment)
{
    if (bytes > SMALL_MAX_BYTES - CANARY_MIN_BYTES)
        return SIZECLASS_NONE;
    return sizeclass_from_code(sizeclass_code_aligned(bytes + CANARY_MIN_BYTES, alignment));
}

static void write_canary(char *start, const char *limit)
{
    const char *canary = (const char *)&heap.canary;
    for (size_t i = 0; start + i < limit; i++)
        start[i] = canary[i % sizeof(heap.canary)];
}

/* How far behind `start` the canary was last written to; 0: not at all. */
static size_t written_behind(const char *start, const char *limit)
{
    const char *canary = (const char *)&heap.canary;
    size_t length = (size_t)(limit - start);
    while (length > 0 && start[length - 1] == canary[(length - 1) % sizeof(heap.canary)])
        length--;
    return length;
}

static void check_canary(const char *start, size_t bytes, const char *limit, const char *what)
{
    size_t written = written_behind(start + bytes, limit);
    if (unlikely(written != 0))
        die("overflow of %p: %s of %zu bytes, written to up to byte %zu past its end", start, what,
            bytes, written);
}

/* Objects are of whole words. */
static void check_junk(const char *start, size_t bytes, const struct hardened_record *record)
{
    uint64_t junk;
    memset(&junk, JUNK, sizeof(junk));
    const uint64_t *words = (const void *)start;
    size_t word = 0;
    while (word < bytes / sizeof(junk) && words[word] == junk)
        word++;
    if (likely(word == bytes / sizeof(junk)))
        return;
    size_t at = word * sizeof(junk);
    while ((unsigned char)start[at] == JUNK)
        at++;
    if (record->state == RECORD_FRESH)
        die("wild write at %p: to memory of objects of %zu bytes that no object was in yet",
            start + at, bytes);
    die("write after free of %p: object of %u bytes, freed, and written to at byte %zu", start,
        record->bytes, at);
}

static char *object_at(const struct span *slab, size_t index)
{
    return slab->start + index * sizeclass_bytes(slab->class);
}

static void check_object(const struct span *slab, size_t index)
{
    const struct hardened_record *record = &slab->records[index];
    const char *start = object_at(slab, index);
    size_t bytes = sizeclass_bytes(slab->class);
    if (record->state == RECORD_LIVE)
        check_canary(start, record->bytes, start + bytes, "object");
    else
        check_junk(start, bytes, record);
}

static void check_slab(const struct span *slab)
{
    for (size_t index = 0; index < sizeclass_table[slab->class].slab_objects; index++)
        check_object(slab, index);
}

static struct hardened_record *alloc_records_locked(unsigned class)
{
    struct hardened_record **spare = &heap.classes[class].spare_records, *records = *spare;
    size_t bytes = sizeclass_table[class].slab_objects * sizeof(struct hardened_record);
    if (records == NULL)
        return meta_alloc(bytes);
    *spare = *(struct hardened_record **)(void *)records;
    memset(records, 0, bytes);
    return records;
}

static void free_records_locked(unsigned class, struct hardened_record *records)
{
    *(struct hardened_record **)(void *)records = heap.classes[class].spare_records;
    heap.classes[class].spare_records = records;
}

static struct span *grow_locked(unsigned class)
{
    struct hardened_record *records = alloc_records_locked(class);
    if (records == NULL)
        return NULL;
    struct span *slab = pageheap_alloc(sizeclass_table[class].slab_pages, SPAN_HARDENED, NULL);
    if (slab == NULL) {
        free_records_locked(class, records);
        return NULL;
    }
    slab_init(slab, class, 0);
    memset(slab->free_bits, 0, sizeof(slab->free_bits));
    slab->records = records;
    memset(slab->start, JUNK, span_bytes(slab));
    for (size_t index = 0; index < sizeclass_table[class].slab_objects; index++)
        slab->free_bits[index / 64] |= (uint64_t)1 << index % 64;
    list_push(&heap.classes[class].partial, &slab->link);
    heap.classes[class].stats.slab_count++;
    return slab;
}

/* One of the first few, so that one place freed is not the next one taken. */
static struct span *choose_slab_locked(unsigned class)
{
    struct list *partial = &heap.classes[class].partial, *node = partial->next;
    if (list_is_empty(partial))
        return grow_locked(class);
    for (size_t steps = draw(SLABS_TO_CHOOSE); steps > 0 && node->next != partial; steps--)
        node = node->next;
    return list_entry(node, struct span, link);
}

/* The first that is free from a place drawn by lot on. */
static size_t choose_object_locked(const struct span *slab)
{
    size_t index = draw(sizeclass_table[slab->class].slab_objects), word = index / 64;
    uint64_t bits = slab->free_bits[word] & ~(uint64_t)0 << index % 64;
    while (bits == 0) {
        word = (word + 1) % array_count(slab->free_bits);
        bits = slab->free_bits[word];
    }
    return word * 64 + (size_t)__builtin_ctzll(bits);
}

static char *take_locked(struct span *slab)
{
    size_t index = choose_object_locked(slab);
    check_object(slab, index);
    slab->free_bits[index / 64] &= ~((uint64_t)1 << index % 64);
    slab->out++;
    if (slab_is_full(slab)) {
        list_take(&slab->link);
        list_push(&heap.classes[slab->class].full, &slab->link);
    }
    return object_at(slab, index);
}

static char *alloc_locked(const struct hardened_record *record, unsigned class)
{
    struct span *slab = choose_slab_locked(class);
    if (slab == NULL)
        return NULL;
    char *start = take_locked(slab);
    slab->records[slab_index_get(slab, start)] = *record;
    write_canary(start + record->bytes, start + sizeclass_bytes(class));
    heap.classes[class].stats.live_objects++;
    return start;
}

void *hardened_alloc(size_t bytes, size_t alignment, unsigned class, uint32_t tag)
{
    struct hardened_record record = {.tag = tag,
                                     .bytes = (uint16_t)bytes,
                                     .state = RECORD_LIVE,
                                     .alignment_shift = (uint8_t)__builtin_ctzll(alignment)};
    lock_acquire(&heap.lock);
    char *start = alloc_locked(&record, class);
    lock_release(&heap.lock);
    return start;
}

/* The last of a class stays. */
static void give_back_locked(struct span *slab)
{
    struct list *partial = &heap.classes[slab->class].partial;
    if (!slab_is_empty(slab) || partial->next == partial->previous)
        return;
    check_slab(slab);
    list_take(&slab->link);
    free_records_locked(slab->class, slab->records);
    heap.classes[slab->class].stats.slab_count--;
    pageheap_free(slab);
}

static void release_locked(void *start)
{
    struct span *slab = pagemap_find(start);
    size_t index = slab_index_get(slab, start);
    check_object(slab, index);
    if (slab_is_full(slab)) {
        list_take(&slab->link);
        list_push_last(&heap.classes[slab->class].partial, &slab->link);
    }
    slab->records[index].state = RECORD_FREE;
    slab->free_bits[index / 64] |= (uint64_t)1 << index % 64;
    slab->out--;
    heap.classes[slab->class].stats.quarantined_objects--;
    give_back_locked(slab);
}

static void queue_put(struct queue *queue, void *entry, size_t bytes)
{
    queue->entries[(queue->first + queue->count++) % OBJECTS_MAX] = entry;
    queue->bytes += bytes;
}

static void *queue_first(const struct queue *queue)
{
    return queue->entries[queue->first];
}

static void queue_drop(struct queue *queue, size_t bytes)
{
    queue->first = (queue->first + 1) % OBJECTS_MAX;
    queue->count--;
    queue->bytes -= bytes;
}

static void release_surplus_locked(void)
{
    struct queue *objects = &heap.objects;
    while (objects->count == OBJECTS_MAX || objects->bytes > OBJECTS_MAX_BYTES) {
        void *start = queue_first(objects);
        queue_drop(objects, sizeclass_bytes(pagemap_find(start)->class));
        release_locked(start);
    }
}

static struct hardened_record *get_locked(struct span *slab, const void *address)
{
    size_t index = slab_index_get(slab, address);
    struct hardened_record *record = &slab->records[index];
    if (unlikely(index == sizeclass_table[slab->class].slab_objects ||
                 record->state == RECORD_FRESH))
        die("free of %p: no object was allocated there", address);
    if (unlikely(record->state != RECORD_LIVE))
        die("double free of %p: object of %u bytes", address, record->bytes);
    return record;
}

struct hardened_record hardened_get(struct span *slab, const void *address)
{
    lock_acquire(&heap.lock);
    struct hardened_record record = *get_locked(slab, address);
    lock_release(&heap.lock);
    return record;
}

static void free_locked(struct span *slab, char *start)
{
    struct hardened_record *record = get_locked(slab, start);
    size_t bytes = sizeclass_bytes(slab->class);
    check_canary(start, record->bytes, start + bytes, "object");
    memset(start, JUNK, bytes);
    record->state = RECORD_QUARANTINED;
    heap.classes[slab->class].stats.live_objects--;
    heap.classes[slab->class].stats.quarantined_objects++;
    release_surplus_locked();
    queue_put(&heap.objects, start, bytes);
}

void hardened_free(struct span *slab, void *address)
{
    lock_acquire(&heap.lock);
    free_locked(slab, address);
    lock_release(&heap.lock);
}

void hardened_seal_large(struct span *span, size_t bytes)
{
    span->canary_bytes = large_usable_bytes(span) - bytes;
    write_canary(span->start + bytes, span->start + large_usable_bytes(span));
    lock_acquire(&heap.lock);
    list_push(&heap.large, &span->link);
    lock_release(&heap.lock);
}

static void check_large(const struct span *span)
{
    size_t bytes = large_usable_bytes(span);
    check_canary(span->start, bytes - span->canary_bytes, span->start + bytes, "block");
}

/* Huge blocks are in no quarantine: the kernel takes their addresses back. */
static bool quarantine_block_locked(struct span *span)
{
    struct queue *blocks = &heap.blocks;
    if (span->kind != SPAN_LARGE || !large_retire(span))
        return false;
    queue_put(blocks, span, span_bytes(span));
    while (blocks->count > BLOCKS_MAX || blocks->bytes > BLOCKS_MAX_BYTES) {
        struct span *oldest = queue_first(blocks);
        queue_drop(blocks, span_bytes(oldest));
        large_bury(oldest);
    }
    return true;
}

void hardened_free_large(struct span *span)
{
    lock_acquire(&heap.lock);
    if (span->canary_bytes != 0) {
        check_large(span);
        list_take(&span->link);
    }
    bool is_quarantined = quarantine_block_locked(span);
    lock_release(&heap.lock);
    if (!is_quarantined)
        large_drop(span);
}

static void check_slabs_locked(struct list *slabs)
{
    list_walk (node, slabs)
        check_slab(list_entry(node, struct span, link));
}

void hardened_check_all(void)
{
    if (!hardened_on)
        return;
    lock_acquire(&heap.lock);
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++) {
        check_slabs_locked(&heap.classes[class].partial);
        check_slabs_locked(&heap.classes[class].full);
    }
    list_walk (node, &heap.large)
        check_large(list_entry(node, struct span, link));
    lock_release(&heap.lock);
}

void hardened_stats_get(unsigned class, struct hardened_stats *stats)
{
    lock_acquire(&heap.lock);
    *stats = heap.classes[class].stats;
    lock_release(&heap.lock);
}

void hardened_fork_prepare(void)
{
    lock_acquire(&heap.lock);
}

void hardened_fork_parent(void)
{
    lock_release(&heap.lock);
}

void hardened_fork_child(void)
{
    lock_reset(&heap.lock);
}
