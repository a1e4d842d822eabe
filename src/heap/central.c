#include "heap/central.h"

#include "base/lock.h"
#include "base/meta.h"
#include "base/print.h"
#include "heap/pagemap.h"
#include "heap/pageheap.h"

enum { CENTRAL_LISTS = 8, CENTRAL_LIST_BYTES = 64 * 1024, RESERVE_SHARE = 16 };

struct central {
    struct lock lock;

    /* Guarded by lock. */
    uint32_t list_count;
    uint32_t idle_lists; // as few as there were since central_tend
    bool is_idle;        // nothing was taken since then
    uint32_t used_fills;             // bit: partial[] of that fill is not empty
    struct list partial[SLAB_FILLS]; // slabs with something to give, by fill; unset until first use
    struct list partial_tagged;
    uint32_t *spare_tags;       // arrays of slabs that went back, linked through their first words
    struct batch lists[CENTRAL_LISTS];
    size_t list_objects;
    size_t slab_count, out_objects, tagged_out_objects;
} HPM_LINE_ALIGNED;

static struct central centrals[SIZECLASS_COUNT] = {
    [0 ... SIZECLASS_COUNT - 1] = {.lock = LOCK_INITIAL(LOCK_CENTRAL)},
};

static void init_locked(struct central *central)
{
    list_init(&central->partial_tagged);
    for (unsigned fill = 0; fill < SLAB_FILLS; fill++)
        list_init(&central->partial[fill]);
}

static struct central *acquire(unsigned class)
{
    struct central *central = &centrals[class];
    lock_acquire(&central->lock);
    if (unlikely(central->partial_tagged.next == NULL))
        init_locked(central);
    return central;
}

static struct span *slab_of(struct list *node)
{
    return list_entry(node, struct span, link);
}

static struct span *alloc_slab_locked(struct central *central, unsigned class, enum span_kind kind)
{
    struct span *slab = pageheap_alloc(sizeclass_table[class].slab_pages, kind, NULL);
    if (slab == NULL)
        return NULL;
    slab_init(slab, class);
    if (kind == SPAN_SLAB)
        pagemap_set_code(slab, sizeclass_code(class));
    central->slab_count++;
    return slab;
}

static unsigned fill_of(const struct span *slab)
{
    return slab->out >> sizeclass_table[slab->class].fill_shift;
}

static void link_slab_locked(struct central *central, struct span *slab)
{
    unsigned fill = fill_of(slab);
    list_push(&central->partial[fill], &slab->link);
    central->used_fills |= 1u << fill;
}

static void unlink_slab_locked(struct central *central, struct span *slab, unsigned fill)
{
    list_take(&slab->link);
    if (list_is_empty(&central->partial[fill]))
        central->used_fills &= ~(1u << fill);
}

static struct span *fullest_slab_locked(struct central *central)
{
    if (central->used_fills == 0)
        return NULL;
    unsigned fill = 31u - (unsigned)__builtin_clz(central->used_fills);
    return slab_of(central->partial[fill].next);
}

/* The slab is in no list. Objects never cut left their pages as they were. */
static void free_slab_locked(struct central *central, struct span *slab)
{
    pagemap_set_code(slab, 0);
    central->slab_count--;
    pageheap_free_part(slab, pages_for(slab->cut * sizeclass_bytes(slab->class)));
}

/* Takes from partial slabs, and from a new one when there are none. */
static struct batch take_from_slabs_locked(struct central *central, unsigned class, size_t count)
{
    struct batch batch = {NULL, 0};
    struct object **link = &batch.head;
    struct span *slab = fullest_slab_locked(central);
    if (slab == NULL) {
        slab = alloc_slab_locked(central, class, SPAN_SLAB);
        if (slab != NULL)
            link_slab_locked(central, slab);
    }
    while (slab != NULL && batch.count < count) {
        struct object *tail = NULL;
        unlink_slab_locked(central, slab, fill_of(slab));
        batch.count += slab_take(slab, count - batch.count, link, &tail);
        link = &tail->next;
        if (!slab_is_full(slab))
            link_slab_locked(central, slab);
        slab = fullest_slab_locked(central);
    }
    owner_store(&central->out_objects, central->out_objects + batch.count);
    return batch;
}

size_t central_reserve_count(unsigned class)
{
    return peek_load(&centrals[class].out_objects) / RESERVE_SHARE;
}

static bool has_room_locked(const struct central *central, unsigned class, size_t count)
{
    size_t objects = central->list_objects + count;
    return central->list_count < CENTRAL_LISTS &&
           objects * sizeclass_bytes(class) <= CENTRAL_LIST_BYTES &&
           objects <= sizeclass_table[class].batch_first + central_reserve_count(class);
}

static struct batch take_list_locked(struct central *central)
{
    struct batch batch = central->lists[--central->list_count];
    central->list_objects -= batch.count;
    return batch;
}

struct batch central_take(unsigned class, size_t count)
{
    struct central *central = acquire(class);
    struct batch batch = central->list_count > 0 ? take_list_locked(central)
                                                 : take_from_slabs_locked(central, class, count);
    if (central->idle_lists > central->list_count)
        central->idle_lists = central->list_count;
    central->is_idle = false;
    lock_release(&central->lock);
    return batch;
}

/* Puts an object back, and the slab where it then belongs: an empty one goes back unless it is the
 * last that has something to give. */
static void put_in_slab_locked(struct central *central, struct span *slab, void *object)
{
    unsigned fill = fill_of(slab);
    bool was_full = slab_is_full(slab);
    slab_put(slab, object);
    if (likely(!was_full && fill == fill_of(slab) && !slab_is_empty(slab)))
        return;
    if (!was_full)
        unlink_slab_locked(central, slab, fill);
    if (slab_is_empty(slab) && central->used_fills != 0)
        free_slab_locked(central, slab);
    else
        link_slab_locked(central, slab);
}

/* The slab of an object on its way back; dies when it is none of the class. */
static struct span *slab_of_object(const struct object *object, unsigned class)
{
    struct span *slab = pagemap_find(object);
    if (unlikely(slab == NULL || slab->kind != SPAN_SLAB || slab->class != class))
        die("free list of objects of %zu bytes leads to %p, which is none: "
            "a freed object was written to, or a foreign one freed",
            sizeclass_bytes(class), (const void *)object);
    return slab;
}

void central_check(const struct object *object, unsigned class)
{
    slab_index_get(slab_of_object(object, class), object);
}

/* Reads each object before its slab may go back. */
static void walk_into_slabs_locked(struct central *central, unsigned class, struct batch batch)
{
    struct object *object = batch.head;
    for (size_t i = 0; i < batch.count; i++) {
        struct span *slab = slab_of_object(object, class);
        struct object *next = object->next;
        put_in_slab_locked(central, slab, object);
        object = next;
    }
    owner_store(&central->out_objects, central->out_objects - batch.count);
}

void central_put(unsigned class, struct batch batch)
{
    if (batch.count == 0)
        return;
    struct central *central = acquire(class);
    if (has_room_locked(central, class, batch.count)) {
        central->lists[central->list_count++] = batch;
        central->list_objects += batch.count;
    } else {
        walk_into_slabs_locked(central, class, batch);
    }
    lock_release(&central->lock);
}

void central_return(unsigned class, struct batch batch)
{
    if (batch.count == 0)
        return;
    struct central *central = acquire(class);
    walk_into_slabs_locked(central, class, batch);
    lock_release(&central->lock);
}

static void drain_locked(struct central *central, unsigned class, uint32_t list_count)
{
    for (; list_count > 0; list_count--)
        walk_into_slabs_locked(central, class, take_list_locked(central));
}

static void free_last_empty_locked(struct central *central)
{
    struct span *last = fullest_slab_locked(central);
    if (last != NULL && slab_is_empty(last)) {
        unlink_slab_locked(central, last, fill_of(last));
        free_slab_locked(central, last);
    }
}

void central_drain(unsigned class)
{
    struct central *central = acquire(class);
    drain_locked(central, class, central->list_count);
    free_last_empty_locked(central);
    lock_release(&central->lock);
}

void central_tend(unsigned class)
{
    if (peek_load(&centrals[class].slab_count) == 0)
        return;
    struct central *central = acquire(class);
    drain_locked(central, class, central->idle_lists);
    central->idle_lists = central->list_count;
    if (central->is_idle)
        free_last_empty_locked(central);
    central->is_idle = true;
    lock_release(&central->lock);
}

static bool lists_hold_locked(const struct central *central, const void *object)
{
    for (uint32_t i = 0; i < central->list_count; i++) {
        const struct object *at = central->lists[i].head;
        for (size_t n = 0; n < central->lists[i].count && at != NULL; n++, at = at->next) {
            if (at == object)
                return true;
        }
    }
    return false;
}

bool central_holds(struct span *slab, const void *object)
{
    struct central *central = acquire(slab->class);
    bool holds = slab_holds(slab, object) || lists_hold_locked(central, object);
    lock_release(&central->lock);
    return holds;
}

/* The array keeps the link to the next spare one in its first two words. */
static uint32_t *alloc_tags_locked(struct central *central, unsigned class)
{
    uint32_t *tags = central->spare_tags;
    if (tags == NULL)
        return meta_alloc(sizeclass_table[class].slab_objects * sizeof(uint32_t));
    central->spare_tags = *(uint32_t **)(void *)tags;
    return tags;
}

static void free_tags_locked(struct central *central, uint32_t *tags)
{
    *(uint32_t **)(void *)tags = central->spare_tags;
    central->spare_tags = tags;
}

static struct span *tagged_slab_locked(struct central *central, unsigned class)
{
    if (!list_is_empty(&central->partial_tagged))
        return slab_of(central->partial_tagged.next);
    uint32_t *tags = alloc_tags_locked(central, class);
    if (tags == NULL)
        return NULL;
    struct span *slab = alloc_slab_locked(central, class, SPAN_TAGGED_SLAB);
    if (slab == NULL) {
        free_tags_locked(central, tags);
        return NULL;
    }
    slab->tags = tags;
    list_push(&central->partial_tagged, &slab->link);
    return slab;
}

void *central_take_tagged(unsigned class, uint32_t tag)
{
    struct object *object = NULL;
    struct central *central = acquire(class);
    struct span *slab = tagged_slab_locked(central, class);
    if (slab != NULL) {
        struct object *tail;
        slab_take(slab, 1, &object, &tail);
        object->mark = 0;
        slab->tags[slab_index_get(slab, object)] = tag;
        central->tagged_out_objects++;
        if (slab_is_full(slab))
            list_take(&slab->link);
    }
    lock_release(&central->lock);
    return object;
}

uint32_t central_tag_get(const struct span *slab, const void *object)
{
    return slab->tags[slab_index_get(slab, object)];
}

void central_put_tagged(struct span *slab, void *object)
{
    struct central *central = acquire(slab->class);
    if (slab_is_full(slab))
        list_push(&central->partial_tagged, &slab->link);
    slab_put(slab, object);
    central->tagged_out_objects--;
    if (slab_is_empty(slab)) {
        list_take(&slab->link);
        free_tags_locked(central, slab->tags);
        free_slab_locked(central, slab);
    }
    lock_release(&central->lock);
}

void central_stats_get(unsigned class, struct central_stats *stats)
{
    struct central *central = acquire(class);
    stats->slab_count = central->slab_count;
    stats->slab_bytes = central->slab_count * bytes_of_pages(sizeclass_table[class].slab_pages);
    stats->out_objects = central->out_objects;
    stats->list_objects = central->list_objects;
    stats->tagged_out_objects = central->tagged_out_objects;
    lock_release(&central->lock);
}

void central_fork_prepare(void)
{
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++)
        acquire(class);
}

void central_fork_parent(void)
{
    for (unsigned class = SIZECLASS_COUNT; class-- > 1;)
        lock_release(&centrals[class].lock);
}

void central_fork_child(void)
{
    for (unsigned class = SIZECLASS_COUNT; class-- > 1;)
        lock_reset(&centrals[class].lock);
}
