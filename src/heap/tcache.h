/* A thread's own free objects: what malloc and free touch, and nothing else.
 *
 *   api  --one object-->  tcache  --lists-->  central
 *
 * Each class has two lists. malloc pops from one, free pushes to the other; when the pop list runs
 * dry, the slow path makes the push list the pop list. So between two visits to the slow path a
 * thread allocates at most what the pop list held, and the slow path decides how much that is: it
 * hands out no more than the list's allowance. Whoever sets allowances thereby knows, without an
 * instruction in the fast path, when the n-th object from now is asked for.
 *
 * Thread: a cache is touched by its owner only, but for statistics, which read it as it is.
 *         Stores are ordered so that a cache whose owner vanished at any instruction (fork) holds
 *         no object twice. */
#ifndef HPM_HEAP_TCACHE_H
#define HPM_HEAP_TCACHE_H

#include "base/base.h"
#include "heap/central.h"

struct tcache_list {
    struct object *pop;  // malloc takes from here
    struct object *push; // free puts here
    int32_t room;        // frees until push is full; capacity - room is its length
    int32_t capacity;
    int64_t allowance; // objects that may still be handed out; TCACHE_UNSET before it is set
};
static_assert(sizeof(struct tcache_list) == 32, "a list's address is 8 times its class's code");

#define TCACHE_UNSET     ((int64_t)-1)
#define TCACHE_UNLIMITED ((int64_t)1 << 62)

struct tcache {
    struct tcache_list lists[SIZECLASS_COUNT]; // [0] stays empty and full: all goes the slow way
    struct shard *shard;
    bool may_move;            // to another shard
    bool is_alone, was_alone; // in a private one
    bool is_second_trial;
    int32_t put_lists;  // while alone: given back; from below 0, where the first do not count
    int32_t away_lists; // and those of others' objects
    int64_t held_bytes;       // taken from central and not given back
    struct list link;         // in the registry, guarded by its lock
    uint32_t allowance_epoch; // of the caller
    uint32_t swap_count, visit_count;
    uint32_t looks;                  // at one class after the other
    uintptr_t seen[SIZECLASS_COUNT]; // what its lists were then, in short
} HPM_LINE_ALIGNED;

/* This thread's cache. Never NULL: before a thread has one it is tcache_none, which has no object
 * and no room. */
extern HPM_HIDDEN HPM_TLS struct tcache *tcache_self;
extern HPM_HIDDEN struct tcache tcache_none;

HPM_INLINE struct tcache_list *tcache_list_of(struct tcache *cache, unsigned code)
{
    return (struct tcache_list *)(void *)((char *)cache + (size_t)code * 8);
}

/* NULL: the list ran dry. */
HPM_INLINE void *tcache_pop(struct tcache_list *list)
{
    struct object *object = owner_load(&list->pop);
    if (likely(object != NULL)) {
        struct object *next = object->next;
        owner_store(&list->pop, next);
        __builtin_prefetch(next);
        object->mark = 0;
    }
    return object;
}

/* False: the list is full (or has class 0), the object was not pushed, and the slow path must put
 * the room right. */
HPM_INLINE bool tcache_take_room(struct tcache_list *list)
{
    int32_t room = owner_load(&list->room) - 1;
    owner_store(&list->room, room);
    return likely(room >= 0);
}

HPM_INLINE void tcache_push(struct tcache_list *list, struct object *object)
{
    object->next = owner_load(&list->push);
    object->mark = OBJECT_FREED_MARK;
    atomic_signal_fence(memory_order_release); // what is on the list has its mark
    owner_store(&list->push, object);
}

/* Looks at all that was pushed; dies of what is no object of the class, or was written to since. */
void tcache_check_pushed(const struct tcache_list *list, unsigned class);

/* The usual refill: the push list, when it is at least half full and within the allowance, becomes
 * the pop list; its first object is returned. NULL: tcache_refill has to see to it.
 *
 * All lists are checked where they end, in a slab or with the process. Those that go round in a
 * thread are looked at now and then, their first object each time. */
HPM_INLINE void *tcache_swap(struct tcache *cache, struct tcache_list *list, unsigned code)
{
    enum { SWAPS_PER_CHECK = 16 };
    struct object *head = list->push;
    int32_t capacity = list->capacity, pushed = capacity - list->room;
    if (unlikely(head == NULL || pushed * 2 < capacity || pushed > list->allowance))
        return NULL;
    if (unlikely(++cache->swap_count % SWAPS_PER_CHECK == 0 || head->mark != OBJECT_FREED_MARK))
        tcache_check_pushed(list, sizeclass_from_code(code));
    owner_store(&list->push, NULL);
    owner_store(&list->room, capacity);
    atomic_signal_fence(memory_order_seq_cst);
    list->allowance -= pushed;
    owner_store(&list->pop, head->next);
    head->mark = 0;
    return head;
}

/* One object from a list that ran dry, and more on the list. The allowance must be above 0; it is
 * lowered by what is handed out. NULL: no memory. */
void *tcache_refill(struct tcache *cache, unsigned class);

/* Pushes after tcache_take_room said no. */
void tcache_push_slow(struct tcache *cache, unsigned class, struct object *object);

/* Forgets all allowances: they must be set anew. What was to be handed out by them goes back. */
void tcache_unset_allowances(struct tcache *cache);

/* Whether a list of any thread holds the object, as far as can be seen while they use them. */
bool tcache_holds(unsigned class, const void *object);

/* Looks at everything that was freed here and not handed out since; dies of what should not be
 * there (a pointer into the middle of an object, an object twice, one that was written to). */
void tcache_check(const struct tcache *cache);

/* Prepares zeroed memory as a cache and makes it known. */
void tcache_init(struct tcache *cache);

/* Gives every object back and makes the cache unknown. */
void tcache_retire(struct tcache *cache);

/* A known cache without an owner, left behind by fork, or NULL. It is the caller's then. */
struct tcache *tcache_adopt(void);

/* Bytes and objects in all threads' lists of a class, and the number of caches. */
void tcache_stats_get(unsigned class, size_t *objects);
size_t tcache_count(void);

void tcache_fork_prepare(void);
void tcache_fork_parent(void);
void tcache_fork_child(void); // all caches but the caller's lose their owners

#endif
