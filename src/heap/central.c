#include "heap/central.h"

#include "base/lock.h"
#include "base/meta.h"
#include "base/os.h"
#include "base/print.h"
#include "heap/pageheap.h"
#include "heap/pagemap.h"

/* As many for all threads, at most, as for single ones. */
enum { SHARDS_MAX = 256, KIND_MAX = SHARDS_MAX / 2 };

#define PRIVATE_PER_BYTES MiB

struct shard {
    struct lock lock;
    uint8_t number;
    bool is_private;       // for one thread at a time
    uint32_t thread_count; // guarded by shards.lock; peeked at without

    /* Guarded by lock; the parts that are set up before first use. */
    struct store stores[SIZECLASS_COUNT];
} HPM_LINE_ALIGNED;

struct shard central_first = {.lock = LOCK_INITIAL(LOCK_CENTRAL)};

static struct {
    struct lock lock;

    /* Guarded by lock; shards stay for ever, and these may be read without. */
    struct shard *_Atomic more[SHARDS_MAX]; // [0] is central_first and not here
    _Atomic unsigned more_count;
    _Atomic uint8_t common[KIND_MAX]; // the numbers of those that are not private; [0] is 0
    _Atomic unsigned more_common;

    /* Guarded by lock. */
    unsigned limit;           // 0: not known yet
    unsigned moved_threads;   // in common shards other than central_first
    unsigned private_threads; // in private ones; peeked at without the lock, like the next
    unsigned private_trials;  // how often the number that may try it was doubled
    unsigned failed_trials;   // second ones; halved by one that went well
    bool has_first_thread;
    bool are_crowded; // more threads than common shards; read without the lock
} shards = {.lock = LOCK_INITIAL(LOCK_SHARDS)};

unsigned central_shard_count(void)
{
    /* Acquire: pairs with the release in add_shard_locked. */
    return 1 + atomic_load_explicit(&shards.more_count, memory_order_acquire);
}

static struct shard *shard_at(unsigned number)
{
    return number == 0 ? &central_first
                       : atomic_load_explicit(&shards.more[number], memory_order_relaxed);
}

static unsigned common_count(void)
{
    /* Acquire: pairs with the release in add_shard_locked. */
    return 1 + atomic_load_explicit(&shards.more_common, memory_order_acquire);
}

static struct shard *add_shard_locked(bool is_private)
{
    unsigned number = central_shard_count();
    struct shard *shard = meta_alloc(sizeof(*shard));
    if (shard == NULL)
        return NULL;
    shard->lock = (struct lock)LOCK_INITIAL(LOCK_CENTRAL);
    shard->number = (uint8_t)number;
    shard->is_private = is_private;
    atomic_store_explicit(&shards.more[number], shard, memory_order_relaxed);
    /* Release: pairs with the acquire in central_shard_count. */
    atomic_store_explicit(&shards.more_count, number, memory_order_release);
    if (!is_private) {
        unsigned common = common_count();
        atomic_store_explicit(&shards.common[common], (uint8_t)number, memory_order_relaxed);
        /* Release: pairs with the acquire in common_count. */
        atomic_store_explicit(&shards.more_common, common, memory_order_release);
    }
    return shard;
}

static unsigned limit_locked(void)
{
    if (shards.limit == 0)
        shards.limit = (unsigned)min_size(KIND_MAX, os_cpu_count());
    return shards.limit;
}

/* The shard with the fewest threads of those of a kind that are added, or NULL. */
static struct shard *least_used_locked(bool is_private)
{
    struct shard *least = NULL;
    for (unsigned number = 1; number < central_shard_count(); number++) {
        struct shard *shard = shard_at(number);
        if (shard->is_private == is_private &&
            (least == NULL || shard->thread_count < least->thread_count))
            least = shard;
    }
    return least;
}

/* A shard costs some hundred KiB, half a slab of each class: not more of them than a good part of
 * all memory pays for. And whether threads of this program free what they allocated, two of them
 * have to show first, then twice as many as have shown it. */
static bool has_private_left(void)
{
    size_t paid = min_size(KIND_MAX, pageheap_mapped_bytes() / PRIVATE_PER_BYTES);
    size_t limit = min_size(paid, (size_t)2 << peek_load(&shards.private_trials));
    return peek_load(&shards.private_threads) < limit;
}

/* NULL: the thread is to stay where it is. */
static struct shard *free_shard_locked(bool is_private)
{
    if (is_private && !has_private_left())
        return NULL;
    struct shard *shard = least_used_locked(is_private);
    if (shard != NULL && shard->thread_count == 0)
        return shard;
    bool has_room = is_private ? central_shard_count() - common_count() < KIND_MAX
                               : common_count() < limit_locked();
    struct shard *added = has_room ? add_shard_locked(is_private) : NULL;
    return added != NULL || is_private ? added : shard;
}

/* All but the first thread may be in added shards. Those in private ones crowd nobody. */
static void count_thread_locked(struct shard *shard, unsigned change)
{
    owner_store(&shard->thread_count, shard->thread_count + change);
    if (shard->is_private)
        owner_store(&shards.private_threads, shards.private_threads + change);
    else if (shard != &central_first)
        shards.moved_threads += change;
    owner_store(&shards.are_crowded, shards.moved_threads + 1 > common_count());
}

struct shard *central_join(bool *may_move)
{
    lock_acquire(&shards.lock);
    *may_move = shards.has_first_thread;
    shards.has_first_thread = true;
    count_thread_locked(&central_first, 1);
    lock_release(&shards.lock);
    return &central_first;
}

/* A thread that there is no private one for asks again and again, and mostly without the lock. */
bool central_move(struct shard **shard, bool to_private)
{
    if (to_private && !has_private_left())
        return false;
    lock_acquire(&shards.lock);
    struct shard *other = free_shard_locked(to_private);
    if (other != NULL) {
        count_thread_locked(*shard, -1u);
        count_thread_locked(other, 1);
        *shard = other;
    }
    lock_release(&shards.lock);
    return other != NULL;
}

/* By how much private_trials changes. */
static int judgement(bool is_good)
{
    enum { TRIALS_MAX = 7 }; // all of KIND_MAX, and as far from none as can be unlearned
    unsigned trials = peek_load(&shards.private_trials);
    if (!is_good)
        return trials > 0 ? -1 : 0;
    return trials < TRIALS_MAX && 2 * peek_load(&shards.private_threads) >= (2u << trials);
}

/* Nothing changes, mostly, and then the lock is not wanted. */
void central_judge_private(bool is_good, bool is_second_trial)
{
    if (judgement(is_good) == 0 && !is_second_trial)
        return;
    lock_acquire(&shards.lock);
    owner_store(&shards.private_trials, shards.private_trials + (unsigned)judgement(is_good));
    if (is_second_trial)
        owner_store(&shards.failed_trials,
                    is_good ? shards.failed_trials / 2 : shards.failed_trials + 1);
    lock_release(&shards.lock);
}

bool central_may_try_again(uint32_t visits)
{
    enum { VISITS_SHIFT = 10 };
    unsigned failed = peek_load(&shards.failed_trials);
    return failed < 32 - VISITS_SHIFT && visits >> VISITS_SHIFT >> failed != 0;
}

void central_leave(struct shard *shard)
{
    lock_acquire(&shards.lock);
    count_thread_locked(shard, -1u);
    lock_release(&shards.lock);
}

struct shard *central_local(struct shard *shard)
{
    if (likely(!peek_load(&shards.are_crowded)) || shard->is_private)
        return shard;
    unsigned common = os_cpu() % common_count();
    return shard_at(atomic_load_explicit(&shards.common[common], memory_order_relaxed));
}

bool central_is_away(const struct shard *shard, const struct object *object)
{
    const struct span *slab = pagemap_find(object);
    return slab != NULL && peek_load(&slab->shard) != shard->number;
}

static struct store *acquire(struct shard *shard, unsigned class)
{
    struct store *store = &shard->stores[class];
    lock_acquire(&shard->lock);
    if (unlikely(store->class == SIZECLASS_NONE))
        store_init(store, class, shard->number);
    return store;
}

/* Locks the shard that the slab belongs to, which may change until then. */
static struct shard *acquire_home(const struct span *slab)
{
    for (;;) {
        struct shard *home = shard_at(peek_load(&slab->shard));
        lock_acquire(&home->lock);
        if (likely(home->number == peek_load(&slab->shard)))
            return home;
        lock_release(&home->lock);
    }
}

/* Of a shard that is a thread's own only a slab with hardly anything in use: what lies in it would
 * come to lie among another's objects. */
static unsigned fills_to_adopt(const struct shard *other)
{
    return other->is_private && peek_load(&other->thread_count) != 0 ? 1 : SLAB_FILLS / 2;
}

/* Takes over a slab with much to give from another shard, if one is not busy and has any. */
static bool adopt_slab_locked(struct shard *shard, unsigned class)
{
    struct span *slab = NULL;
    unsigned count = central_shard_count();
    for (unsigned i = 1; i < count && slab == NULL; i++) {
        struct shard *other = shard_at((shard->number + i) % count);
        if (peek_load(&other->stores[class].used_fills) == 0 || !lock_try(&other->lock))
            continue;
        slab = store_give_slab(&other->stores[class], fills_to_adopt(other));
        if (slab != NULL)
            store_adopt_slab(&shard->stores[class], slab);
        lock_release(&other->lock);
    }
    return slab != NULL;
}

/* From a slab of another shard, or a new one. */
static HPM_NOINLINE struct batch take_elsewhere_locked(struct shard *shard, unsigned class,
                                                       size_t count)
{
    struct store *store = &shard->stores[class];
    if (adopt_slab_locked(shard, class) || store_grow(store))
        return store_take(store, count);
    return (struct batch){NULL, 0};
}

struct batch central_take(struct shard *shard, unsigned class, size_t count)
{
    struct batch batch = store_take(acquire(shard, class), count);
    if (unlikely(batch.count == 0))
        batch = take_elsewhere_locked(shard, class, count);
    lock_release(&shard->lock);
    return batch;
}

size_t central_reserve_count(const struct shard *shard, unsigned class)
{
    return store_reserve_count(&shard->stores[class]) /
           max_size(peek_load(&shard->thread_count), 1);
}

/* The slab of an object on its way back; dies when it is none of the class. */
static struct span *slab_of_object(const struct object *object, unsigned class)
{
    struct span *slab = pagemap_find(object);
    if (unlikely(slab == NULL || slab->kind != SPAN_SLAB || slab->class != class))
        die("free list of objects of %zu bytes leads to %p, which is none: "
            "a freed object was written to, or a foreign one freed",
            sizeclass_bytes(class), (const void *)object);
    return slab;
}

void central_check(const struct object *object, unsigned class)
{
    slab_index_get(slab_of_object(object, class), object);
}

void central_check_freed(const struct object *object, unsigned class)
{
    central_check(object, class);
    if (unlikely(object->mark != OBJECT_FREED_MARK))
        slab_die_of_write(object, class);
}

/* The first object that occurs again. */
static const struct object *listed_twice(struct batch batch)
{
    const struct object *at = batch.head;
    for (; batch.count > 1; at = batch.head) {
        batch = (struct batch){at->next, batch.count - 1};
        if (batch_holds(batch, at))
            return at;
    }
    return at;
}

/* An object that is on the list twice makes it a ring. */
void central_check_list(struct batch batch, unsigned class)
{
    const struct object *at = batch.head;
    for (size_t i = 0; i < batch.count; i++, at = at->next)
        central_check_freed(at, class);
    if (unlikely(at != NULL))
        slab_die_of_double_free(listed_twice(batch), class);
}

static void check_lists(struct shard *shard)
{
    if (!lock_try(&shard->lock))
        return;
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++) {
        const struct store *store = &shard->stores[class];
        for (uint32_t i = 0; i < store->list_count; i++)
            central_check_list(store->lists[i], class);
    }
    lock_release(&shard->lock);
}

void central_check_kept(void)
{
    for (unsigned number = 0; number < central_shard_count(); number++)
        check_lists(shard_at(number));
}

/* What follows the last object of a list. */
static HPM_COLD void refuse_more(const struct object *object, unsigned class)
{
    slab_of_object(object, class);
    die("free list of objects of %zu bytes goes on after its end with %p: "
        "a freed object was written to",
        sizeclass_bytes(class), (const void *)object);
}

/* Neighbours in a list mostly have one home, and often one slab. */
void central_return(unsigned class, struct batch batch)
{
    const struct sizeclass *const row = &sizeclass_table[class];
    while (batch.count > 0) {
        struct span *slab = slab_of_object(batch.head, class);
        struct shard *home = acquire_home(slab);
        if (unlikely(slab_of_object(batch.head, class) != slab)) { // freed twice, it went meanwhile
            lock_release(&home->lock);
            continue;
        }
        do {
            batch.count -= store_put(&home->stores[class], row, slab, &batch.head, batch.count);
            if (batch.count > 0)
                slab = slab_of_object(batch.head, class);
        } while (batch.count > 0 && peek_load(&slab->shard) == home->number);
        lock_release(&home->lock);
    }
    if (unlikely(batch.head != NULL))
        refuse_more(batch.head, class);
}

void central_put(unsigned class, struct batch batch)
{
    if (batch.count == 0)
        return;
    struct shard *home = shard_at(peek_load(&slab_of_object(batch.head, class)->shard));
    bool is_kept = store_keep(acquire(home, class), batch);
    lock_release(&home->lock);
    if (!is_kept)
        central_return(class, batch);
}

static void return_lists(unsigned class, const struct batch *lists, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        central_return(class, lists[i]);
}

void central_tend(struct shard *shard, unsigned class)
{
    struct batch lists[STORE_LISTS_MAX];
    if (peek_load(&shard->stores[class].class) == SIZECLASS_NONE)
        return;
    unsigned count = store_tend(acquire(shard, class), lists);
    lock_release(&shard->lock);
    return_lists(class, lists, count);
}

void central_tend_deserted(unsigned class, unsigned round)
{
    struct shard *shard = shard_at(round % central_shard_count());
    if (peek_load(&shard->thread_count) == 0)
        central_tend(shard, class);
}

static void drain_lists(struct shard *shard, unsigned class)
{
    struct batch lists[STORE_LISTS_MAX];
    unsigned count = store_give_up(acquire(shard, class), STORE_LISTS_MAX, lists);
    lock_release(&shard->lock);
    return_lists(class, lists, count);
}

/* Lists lead to slabs of other shards, so slabs come last. */
void central_drain(unsigned class)
{
    for (unsigned number = 0; number < central_shard_count(); number++)
        drain_lists(shard_at(number), class);
    for (unsigned number = 0; number < central_shard_count(); number++) {
        struct shard *shard = shard_at(number);
        store_trim(acquire(shard, class));
        lock_release(&shard->lock);
    }
}

void *central_take_tagged(struct shard *shard, unsigned class, uint32_t tag)
{
    void *object = store_take_tagged(acquire(shard, class), tag);
    lock_release(&shard->lock);
    return object;
}

uint32_t central_tag_get(const struct span *slab, const void *object)
{
    return slab->tags[slab_index_get(slab, object)];
}

void central_put_tagged(struct span *slab, void *object)
{
    struct shard *home = acquire_home(slab);
    store_put_tagged(&home->stores[slab->class], slab, object);
    lock_release(&home->lock);
}

static bool lists_hold(struct shard *shard, unsigned class, const void *object)
{
    bool holds = store_lists_hold(acquire(shard, class), object);
    lock_release(&shard->lock);
    return holds;
}

bool central_holds(struct span *slab, const void *object)
{
    unsigned class = slab->class;
    struct shard *home = acquire_home(slab);
    bool holds = slab_holds(slab, object);
    lock_release(&home->lock);
    bool may_be_listed = slab->kind == SPAN_SLAB;
    for (unsigned number = 0; !holds && may_be_listed && number < central_shard_count(); number++)
        holds = lists_hold(shard_at(number), class, object);
    return holds;
}

static void add_stats(struct shard *shard, unsigned class, struct central_stats *stats)
{
    const struct store *store = acquire(shard, class);
    stats->slab_count += store->slab_count;
    stats->out_objects += store->out_objects;
    stats->list_objects += store->list_objects;
    stats->tagged_out_objects += store->tagged_out_objects;
    lock_release(&shard->lock);
}

void central_stats_get(unsigned class, struct central_stats *stats)
{
    *stats = (struct central_stats){0};
    for (unsigned number = 0; number < central_shard_count(); number++)
        add_stats(shard_at(number), class, stats);
    stats->slab_bytes = stats->slab_count * bytes_of_pages(sizeclass_table[class].slab_pages);
}

void central_fork_prepare(void)
{
    lock_acquire(&shards.lock);
    for (unsigned number = 0; number < central_shard_count(); number++)
        lock_acquire(&shard_at(number)->lock);
}

void central_fork_parent(void)
{
    for (unsigned number = central_shard_count(); number-- > 0;)
        lock_release(&shard_at(number)->lock);
    lock_release(&shards.lock);
}

void central_fork_child(void)
{
    for (unsigned number = central_shard_count(); number-- > 0;)
        lock_reset(&shard_at(number)->lock);
    lock_reset(&shards.lock);
}
