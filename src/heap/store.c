#include "heap/store.h"

#include "base/meta.h"
#include "heap/pagemap.h"
#include "heap/pageheap.h"

enum { LIST_BYTES_MAX = 64 * 1024, RESERVE_SHARE = 16 };

/* Empty tagged slabs that are kept, of all stores: so many for each MiB of the heap. */
enum { EMPTY_TAGGED_PER_MIB = 2 };
static _Atomic int empty_tagged;

void store_init(struct store *store, unsigned class, uint8_t shard)
{
    owner_store(&store->class, (uint8_t)class);
    store->shard = shard;
    list_init(&store->partial_tagged);
    for (unsigned fill = 0; fill < SLAB_FILLS; fill++)
        list_init(&store->partial[fill]);
}

static struct span *slab_of(struct list *node)
{
    return list_entry(node, struct span, link);
}

static struct span *alloc_slab(struct store *store, enum span_kind kind)
{
    struct span *slab = pageheap_alloc(sizeclass_table[store->class].slab_pages, kind, NULL);
    if (slab == NULL)
        return NULL;
    slab_init(slab, store->class, store->shard);
    if (kind == SPAN_SLAB)
        pagemap_set_code(slab, sizeclass_code(store->class));
    store->slab_count++;
    return slab;
}

static unsigned fill_of(const struct span *slab)
{
    return slab->out >> sizeclass_table[slab->class].fill_shift;
}

static void link_slab(struct store *store, struct span *slab)
{
    unsigned fill = fill_of(slab);
    list_push(&store->partial[fill], &slab->link);
    owner_store(&store->used_fills, store->used_fills | 1u << fill);
}

static void unlink_slab(struct store *store, struct span *slab, unsigned fill)
{
    list_take(&slab->link);
    if (list_is_empty(&store->partial[fill]))
        owner_store(&store->used_fills, store->used_fills & ~(1u << fill));
}

static struct span *fullest_slab(struct store *store)
{
    if (store->used_fills == 0)
        return NULL;
    unsigned fill = 31u - (unsigned)__builtin_clz(store->used_fills);
    return slab_of(store->partial[fill].next);
}

/* The slab is in no list. Objects never cut left their pages as they were. */
static void free_slab(struct store *store, struct span *slab)
{
    pagemap_set_code(slab, 0);
    store->slab_count--;
    pageheap_free_part(slab, pages_for(slab->cut * sizeclass_bytes(slab->class)));
}

static struct batch take_from_slabs(struct store *store, size_t count)
{
    struct batch batch = {NULL, 0};
    struct object **link = &batch.head;
    struct span *slab = fullest_slab(store);
    while (slab != NULL && batch.count < count) {
        struct object *tail = NULL;
        unlink_slab(store, slab, fill_of(slab));
        batch.count += slab_take(slab, count - batch.count, link, &tail);
        link = &tail->next;
        if (!slab_is_full(slab))
            link_slab(store, slab);
        slab = fullest_slab(store);
    }
    owner_store(&store->out_objects, store->out_objects + batch.count);
    return batch;
}

bool store_grow(struct store *store)
{
    struct span *slab = alloc_slab(store, SPAN_SLAB);
    if (slab != NULL)
        link_slab(store, slab);
    return slab != NULL;
}

struct span *store_give_slab(struct store *store, unsigned fills)
{
    uint32_t given = store->used_fills & ((1u << fills) - 1);
    if (given == 0)
        return NULL;
    unsigned fill = (unsigned)__builtin_ctz(given);
    struct span *slab = slab_of(store->partial[fill].next);
    unlink_slab(store, slab, fill);
    store->slab_count--;
    owner_store(&store->out_objects, store->out_objects - slab->out);
    return slab;
}

void store_adopt_slab(struct store *store, struct span *slab)
{
    owner_store(&slab->shard, store->shard);
    link_slab(store, slab);
    store->slab_count++;
    owner_store(&store->out_objects, store->out_objects + slab->out);
}

size_t store_reserve_count(const struct store *store)
{
    return peek_load(&store->out_objects) / RESERVE_SHARE;
}

static struct batch take_list(struct store *store)
{
    struct batch batch = store->lists[--store->list_count];
    store->list_objects -= batch.count;
    return batch;
}

struct batch store_take(struct store *store, size_t count)
{
    struct batch batch = store->list_count > 0 ? take_list(store) : take_from_slabs(store, count);
    if (store->idle_lists > store->list_count)
        store->idle_lists = store->list_count;
    store->is_idle = false;
    return batch;
}

bool store_keep(struct store *store, struct batch batch)
{
    size_t objects = store->list_objects + batch.count;
    if (store->list_count == STORE_LISTS_MAX ||
        objects * sizeclass_bytes(store->class) > LIST_BYTES_MAX ||
        objects > sizeclass_table[store->class].batch_first + store_reserve_count(store))
        return false;
    store->lists[store->list_count++] = batch;
    store->list_objects = objects;
    return true;
}

/* Back to the page heap when it is empty, unless it is the last that has something to give. */
void store_move_slab(struct store *store, struct span *slab, unsigned out)
{
    const struct sizeclass *class = &sizeclass_table[store->class];
    if (out != class->slab_objects)
        unlink_slab(store, slab, out >> class->fill_shift);
    if (slab_is_empty(slab) && store->used_fills != 0)
        free_slab(store, slab);
    else
        link_slab(store, slab);
}

unsigned store_give_up(struct store *store, unsigned list_count,
                       struct batch lists[static STORE_LISTS_MAX])
{
    unsigned given = 0;
    while (given < list_count && store->list_count > 0)
        lists[given++] = take_list(store);
    return given;
}

/* The array keeps the link to the next spare one in its first two words. */
static uint32_t *alloc_tags(struct store *store)
{
    uint32_t *tags = store->spare_tags;
    if (tags == NULL)
        return meta_alloc(sizeclass_table[store->class].slab_objects * sizeof(uint32_t));
    store->spare_tags = *(uint32_t **)(void *)tags;
    return tags;
}

static void free_tags(struct store *store, uint32_t *tags)
{
    *(uint32_t **)(void *)tags = store->spare_tags;
    store->spare_tags = tags;
}

static void free_tagged_slab(struct store *store, struct span *slab)
{
    list_take(&slab->link);
    free_tags(store, slab->tags);
    free_slab(store, slab);
}

/* An empty one, which is the last: those that have something to give again come first. */
static void trim_tagged(struct store *store)
{
    if (list_is_empty(&store->partial_tagged))
        return;
    struct span *last = slab_of(store->partial_tagged.previous);
    if (slab_is_empty(last)) {
        empty_tagged--;
        free_tagged_slab(store, last);
    }
}

void store_trim(struct store *store)
{
    struct span *last = fullest_slab(store);
    if (last != NULL && slab_is_empty(last)) {
        unlink_slab(store, last, fill_of(last));
        free_slab(store, last);
    }
    trim_tagged(store);
}

unsigned store_tend(struct store *store, struct batch lists[static STORE_LISTS_MAX])
{
    unsigned given = store_give_up(store, store->idle_lists, lists);
    store->idle_lists = store->list_count;
    if (store->is_idle)
        store_trim(store);
    store->is_idle = true;
    return given;
}

bool store_lists_hold(const struct store *store, const void *object)
{
    for (uint32_t i = 0; i < store->list_count; i++) {
        if (batch_holds(store->lists[i], object))
            return true;
    }
    return false;
}

static struct span *tagged_slab(struct store *store)
{
    if (!list_is_empty(&store->partial_tagged))
        return slab_of(store->partial_tagged.next);
    uint32_t *tags = alloc_tags(store);
    if (tags == NULL)
        return NULL;
    struct span *slab = alloc_slab(store, SPAN_TAGGED_SLAB);
    if (slab == NULL) {
        free_tags(store, tags);
        return NULL;
    }
    slab->tags = tags;
    list_push(&store->partial_tagged, &slab->link);
    empty_tagged++;
    return slab;
}

void *store_take_tagged(struct store *store, uint32_t tag)
{
    struct span *slab = tagged_slab(store);
    if (slab == NULL)
        return NULL;
    struct object *object = NULL, *tail;
    if (slab_is_empty(slab))
        empty_tagged--;
    slab_take(slab, 1, &object, &tail);
    object->mark = 0;
    slab->tags[slab_index_get(slab, object)] = tag;
    store->tagged_out_objects++;
    store->is_idle = false;
    if (slab_is_full(slab))
        list_take(&slab->link);
    return object;
}

void store_put_tagged(struct store *store, struct span *slab, void *object)
{
    if (slab_is_full(slab))
        list_push(&store->partial_tagged, &slab->link);
    slab_put(slab, object);
    store->tagged_out_objects--;
    if (!slab_is_empty(slab))
        return;
    bool is_only = store->partial_tagged.next == store->partial_tagged.previous;
    int most = EMPTY_TAGGED_PER_MIB * (int)(pageheap_mapped_bytes() / MiB);
    if (is_only && empty_tagged < most)
        empty_tagged++;
    else
        free_tagged_slab(store, slab);
}
