#include "heap/slab.h"

#include <string.h>

#include "base/print.h"

void slab_init(struct span *slab, unsigned class, uint8_t shard)
{
    slab->shard = shard;
    slab->class = (uint8_t)class;
    slab->cut = 0;
    slab->out = 0;
    slab->tags = NULL;
    memset(slab->free_bits, 0xff, sizeof(slab->free_bits));
}

static size_t index_of(const struct span *slab, const void *object)
{
    size_t offset = (size_t)((const char *)object - slab->start);
    return (offset * sizeclass_table[slab->class].reciprocal) >> SLAB_INDEX_SHIFT;
}

size_t slab_index_get(const struct span *slab, const void *object)
{
    size_t bytes = sizeclass_bytes(slab->class);
    size_t index = index_of(slab, object);
    if (unlikely(slab->start + index * bytes != object))
        die("free of %p: it points %zu bytes into an object of %zu bytes", object,
            (size_t)((const char *)object - slab->start) - index * bytes, bytes);
    return index;
}

bool slab_holds(const struct span *slab, const void *object)
{
    size_t index = slab_index_get(slab, object);
    return index >= slab->cut || (slab->free_bits[index / 64] >> index % 64 & 1);
}

static struct object *link_object(char *at, struct object ***link)
{
    struct object *object = (struct object *)(void *)at;
    object->mark = OBJECT_FREED_MARK;
    **link = object;
    *link = &object->next;
    return object;
}

/* Neighbours, each linked to the next, and the last to what follows it. Returns the last. */
static struct object *link_neighbours(char *at, size_t bytes, size_t count)
{
    struct object *object;
    char *limit = at + count * bytes;
    do {
        object = (struct object *)(void *)at;
        at += bytes;
        object->next = (struct object *)(void *)at;
        object->mark = OBJECT_FREED_MARK;
    } while (at != limit);
    return object;
}

static uint64_t bits_below(size_t number)
{
    return ((uint64_t)1 << number) - 1;
}

/* The next `count` that were never cut. */
static struct object *cut_objects(struct span *slab, size_t bytes, size_t count)
{
    size_t first = slab->cut, limit = first + count;
    for (size_t word = first / 64; word * 64 < limit; word++) {
        uint64_t others = word * 64 < first ? bits_below(first % 64) : 0;
        others |= limit - word * 64 < 64 ? ~bits_below(limit % 64) : 0;
        slab->free_bits[word] &= others;
    }
    slab->cut = (uint16_t)limit;
    return link_neighbours(slab->start + first * bytes, bytes, count);
}

size_t slab_take(struct span *slab, size_t count, struct object **head, struct object **tail)
{
    const struct sizeclass *class = &sizeclass_table[slab->class];
    struct object **link = head;
    size_t taken = 0;
    for (size_t word = 0; taken < count && word * 64 < slab->cut; word++) {
        uint64_t uncut = slab->cut - word * 64 < 64 ? ~bits_below(slab->cut % 64) : 0;
        uint64_t bits = slab->free_bits[word] & ~uncut;
        for (; bits != 0 && taken < count; taken++, bits &= bits - 1) {
            size_t index = word * 64 + (size_t)__builtin_ctzll(bits);
            *tail = link_object(slab->start + index * class->bytes, &link);
        }
        slab->free_bits[word] = bits | uncut;
    }
    size_t fresh = min_size(count - taken, class->slab_objects - slab->cut);
    if (fresh != 0) {
        *link = (struct object *)(void *)(slab->start + slab->cut * class->bytes);
        *tail = cut_objects(slab, class->bytes, fresh);
        link = &(*tail)->next;
        taken += fresh;
    }
    *link = NULL;
    slab->out += (uint16_t)taken;
    return taken;
}

HPM_COLD void slab_die_of_double_free(const void *object, unsigned class)
{
    die("double free of %p: object of %zu bytes", object, sizeclass_bytes(class));
}

HPM_COLD void slab_die_of_write(const void *object, unsigned class)
{
    die("write after free of %p: object of %zu bytes, freed, and written to at byte %zu", object,
        sizeclass_bytes(class), offsetof(struct object, mark));
}

HPM_COLD void slab_refuse(const struct span *slab, const struct object *head, size_t count)
{
    const struct object *at = head, *last = head;
    for (size_t i = 0; i < count; i++, last = at, at = at->next)
        slab_index_get(slab, at);
    for (at = head; count > 0; count--, at = at->next) {
        if (at->mark != OBJECT_FREED_MARK)
            slab_die_of_write(at, slab->class);
    }
    slab_die_of_double_free(last, slab->class);
}

void slab_put(struct span *slab, void *object)
{
    size_t index = slab_index_get(slab, object);
    if (unlikely(slab_holds(slab, object)))
        slab_die_of_double_free(object, slab->class);
    slab->free_bits[index / 64] |= (uint64_t)1 << index % 64;
    slab->out--;
}
