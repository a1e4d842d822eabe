/* Objects between pages that nobody may touch: a pool of slots, each as long as the longest small
 * object, with a gap before and behind.
 *
 *   api  --object-->  guard  --pages-->  os
 *
 * An object ends, or begins, where a gap begins or ends; what is left of its pages is filled with a
 * pattern that is looked at as it is freed. A freed slot's pages are given back and closed, and it
 * is taken again only after every other free one: until then all that is done to the object is seen
 * by the processor. The pool is address space of a fixed size; past its slots nothing is guarded.
 *
 * Lock:  one, rank LOCK_GUARD.
 * Fails: alloc returns NULL when all slots are taken. */
#ifndef HPM_HEAP_GUARD_H
#define HPM_HEAP_GUARD_H

#include "base/base.h"
#include "heap/sizeclass.h"

enum { GUARD_SLOTS = 512 };

enum guard_state { GUARD_UNUSED, GUARD_LIVE, GUARD_FREED };

/* What a slot has, or had last. */
struct guard_object {
    char *start;
    size_t bytes;
    uint32_t tag; // the caller's
    uint16_t slot;
    uint8_t class; // whose bytes it is charged
    uint8_t state; // enum guard_state
};

/* Makes the pool. False: there is no room for it. */
bool guard_init(void);

/* `at_end` says which of its ends lies at a gap. `alignment` is a power of two of at most
 * HEAP_PAGE_BYTES. */
char *guard_alloc(size_t bytes, size_t alignment, unsigned class, uint32_t tag, bool at_end);

/* Whether the address is in the pool, and then what its slot has; in a gap the nearer one.
 * Signal: async-signal-safe. */
bool guard_find(const void *address, struct guard_object *object);

enum guard_crime {
    GUARD_INNOCENT,
    GUARD_NO_OBJECT,
    GUARD_FREED_BEFORE,
    GUARD_OVERFLOW,
    GUARD_UNDERFLOW
};

/* Frees the object that begins at the address, unless something is wrong. *object tells what it
 * was; *distance, of a pattern that was written to, how far from the object. */
enum guard_crime guard_free(const void *address, struct guard_object *object, size_t *distance);

/* True once for each object: so that nothing is said twice of it.
 * Signal: async-signal-safe. */
bool guard_accuse(const struct guard_object *object);

/* Of objects in slots: how many there are, and what they are charged. */
struct guard_stats {
    size_t live_objects, live_bytes;
};
void guard_stats_get(struct guard_stats *stats);

void guard_fork_prepare(void);
void guard_fork_parent(void);
void guard_fork_child(void);

#endif
