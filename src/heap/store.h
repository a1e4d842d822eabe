/* The free objects of one class in one shard: slabs, and lists that threads gave back.
 *
 *   central  --lists-->  store  --slabs-->  pageheap
 *
 * Lists are kept whole and handed on whole: passing a list on costs the same for one object or for
 * hundreds. Partly full slabs are kept by how full they are: the fullest give first, so that nearly
 * empty ones get the time to empty; an empty one goes back, but for the last.
 *
 * A tagged object lies in a slab of its own kind, whose pages have class 0 in the page map, with a
 * word beside it that means something to the caller only.
 *
 * Lock: the shard's, held by the caller. */
#ifndef HPM_HEAP_STORE_H
#define HPM_HEAP_STORE_H

#include "base/base.h"
#include "heap/slab.h"

enum { STORE_LISTS_MAX = 8 };

struct batch {
    struct object *head; // linked, ending in NULL
    size_t count;
};

HPM_INLINE bool batch_holds(struct batch batch, const void *object)
{
    const struct object *at = batch.head;
    for (size_t i = 0; i < batch.count && at != NULL; i++, at = at->next) {
        if (at == object)
            return true;
    }
    return false;
}

struct store {
    uint8_t class; // peeked at without the lock
    uint8_t shard;
    bool is_idle; // nothing was taken since store_tend
    uint32_t list_count;
    uint32_t idle_lists; // as few as there were since store_tend
    uint32_t used_fills; // bit: partial[] of that fill is not empty; peeked at by other shards
    struct list partial[SLAB_FILLS]; // slabs with something to give, by fill
    struct list partial_tagged;
    uint32_t *spare_tags; // arrays of slabs that went back, linked through their first words
    struct batch lists[STORE_LISTS_MAX];
    size_t list_objects;                                // in lists
    size_t slab_count, out_objects, tagged_out_objects; // out: handed out by slabs
};

void store_init(struct store *store, unsigned class, uint8_t shard);

/* A list of about `count` objects: one that was kept, of its length, or up to `count` from slabs.
 * Empty when there is none. */
struct batch store_take(struct store *store, size_t count);

/* Adds a new slab. False: the kernel gives no more. */
bool store_grow(struct store *store);

/* How many objects it is worth keeping at hand beyond a first few: a share of those in use. */
size_t store_reserve_count(const struct store *store);

/* Keeps the list whole. False: there is enough already. */
bool store_keep(struct store *store, struct batch batch);

/* Where a slab belongs after `out` objects were out before some were put back. */
void store_move_slab(struct store *store, struct span *slab, unsigned out);

/* Puts the objects at the head of a list back into their slab, one of this store's, as
 * slab_put_run. `class` is the store's. */
HPM_INLINE size_t store_put(struct store *store, const struct sizeclass *class, struct span *slab,
                            struct object **head, size_t count)
{
    unsigned out = slab->out;
    size_t put = slab_put_run(slab, class, head, count);
    owner_store(&store->out_objects, store->out_objects - put);
    if (unlikely((out ^ slab->out) >> class->fill_shift != 0 || out == class->slab_objects ||
                 slab_is_empty(slab)))
        store_move_slab(store, slab, out);
    return put;
}

/* Gives up to `list_count` kept lists out, to be put into their slabs. Returns how many. */
unsigned store_give_up(struct store *store, unsigned list_count,
                       struct batch lists[static STORE_LISTS_MAX]);

/* Gives last empty slabs back, plain and tagged. */
void store_trim(struct store *store);

/* To be called now and then: gives out the lists that nobody took since the last call, and trims
 * when nothing at all was taken. */
unsigned store_tend(struct store *store, struct batch lists[static STORE_LISTS_MAX]);

/* Whether one of the kept lists holds the object. */
bool store_lists_hold(const struct store *store, const void *object);

/* The emptiest slab, of those in the first `fills` of SLAB_FILLS steps of being handed out; no
 * longer this store's then. Or NULL. */
struct span *store_give_slab(struct store *store, unsigned fills);

/* Makes it one of this store's slabs. */
void store_adopt_slab(struct store *store, struct span *slab);

void *store_take_tagged(struct store *store, uint32_t tag);
void store_put_tagged(struct store *store, struct span *slab, void *object);

#endif
