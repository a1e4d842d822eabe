#include "prof/livetab.h"

#include "base/lock.h"
#include "prof/cost.h"

enum { FIRST_BLOCK_SAMPLES = 64, BLOCK_COUNT = 21 };
static_assert(((size_t)FIRST_BLOCK_SAMPLES << BLOCK_COUNT) - FIRST_BLOCK_SAMPLES >=
                  LIVE_SAMPLES_MAX,
              "the blocks hold them all");

/* Block b holds 64 << b samples: few blocks, little memory while there are few samples, and a
 * record never moves. */
static struct {
    struct lock lock;

    struct sample *_Atomic blocks[BLOCK_COUNT];

    /* Guarded by lock. */
    _Atomic uint32_t used; // tags 1..used were given out at some time
    uint32_t free; // first free one of those, 0: none
    size_t live;
} livetab = {.lock = LOCK_INITIAL(LOCK_LIVETAB)};

static unsigned block_of(uint32_t index)
{
    return 31u - (unsigned)__builtin_clz(index / FIRST_BLOCK_SAMPLES + 1);
}

static size_t block_samples(unsigned block)
{
    return (size_t)FIRST_BLOCK_SAMPLES << block;
}

static size_t block_first(unsigned block)
{
    return block_samples(block) - FIRST_BLOCK_SAMPLES;
}

struct sample *livetab_get(uint32_t tag)
{
    uint32_t index = tag - 1;
    unsigned block = block_of(index);
    /* Acquire: pairs with the release in take_unused_locked. */
    struct sample *samples = atomic_load_explicit(&livetab.blocks[block], memory_order_acquire);
    return &samples[index - block_first(block)];
}

static uint32_t take_unused_locked(void)
{
    if (livetab.used >= LIVE_SAMPLES_MAX)
        return 0;
    unsigned block = block_of(livetab.used);
    if (atomic_load_explicit(&livetab.blocks[block], memory_order_relaxed) == NULL) {
        struct sample *samples = cost_meta_alloc(block_samples(block) * sizeof(struct sample));
        if (samples == NULL)
            return 0;
        atomic_store_explicit(&livetab.blocks[block], samples, memory_order_release);
    }
    uint32_t tag = atomic_load_explicit(&livetab.used, memory_order_relaxed) + 1;
    /* Release: pairs with the acquire in livetab_last_tag, whose caller goes to the block. */
    atomic_store_explicit(&livetab.used, tag, memory_order_release);
    return tag;
}

static uint32_t alloc_locked(void)
{
    uint32_t tag = livetab.free;
    if (tag != 0)
        livetab.free = livetab_get(tag)->next_free;
    else
        tag = take_unused_locked();
    owner_store(&livetab.live, livetab.live + (tag != 0));
    return tag;
}

uint32_t livetab_alloc(struct sample **sample)
{
    lock_acquire(&livetab.lock);
    uint32_t tag = alloc_locked();
    lock_release(&livetab.lock);
    if (tag != 0)
        *sample = livetab_get(tag);
    return tag;
}

void livetab_free(uint32_t tag)
{
    struct sample *sample = livetab_get(tag);
    lock_acquire(&livetab.lock);
    atomic_store_explicit(&sample->site, NULL, memory_order_relaxed);
    sample->next_free = livetab.free;
    livetab.free = tag;
    owner_store(&livetab.live, livetab.live - 1);
    lock_release(&livetab.lock);
}

uint32_t livetab_last_tag(void)
{
    return atomic_load_explicit(&livetab.used, memory_order_acquire);
}

/* Release: pairs with the acquire in livetab_peek. */
void livetab_publish(struct sample *sample, struct site *site)
{
    atomic_store_explicit(&sample->site, site, memory_order_release);
}

/* A record that was used anew meanwhile gives one of the two, or of both: an age among thousands.
 */
__attribute__((no_sanitize("thread"))) static void copy_stale(const struct sample *sample,
                                                              struct sample *copy)
{
    copy->weight = sample->weight;
    copy->birth_ns = sample->birth_ns;
    copy->requested_bytes = sample->requested_bytes;
}

bool livetab_peek(uint32_t tag, struct sample *copy)
{
    struct sample *sample = livetab_get(tag);
    struct site *site = atomic_load_explicit(&sample->site, memory_order_acquire);
    if (site == NULL)
        return false;
    copy_stale(sample, copy);
    atomic_store_explicit(&copy->site, site, memory_order_relaxed);
    return atomic_load_explicit(&sample->site, memory_order_relaxed) == site;
}

size_t livetab_count(void)
{
    return peek_load(&livetab.live);
}

void livetab_fork_prepare(void)
{
    lock_acquire(&livetab.lock);
}

void livetab_fork_parent(void)
{
    lock_release(&livetab.lock);
}

void livetab_fork_child(void)
{
    lock_reset(&livetab.lock);
}
