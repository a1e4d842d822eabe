/* The objects that threads share, in shards: a thread takes from its shard's, and what it gives back
 * goes home, to the shard whose slab the object was cut from.
 *
 *   tcache  --lists-->  central  --lists-->  store
 *
 * So threads of different shards mostly share no slab, no cache line and no lock, but for objects that
 * the program hands from one to the other. Before a shard cuts a new slab it takes over one from
 * another, if one is at most half full there: many threads hold little more than one would. There are as many shards as processors, at most: while
 * there are no more busy threads than that, each has its own. Else those share that run on the same
 * processor, one after the other, with its caches warm. The first thread's is central_first.
 * But a thread that holds much, and frees it itself, has a private one: its objects would come to lie
 * scattered over the pages of all, and each page costs it an entry of the processor's cache of the page
 * table.
 *
 * A list that a thread gives back goes home with its first object, whole. When there is enough at
 * hand there, it is walked, and each object put into its slab.
 *
 * Lock:  one for each shard, rank LOCK_CENTRAL; a holder may only try for a second. One for the table of shards.
 * Fails: takes return nothing when the kernel gives no more. */
#ifndef HPM_HEAP_CENTRAL_H
#define HPM_HEAP_CENTRAL_H

#include "base/base.h"
#include "heap/store.h"

struct shard;
extern HPM_HIDDEN struct shard central_first;

/* A thread that begins shares central_first, which the very first thread keeps. One that turns out
 * to allocate much moves, when it may, to a shard with as few other threads as can be; one that holds
 * much to a private shard, where no other is. False: there is none, it stays. */
struct shard *central_join(bool *may_move);
bool central_move(struct shard **shard, bool to_private);
void central_leave(struct shard *shard);

/* Whether a private shard has done a thread good: more threads get one, or fewer. What those that
 * try again learn says how soon the next may. */
void central_judge_private(bool is_good, bool is_second_trial);

/* Whether a thread that made so many visits to the slow path, and lost its private shard, may try
 * again: 1024, and twice as many for each trial that failed. */
bool central_may_try_again(uint32_t visits);

/* Whose objects this thread should take now: those of the shard it joined, or of its processor. */
struct shard *central_local(struct shard *shard);

/* Whether the object's home is another shard. */
bool central_is_away(const struct shard *shard, const struct object *object);

/* About `count` objects: a whole list that a thread gave back, of its length, or up to `count`
 * from slabs. */
struct batch central_take(struct shard *shard, unsigned class, size_t count);

void central_put(unsigned class, struct batch batch);

/* The same, when the objects are not wanted soon: they go into their slabs. */
void central_return(unsigned class, struct batch batch);

/* How many objects of a class it is worth a thread's while to keep at hand beyond a first few: its
 * part of a share of those in use. */
size_t central_reserve_count(const struct shard *shard, unsigned class);

/* To be called now and then: what nobody took since the last call goes back, lists into slabs, and
 * a last empty slab. */
void central_tend(struct shard *shard, unsigned class);

/* The same for a shard that no thread uses any more, each in its turn by the number of the round. */
void central_tend_deserted(unsigned class, unsigned round);

/* Walks all lists of a class back into the slabs and gives empty slabs back. */
void central_drain(unsigned class);

/* A tagged object has class 0 in the page map, and a word beside it (heap/store). */
void *central_take_tagged(struct shard *shard, unsigned class, uint32_t tag);
uint32_t central_tag_get(const struct span *slab, const void *object);
void central_put_tagged(struct span *slab, void *object);

/* Whether the object lies inside its slab or in a list here: freed, and not handed out again. */
bool central_holds(struct span *slab, const void *object);

/* Dies unless the freed object is one of the class and lies where one begins. Takes no lock. */
void central_check(const struct object *object, unsigned class);

/* The same, and that it bears the mark of a freed one, which malloc clears. */
void central_check_freed(const struct object *object, unsigned class);

/* Dies unless that many freed objects follow each other, and then comes the end. */
void central_check_list(struct batch batch, unsigned class);

/* The same of all lists that are kept here, but for those of a shard that is in use just now: the
 * thread may be in a signal's handler, and hold its lock. */
void central_check_kept(void);

struct central_stats {
    size_t slab_count, slab_bytes;
    size_t out_objects;        // handed out by slabs: in lists, caches, and the program's hands
    size_t list_objects;       // of those, in lists here
    size_t tagged_out_objects; // handed out by tagged slabs: all in the program's hands
};
void central_stats_get(unsigned class, struct central_stats *stats);
unsigned central_shard_count(void);

void central_fork_prepare(void);
void central_fork_parent(void);
void central_fork_child(void);

#endif
