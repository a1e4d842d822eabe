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
    memset(slab->free_bits, 0, sizeof(slab->free_bits));
}

static size_t index_of(const struct span *slab, const void *object)
{
    size_t offset = (size_t)((const char *)object - slab->start);
    return (offset * sizeclass_table[slab->class].reciprocal) >> 40;
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

size_t slab_take(struct span *slab, size_t count, struct object **head, struct object **tail)
{
    const struct sizeclass *class = &sizeclass_table[slab->class];
    struct object **link = head;
    size_t taken = 0;
    for (size_t word = 0; taken < count && word * 64 < slab->cut; word++) {
        uint64_t bits = slab->free_bits[word];
        for (; bits != 0 && taken < count; taken++, bits &= bits - 1) {
            size_t index = word * 64 + (size_t)__builtin_ctzll(bits);
            *tail = link_object(slab->start + index * class->bytes, &link);
        }
        slab->free_bits[word] = bits;
    }
    size_t fresh = min_size(count - taken, class->slab_objects - slab->cut);
    if (fresh != 0) {
        char *first = slab->start + slab->cut * class->bytes;
        *link = (struct object *)(void *)first;
        *tail = link_neighbours(first, class->bytes, fresh);
        link = &(*tail)->next;
        slab->cut += (uint16_t)fresh;
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

HPM_COLD void slab_refuse(const struct span *slab, const void *object)
{
    slab_index_get(slab, object);
    slab_die_of_double_free(object, slab->class);
}

HPM_COLD void slab_refuse_run(const struct span *slab, const struct object *head, size_t count)
{
    for (; count > 1 && head->mark == OBJECT_FREED_MARK; count--)
        head = head->next;
    slab_die_of_write(head, slab->class);
}

void slab_put(struct span *slab, void *object)
{
    slab_put_back(slab, sizeclass_table[slab->class].reciprocal, slab->cut,
                  (size_t)((const char *)object - slab->start));
    slab->out--;
}
