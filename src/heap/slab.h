/* A span cut into objects of one class, and a bitmap of those that are free.
 *
 *   central  --objects-->  slab
 *
 * The bitmap lies in the span's record, apart from user memory. Objects are cut from the front only
 * when asked for, so a slab touches no page before it must; until then they, and what may lie
 * behind the last of them, count as free. Freed ones are handed out again in address order, so that
 * a program's data stays in order. Putting an object back is where it is checked: that it begins
 * where an object begins, was handed out, and is not here already.
 *
 * Lock: of the shard that it belongs to. */
#ifndef HPM_HEAP_SLAB_H
#define HPM_HEAP_SLAB_H

#include "base/base.h"
#include "heap/span.h"

/* A free object. The mark tells free() at once that an object was freed before; malloc clears it. */
struct object {
    struct object *next;
    uint64_t mark;
};

enum { SLAB_INDEX_SHIFT = 40 };

#define OBJECT_FREED_MARK ((uint64_t)(int64_t)-0x4a0f3d29)

void slab_init(struct span *slab, unsigned class, uint8_t shard);

/* Takes up to `count` objects, linked in address order and marked as free, ending in NULL. Returns
 * how many; `*tail` is the last. */
size_t slab_take(struct span *slab, size_t count, struct object **head, struct object **tail);

/* Puts one object back. Dies when it is no object of the slab or is in it already. */
void slab_put(struct span *slab, void *object);

/* Dies of an object that was freed before. */
_Noreturn void slab_die_of_double_free(const void *object, unsigned class);

/* Dies of a freed object whose mark was written to. */
_Noreturn void slab_die_of_write(const void *object, unsigned class);

/* Dies of what is wrong with one of `count` linked objects that were put back: it is none, it was
 * written to since it was freed, or (the last) it was in the slab already. */
_Noreturn void slab_refuse(const struct span *slab, const struct object *head, size_t count);

/* Puts back the objects at the head of a list, the first of which lies in the slab: up to `count`,
 * as long as they do. Returns how many; *head is then the next one. Dies of one without a mark,
 * too: it was written to since it was freed, or a link was.
 *
 * For an object's beginning the offset times 2^40 / bytes, rounded up, is less than 2^24 above a
 * multiple of 2^40, which is its index; for any other place it is at least 2^25 above
 * (sizeclass_test.c checks it), which is looked at once for all of them. */
HPM_INLINE size_t slab_put_run(struct span *slab, const struct sizeclass *class,
                               struct object **head, size_t count)
{
    const size_t bytes = bytes_of_pages(class->slab_pages);
    const uint64_t reciprocal = class->reciprocal;
    char *const start = slab->start;
    uint64_t marks = 0, fractions = 0;
    size_t put = 0, offset = (size_t)((char *)*head - start);
    struct object *object = *head;
    do {
        uint64_t scaled = offset * reciprocal;
        size_t index = scaled >> SLAB_INDEX_SHIFT;
        uint64_t bits = slab->free_bits[index / 64];
        put++;
        if (unlikely((bits >> index % 64 & 1) != 0))
            slab_refuse(slab, *head, put);
        slab->free_bits[index / 64] = bits | (uint64_t)1 << index % 64;
        fractions |= scaled;
        marks += object->mark;
        object = object->next;
        offset = (size_t)((char *)object - start);
    } while (put < count && offset < bytes);
    if (unlikely(marks != put * OBJECT_FREED_MARK || (uint16_t)(fractions >> 24) != 0))
        slab_refuse(slab, *head, put);
    slab->out -= (uint16_t)put;
    *head = object;
    return put;
}

/* The number of the object at this address; dies unless one begins there. */
size_t slab_index_get(const struct span *slab, const void *object);

/* Whether the object is inside the slab now (never handed out, or back). */
bool slab_holds(const struct span *slab, const void *object);

HPM_INLINE bool slab_is_empty(const struct span *slab)
{
    return slab->out == 0;
}

HPM_INLINE bool slab_is_full(const struct span *slab)
{
    return slab->out == sizeclass_table[slab->class].slab_objects;
}

#endif
