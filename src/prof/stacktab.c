#include "prof/stacktab.h"

#include <string.h>

#include "prof/cost.h"
#include "base/os.h"
#include "base/shared.h"

enum { FIRST_BUCKETS = 256, SITES_MAX = 1 << 18 };

struct table {
    size_t bucket_mask;
    struct stack *_Atomic buckets[];
};

static struct {
    struct lock lock; // adding stacks and sites; looking up needs none

    struct table *_Atomic table;
    struct site *_Atomic first_site;
    struct site *_Atomic other_sites; // of `[other]`, one for each size

    /* Written under lock, read freely. */
    size_t stack_count, site_count;
    _Atomic uint32_t freeze_epoch; // odd while frozen
    _Atomic uint32_t peak_epoch;
    uint32_t frozen_peak_epoch; // when the freeze began
    counter other_samples;
} stacktab = {.lock = LOCK_INITIAL(LOCK_STACKTAB)};

static struct table *alloc_table(size_t buckets)
{
    struct table *table = cost_meta_alloc(sizeof(*table) + buckets * sizeof(table->buckets[0]));
    if (table != NULL)
        table->bucket_mask = buckets - 1;
    return table;
}

HPM_EARLY bool stacktab_init(void)
{
    struct table *table = alloc_table(FIRST_BUCKETS);
    /* Release: pairs with the acquire in find_stack. */
    atomic_store_explicit(&stacktab.table, table, memory_order_release);
    return table != NULL;
}

/* A polynomial in an odd number, its upper bits mixed down at the end: two instructions a frame. */
static uint64_t hash_of(const uintptr_t *frames, size_t depth, enum stack_end end)
{
    uint64_t hash = depth ^ ((uint64_t)end << 32);
    for (size_t i = 0; i < depth; i++)
        hash = hash * 0xff51afd7ed558ccdu + frames[i];
    return mix_bits(hash);
}

static bool is_same(const struct stack *stack, uint64_t hash, const uintptr_t *frames, size_t depth,
                    enum stack_end end)
{
    return stack->hash == hash && stack->depth == depth && stack->end == end &&
           memcmp(stack->frames, frames, depth * sizeof(frames[0])) == 0;
}

/* May miss a stack while the table grows; the caller then looks again under the lock. */
static struct stack *find_stack(uint64_t hash, const uintptr_t *frames, size_t depth,
                                enum stack_end end)
{
    struct table *table = atomic_load_explicit(&stacktab.table, memory_order_acquire);
    if (unlikely(table == NULL))
        return NULL;
    struct stack *stack =
        atomic_load_explicit(&table->buckets[hash & table->bucket_mask], memory_order_acquire);
    while (stack != NULL && !is_same(stack, hash, frames, depth, end))
        stack = atomic_load_explicit(&stack->next, memory_order_acquire);
    return stack;
}

static void link_stack(struct table *table, struct stack *stack)
{
    struct stack *_Atomic *bucket = &table->buckets[stack->hash & table->bucket_mask];
    atomic_store_explicit(&stack->next, atomic_load_explicit(bucket, memory_order_relaxed),
                          memory_order_release);
    /* Release: pairs with the acquire in find_stack. */
    atomic_store_explicit(bucket, stack, memory_order_release);
}

/* Moves every stack to a table twice as large. The old one stays for those who still read it. */
static void grow_locked(struct table *old)
{
    struct table *table = alloc_table((old->bucket_mask + 1) * 4);
    if (table == NULL)
        return;
    for (size_t i = 0; i <= old->bucket_mask; i++) {
        struct stack *stack = atomic_load_explicit(&old->buckets[i], memory_order_relaxed);
        while (stack != NULL) {
            struct stack *next = atomic_load_explicit(&stack->next, memory_order_relaxed);
            link_stack(table, stack);
            stack = next;
        }
    }
    /* Release: pairs with the acquire in find_stack. */
    atomic_store_explicit(&stacktab.table, table, memory_order_release);
}

static struct stack *add_stack_locked(uint64_t hash, const uintptr_t *frames, size_t depth,
                                      enum stack_end end)
{
    struct table *table = atomic_load_explicit(&stacktab.table, memory_order_relaxed);
    if (table == NULL || stacktab.site_count >= SITES_MAX)
        return NULL;
    if (stacktab.stack_count > table->bucket_mask) {
        grow_locked(table);
        table = atomic_load_explicit(&stacktab.table, memory_order_relaxed);
    }
    struct stack *stack = cost_meta_alloc(sizeof(*stack) + depth * sizeof(frames[0]));
    if (stack == NULL)
        return NULL;
    stack->hash = hash;
    stack->number = (uint32_t)stacktab.stack_count + 1;
    stack->depth = (uint16_t)depth;
    stack->end = (uint8_t)end;
    memcpy(stack->frames, frames, depth * sizeof(frames[0]));
    link_stack(table, stack);
    owner_store(&stacktab.stack_count, stacktab.stack_count + 1);
    return stack;
}

static struct site *find_site(struct site *_Atomic *list, size_t object_bytes,
                              const struct label_set *labels)
{
    struct site *site = atomic_load_explicit(list, memory_order_acquire);
    while (site != NULL && (site->object_bytes != object_bytes || site->labels != labels))
        site = site->next;
    return site;
}

static struct site *add_site_locked(struct site *_Atomic *list, const struct stack *stack,
                                    size_t object_bytes, const struct label_set *labels)
{
    if (stack != NULL && stacktab.site_count >= SITES_MAX)
        return NULL;
    struct site *site = cost_meta_alloc(sizeof(*site));
    if (site == NULL)
        return NULL;
    site->lock = (struct lock)LOCK_INITIAL(LOCK_STACKTAB);
    site->stack = stack;
    site->object_bytes = object_bytes;
    site->labels = labels;
    site->next = atomic_load_explicit(list, memory_order_relaxed);
    site->next_site = atomic_load_explicit(&stacktab.first_site, memory_order_relaxed);
    /* Release: pairs with the acquires in find_site and stacktab_first_site. */
    atomic_store_explicit(list, site, memory_order_release);
    atomic_store_explicit(&stacktab.first_site, site, memory_order_release);
    owner_store(&stacktab.site_count, stacktab.site_count + 1);
    return site;
}

static struct site *intern_other_locked(size_t object_bytes)
{
    struct site *site = find_site(&stacktab.other_sites, object_bytes, NULL);
    return site != NULL ? site : add_site_locked(&stacktab.other_sites, NULL, object_bytes, NULL);
}

struct site *stacktab_intern_other(size_t object_bytes)
{
    lock_acquire(&stacktab.lock);
    struct site *site = intern_other_locked(object_bytes);
    lock_release(&stacktab.lock);
    return site;
}

static struct site *intern_locked(uint64_t hash, const uintptr_t *frames, size_t depth,
                                  enum stack_end end, size_t object_bytes,
                                  const struct label_set *labels)
{
    struct stack *stack = find_stack(hash, frames, depth, end);
    if (stack == NULL)
        stack = add_stack_locked(hash, frames, depth, end);
    struct site *site = NULL;
    if (stack != NULL) {
        site = find_site(&stack->sites, object_bytes, labels);
        if (site == NULL)
            site = add_site_locked(&stack->sites, stack, object_bytes, labels);
    }
    if (site != NULL)
        return site;
    counter_add(&stacktab.other_samples, 1);
    return intern_other_locked(object_bytes);
}

struct site *stacktab_intern(const uintptr_t *frames, size_t depth, enum stack_end end,
                             size_t object_bytes, const struct label_set *labels)
{
    uint64_t hash = hash_of(frames, depth, end);
    struct stack *stack = find_stack(hash, frames, depth, end);
    if (stack != NULL) {
        struct site *site = find_site(&stack->sites, object_bytes, labels);
        if (site != NULL)
            return site;
    }
    lock_acquire(&stacktab.lock);
    struct site *site = intern_locked(hash, frames, depth, end, object_bytes, labels);
    lock_release(&stacktab.lock);
    return site;
}

static double at_least_zero(double x)
{
    return x > 0 ? x : 0;
}

/* Sums of weights that do not divide evenly must still end at nothing. */
struct sums stacktab_live_sums(const struct site_counts *counts)
{
    const struct sums *alloc = &counts->alloc, *freed = &counts->freed;
    if (alloc->samples == freed->samples)
        return (struct sums){0};
    return (struct sums){
        .objects = at_least_zero(alloc->objects - freed->objects),
        .variance = at_least_zero(alloc->variance - freed->variance),
        .requested_bytes = at_least_zero(alloc->requested_bytes - freed->requested_bytes),
        .samples = alloc->samples - freed->samples,
    };
}

static struct site_counts counts_locked(const struct site *site)
{
    struct site_counts counts = {.alloc = site->alloc, .peak = site->peak};
    if (site->past != NULL) {
        counts.freed = site->past->freed;
        counts.freed_seconds = site->past->lifetimes.seconds;
    }
    return counts;
}

/* The counts, with what was live at a peak: if nothing has changed since, that is what is live now.
 */
static struct site_counts counts_at_locked(const struct site *site, uint32_t peak_epoch)
{
    struct site_counts counts = counts_locked(site);
    if ((int32_t)(site->peak_epoch - peak_epoch) < 0)
        counts.peak = stacktab_live_sums(&counts);
    return counts;
}

static struct site_past *past_locked(struct site *site)
{
    if (site->past == NULL)
        site->past = cost_meta_alloc(sizeof(*site->past));
    return site->past;
}

/* In a freeze keeps the counts of its beginning. Without memory for it the freeze shows later ones.
 */
static void keep_frozen_locked(struct site *site)
{
    /* Acquire: pairs with the release in stacktab_freeze. */
    uint32_t epoch = atomic_load_explicit(&stacktab.freeze_epoch, memory_order_acquire);
    if (likely(epoch % 2 == 0))
        return;
    struct site_past *past = past_locked(site);
    if (past != NULL && past->frozen_epoch != epoch) {
        past->frozen = counts_at_locked(site, peek_load(&stacktab.frozen_peak_epoch));
        past->frozen_epoch = epoch;
    }
}

/* For a change: what was live at the peak is kept, if the peak is since the last one. */
static void acquire_site_to_count(struct site *site)
{
    lock_acquire(&site->lock);
    keep_frozen_locked(site);
    uint32_t epoch = atomic_load_explicit(&stacktab.peak_epoch, memory_order_relaxed);
    if (site->peak_epoch != epoch) {
        struct site_counts counts = counts_locked(site);
        site->peak = stacktab_live_sums(&counts);
        site->peak_epoch = epoch;
    }
}

void stacktab_mark_peak(void)
{
    atomic_fetch_add_explicit(&stacktab.peak_epoch, 1, memory_order_relaxed);
}

uint32_t stacktab_peak_epoch(void)
{
    return atomic_load_explicit(&stacktab.peak_epoch, memory_order_relaxed);
}

static void copy_to_mirror(const struct site *site)
{
    struct site_mirror *mirror = site->mirror != 0 ? shared_at(site->mirror) : NULL;
    if (mirror == NULL)
        return;
    mirror->counts = counts_locked(site);
    mirror->peak_epoch = site->peak_epoch;
    if (site->past != NULL)
        mirror->lifetimes = site->past->lifetimes;
}

static void release_site_counted(struct site *site)
{
    copy_to_mirror(site);
    lock_release(&site->lock);
}

static void add_sums(struct sums *sum, const struct sums *sums)
{
    sum->objects += sums->objects;
    sum->variance += sums->variance;
    sum->requested_bytes += sums->requested_bytes;
    sum->samples += sums->samples;
}

bool stacktab_add(struct site *site, const struct site_counts *counts,
                  const struct lifetimes *lifetimes)
{
    lock_acquire(&site->lock);
    struct site_past *past = past_locked(site);
    if (past != NULL) {
        add_sums(&site->alloc, &counts->alloc);
        add_sums(&site->peak, &counts->peak);
        add_sums(&past->freed, &counts->freed);
        lifetimes_add(&past->lifetimes, lifetimes);
    }
    lock_release(&site->lock);
    return past != NULL;
}

void stacktab_set_mirror(struct site *site, uint32_t mirror)
{
    lock_acquire(&site->lock);
    owner_store(&site->mirror, mirror);
    copy_to_mirror(site);
    lock_release(&site->lock);
}

static void add_sample(struct sums *sums, double weight, size_t requested_bytes)
{
    sums->objects += weight;
    sums->variance += weight * (weight - 1);
    sums->requested_bytes += weight * (double)requested_bytes;
    sums->samples++;
}

void stacktab_charge(struct site *site, double weight, size_t requested_bytes)
{
    acquire_site_to_count(site);
    add_sample(&site->alloc, weight, requested_bytes);
    release_site_counted(site);
}

void stacktab_lifetimes(const struct stack *stack, struct lifetimes *sum)
{
    struct site *site = atomic_load_explicit(stack != NULL ? &stack->sites : &stacktab.other_sites,
                                             memory_order_acquire);
    *sum = (struct lifetimes){0};
    for (; site != NULL; site = site->next) {
        lock_acquire(&site->lock);
        if (site->past != NULL)
            lifetimes_add(sum, &site->past->lifetimes);
        lock_release(&site->lock);
    }
}

/* Without memory to count what was freed it never was: what is live stays right. */
static void take_back(struct sums *sums, double weight, size_t requested_bytes)
{
    sums->objects -= weight;
    sums->variance -= weight * (weight - 1);
    sums->requested_bytes -= weight * (double)requested_bytes;
    sums->samples--;
}

void stacktab_discharge(struct site *site, double weight, size_t requested_bytes, uint64_t age_ns)
{
    acquire_site_to_count(site);
    struct site_past *past = past_locked(site);
    if (past != NULL) {
        add_sample(&past->freed, weight, requested_bytes);
        lifetimes_count(&past->lifetimes, weight, age_ns);
    } else {
        take_back(&site->alloc, weight, requested_bytes);
    }
    release_site_counted(site);
}

void stacktab_freeze(void)
{
    owner_store(&stacktab.frozen_peak_epoch,
                atomic_load_explicit(&stacktab.peak_epoch, memory_order_relaxed));
    atomic_fetch_add_explicit(&stacktab.freeze_epoch, 1, memory_order_release);
}

void stacktab_thaw(void)
{
    atomic_fetch_add_explicit(&stacktab.freeze_epoch, 1, memory_order_release);
}

struct site_counts stacktab_frozen_counts(struct site *site)
{
    lock_acquire(&site->lock);
    const struct site_past *past = site->past;
    uint32_t epoch = atomic_load_explicit(&stacktab.freeze_epoch, memory_order_relaxed);
    struct site_counts counts = past != NULL && past->frozen_epoch == epoch
                                    ? past->frozen
                                    : counts_at_locked(site, stacktab.frozen_peak_epoch);
    lock_release(&site->lock);
    return counts;
}

struct site *stacktab_first_site(void)
{
    return atomic_load_explicit(&stacktab.first_site, memory_order_acquire);
}

size_t stacktab_stack_count(void)
{
    return peek_load(&stacktab.stack_count);
}

size_t stacktab_site_count(void)
{
    return peek_load(&stacktab.site_count);
}

uint64_t stacktab_other_count(void)
{
    return counter_get(&stacktab.other_samples);
}

void stacktab_fork_prepare(void)
{
    lock_acquire(&stacktab.lock);
}

void stacktab_fork_parent(void)
{
    lock_release(&stacktab.lock);
}

/* Threads that were inside a site are gone: their sites' locks are freed by hand. Pages without one
 * are only read, so that they stay shared with the parent. */
void stacktab_fork_child(void)
{
    lock_reset(&stacktab.lock);
    for (struct site *site = stacktab_first_site(); site != NULL; site = site->next_site) {
        if (atomic_load_explicit(&site->lock.state, memory_order_relaxed) != LOCK_FREE)
            atomic_store_explicit(&site->lock.state, LOCK_FREE, memory_order_relaxed);
    }
    uint32_t epoch = atomic_load_explicit(&stacktab.freeze_epoch, memory_order_relaxed);
    atomic_store_explicit(&stacktab.freeze_epoch, (epoch + 1) & ~1u, memory_order_relaxed);
}
