#include "heap/hugekeep.h"

#include "heap/pagemap.h"
#include "heap/span.h"

enum { LOOK_MAX = 16 };

static struct {
    struct list blocks; // newest first; a null link: none yet
    size_t bytes;
} kept;

size_t hugekeep_bytes(void)
{
    return kept.bytes;
}

void hugekeep_put(struct span *span)
{
    if (kept.blocks.next == NULL)
        list_init(&kept.blocks);
    span->kind = SPAN_KEPT;
    list_push(&kept.blocks, &span->link);
    kept.bytes += span->mapped_bytes;
}

static bool fits_better(const struct span *span, const struct span *other, size_t bytes)
{
    bool is_enough = span->mapped_bytes >= bytes;
    if (is_enough != (other->mapped_bytes >= bytes))
        return is_enough;
    return is_enough == (span->mapped_bytes < other->mapped_bytes);
}

static struct span *take(struct span *span)
{
    list_take(&span->link);
    kept.bytes -= span->mapped_bytes;
    return span;
}

struct span *hugekeep_take(size_t bytes)
{
    struct span *best = NULL;
    unsigned looked_at = 0;
    if (kept.bytes == 0)
        return NULL;
    list_walk (node, &kept.blocks) {
        struct span *span = list_entry(node, struct span, link);
        if (best == NULL || fits_better(span, best, bytes))
            best = span;
        if (++looked_at == LOOK_MAX)
            break;
    }
    return take(best);
}

/* Of the oldest. */
bool hugekeep_cut(size_t bytes, struct hugekeep_cut *cut)
{
    if (kept.bytes == 0)
        return false;
    struct span *span = list_entry(kept.blocks.previous, struct span, link);
    bytes = round_up(bytes, REGION_BYTES);
    if (span->mapped_bytes <= bytes) {
        take(span);
        *cut = (struct hugekeep_cut){span->start, span->mapped_bytes, span};
        return true;
    }
    owner_store(&span->mapped_bytes, span->mapped_bytes - bytes);
    kept.bytes -= bytes;
    *cut = (struct hugekeep_cut){span->start + span->mapped_bytes, bytes, NULL};
    return true;
}
