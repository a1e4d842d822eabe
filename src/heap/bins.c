#include "heap/bins.h"

#include "heap/span.h"

enum { LOOK_MAX = 16 }; // spans of a range of lengths that are looked at for the shortest that fits

static unsigned log2_floor(size_t n)
{
    return 63u - (unsigned)__builtin_clzll(n);
}

static unsigned bin_of(size_t pages)
{
    if (pages < BINS_EXACT)
        return (unsigned)pages;
    unsigned doubling = log2_floor(pages);
    unsigned quarter = (unsigned)(pages >> (doubling - 2)) & 3;
    return BINS_EXACT + (doubling - 6) * BINS_PER_DOUBLING + quarter;
}

void bins_init(struct bins *bins)
{
    for (unsigned bin = 0; bin < BINS_COUNT; bin++)
        list_init(&bins->lists[bin]);
}

void bins_put(struct bins *bins, struct span *span)
{
    unsigned bin = bin_of(span->pages);
    list_push(&bins->lists[bin], &span->link);
    bins->used[bin / 64] |= (uint64_t)1 << bin % 64;
}

void bins_take(struct bins *bins, struct span *span)
{
    unsigned bin = bin_of(span->pages);
    list_take(&span->link);
    if (list_is_empty(&bins->lists[bin]))
        bins->used[bin / 64] &= ~((uint64_t)1 << bin % 64);
}

/* The first bin at or after `bin` that holds something, or BINS_COUNT. */
static unsigned next_used(const struct bins *bins, unsigned bin)
{
    for (unsigned word = bin / 64; word < BINS_WORDS; word++) {
        uint64_t bits = bins->used[word];
        if (word == bin / 64)
            bits &= ~(uint64_t)0 << bin % 64;
        if (bits != 0)
            return word * 64 + (unsigned)__builtin_ctzll(bits);
    }
    return BINS_COUNT;
}

/* The shortest span that is long enough among the list's first ones; in an exact bin all are alike.
 */
static struct span *best_of(const struct list *list, size_t pages)
{
    struct span *best = NULL;
    unsigned looked_at = 0;
    list_walk (node, list) {
        struct span *span = list_entry(node, struct span, link);
        if (span->pages >= pages && (best == NULL || span->pages < best->pages))
            best = span;
        if (best != NULL && (best->pages == pages || ++looked_at >= LOOK_MAX))
            break;
    }
    return best;
}

struct span *bins_find(const struct bins *bins, size_t pages)
{
    for (unsigned bin = next_used(bins, bin_of(pages)); bin < BINS_COUNT;
         bin = next_used(bins, bin + 1)) {
        struct span *span = best_of(&bins->lists[bin], pages);
        if (span != NULL)
            return span;
    }
    return NULL;
}

struct span *bins_longest(const struct bins *bins)
{
    for (unsigned word = BINS_WORDS; word-- > 0;) {
        uint64_t bits = bins->used[word];
        if (bits != 0) {
            unsigned bin = word * 64 + 63u - (unsigned)__builtin_clzll(bits);
            return list_entry(bins->lists[bin].previous, struct span, link);
        }
    }
    return NULL;
}
