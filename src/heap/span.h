/* A run of heap pages and what it is used for: the record that pageheap, central and large share.
 *
 * Records come from one pool and stay records for ever, so a stale pointer to one is still safe to
 * read. Who may write a span is who owns its pages: the page heap's lock while free, the central
 * list's lock while a slab, the holder of the block while large. */
#ifndef HPM_HEAP_SPAN_H
#define HPM_HEAP_SPAN_H

#include "base/base.h"
#include "heap/sizeclass.h"

struct hardened_record;

enum span_kind {
    SPAN_UNUSED,      // the record is in the pool, or its pages on their way
    SPAN_FREE,        // free
    SPAN_SLAB,        // objects of one class
    SPAN_TAGGED_SLAB, // objects of one class, each with a tag; class 0 in the page map
    SPAN_LARGE,       // one block
    SPAN_HUGE,        // one block in a mapping of its own
    SPAN_KEPT,        // the same, freed, see heap/hugekeep
    SPAN_GUARDED,     // the pool of heap/guard
    SPAN_HARDENED,    // objects of one class, see heap/hardened
    SPAN_QUARANTINED, // a large block of heap/hardened, freed and closed
};

struct span {
    struct list link;
    char *start;
    uint32_t pages;
    uint8_t kind;
    uint8_t class; // slabs: of their objects
    uint8_t shard; // slabs: the shard they belong to; changes under its lock, read without

    union {
        uint32_t dirty_pages; // free: how many are resident, as far as is known
        struct {              // slabs
            uint16_t cut;   // objects [0, cut) have been handed out at least once
            uint16_t out;   // of those, now outside the slab
            union {
                uint32_t *tags; // tagged slabs: one for each object
                struct hardened_record *records; // hardened slabs: the same
            };
            uint64_t free_bits[SLAB_OBJECTS_MAX / 64]; // those inside: freed, or never cut
        };
        struct { // large and huge
            uint32_t tag;
            uint32_t canary_bytes; // at the end, see heap/hardened; 0: none
            size_t mapped_bytes; // huge: length of the mapping
        };
    };
};

HPM_INLINE size_t span_bytes(const struct span *span)
{
    return bytes_of_pages(span->pages);
}

HPM_INLINE char *span_limit(const struct span *span)
{
    return span->start + span_bytes(span);
}

#endif
