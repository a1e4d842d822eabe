/* The store of objects that all threads share, one for each size class.
 *
 *   tcache  --lists-->  central  --slabs-->  pageheap
 *
 * Lists that threads give back are kept whole and handed on whole: passing a list on costs the same
 * for one object or for hundreds. What exceeds CENTRAL_LIST_BYTES is walked back into the slabs.
 * Partly full slabs are kept by how full they are: the fullest give first, so that nearly empty ones
 * get the time to empty; an empty one goes back.
 *
 * A tagged object lies in a slab of its own kind, whose pages have class 0 in the page map, with a
 * word beside it that means something to the caller only.
 *
 * Lock:  one for each class, rank LOCK_CENTRAL.
 * Fails: takes return nothing when the kernel gives no more. */
#ifndef HPM_HEAP_CENTRAL_H
#define HPM_HEAP_CENTRAL_H

#include "base/base.h"
#include "heap/slab.h"

struct batch {
    struct object *head; // linked, ending in NULL
    size_t count;
};

/* About `count` objects: a whole list that a thread gave back, of its length, or up to `count`
 * fresh ones. */
struct batch central_take(unsigned class, size_t count);
void central_put(unsigned class, struct batch batch);

/* The same, when the objects are not wanted soon: they go into their slabs. */
void central_return(unsigned class, struct batch batch);

/* To be called now and then: what nobody took since the last call goes back, lists into slabs, and
 * a last empty slab. */
void central_tend(unsigned class);

/* How many objects it is worth keeping at hand for a class beyond a first few: a share of those in
 * use. */
size_t central_reserve_count(unsigned class);

void *central_take_tagged(unsigned class, uint32_t tag);
uint32_t central_tag_get(const struct span *slab, const void *object);
void central_put_tagged(struct span *slab, void *object);

/* Whether the object lies inside its slab or in a list here: freed, and not handed out again. */
bool central_holds(struct span *slab, const void *object);

/* Dies unless the freed object is one of the class and lies where one begins. Takes no lock. */
void central_check(const struct object *object, unsigned class);

/* Walks all lists of a class back into the slabs and gives empty slabs back. */
void central_drain(unsigned class);

struct central_stats {
    size_t slab_count, slab_bytes;
    size_t out_objects;        // handed out by slabs: in lists, caches, and the program's hands
    size_t list_objects;       // of those, in lists here
    size_t tagged_out_objects; // handed out by tagged slabs: all in the program's hands
};
void central_stats_get(unsigned class, struct central_stats *stats);

void central_fork_prepare(void);
void central_fork_parent(void);
void central_fork_child(void);

#endif
