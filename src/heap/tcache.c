#include "heap/tcache.h"

#include "base/lock.h"
#include "base/print.h"
#include "heap/pagemap.h"

enum { POP_WALK_MAX = 4 * SLAB_OBJECTS_MAX };

struct tcache tcache_none = {.shard = &central_first};
HPM_TLS struct tcache *tcache_self = &tcache_none;

static struct {
    struct lock lock;

    /* Guarded by lock. */
    struct list owned, orphaned; // unset until first use
    size_t count;
} registry = {.lock = LOCK_INITIAL(LOCK_REGISTRY)};

static void acquire_registry(void)
{
    lock_acquire(&registry.lock);
    if (registry.owned.next == NULL) {
        list_init(&registry.owned);
        list_init(&registry.orphaned);
    }
}

void tcache_init(struct tcache *cache)
{
    cache->shard = central_join(&cache->may_move);
    tcache_unset_allowances(cache);
    acquire_registry();
    list_push(&registry.owned, &cache->link);
    owner_store(&registry.count, registry.count + 1);
    lock_release(&registry.lock);
}

/* The owner may have vanished between taking room and pushing: the chain counts. */
static void recount_pushed(struct tcache *cache)
{
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++) {
        struct tcache_list *list = &cache->lists[class];
        list->room = list->capacity;
        const struct object *at = list->push;
        for (int i = 0; at != NULL && i < POP_WALK_MAX; i++, at = at->next)
            list->room--;
    }
}

struct tcache *tcache_adopt(void)
{
    struct tcache *cache = NULL;
    if (peek_load(&registry.orphaned.next) == &registry.orphaned)
        return NULL;
    acquire_registry();
    if (!list_is_empty(&registry.orphaned)) {
        struct list *node = registry.orphaned.next;
        list_take(node);
        list_push(&registry.owned, node);
        cache = list_entry(node, struct tcache, link);
    }
    lock_release(&registry.lock);
    if (cache != NULL)
        recount_pushed(cache);
    return cache;
}

static size_t pushed_count(const struct tcache_list *list)
{
    return (size_t)(list->capacity - list->room);
}

static void set_capacity(struct tcache_list *list, int32_t capacity)
{
    int32_t room = list->room + capacity - list->capacity;
    owner_store(&list->capacity, capacity);
    owner_store(&list->room, room);
}

/* First use sets a small capacity, later ones double it, up to a thread's part of what is worth
 * keeping for the class: a thread that does little holds little. */
static void grow_capacity(struct tcache *cache, unsigned class)
{
    const struct sizeclass *c = &sizeclass_table[class];
    struct tcache_list *list = &cache->lists[class];
    size_t limit =
        min_size(c->batch_max, c->batch_first + central_reserve_count(cache->shard, class));
    size_t wanted = list->capacity == 0 ? c->batch_first : 2 * (size_t)list->capacity;
    set_capacity(list, (int32_t)min_size(wanted, limit));
}

/* Empties the push list before anyone else holds its objects. */
static struct batch take_pushed(struct tcache_list *list)
{
    struct batch batch = {owner_load(&list->push), pushed_count(list)};
    owner_store(&list->push, NULL);
    owner_store(&list->room, list->capacity);
    atomic_signal_fence(memory_order_seq_cst);
    return batch;
}

/* Keeps the first `count` objects in the batch and returns the others. */
static struct batch cut(struct batch *batch, size_t count)
{
    struct object *last = batch->head;
    for (size_t i = 1; i < count; i++)
        last = last->next;
    struct batch rest = {last->next, batch->count - count};
    last->next = NULL;
    batch->count = count;
    return rest;
}

/* What a thread took and did not give back, and whose it is that it gives back, decide where it
 * takes more. */
static void put_back(struct tcache *cache, unsigned class, struct batch batch)
{
    cache->held_bytes -= (int64_t)(batch.count * sizeclass_bytes(class));
    if (cache->is_alone && batch.head != NULL) {
        if (++cache->put_lists > 0)
            cache->away_lists += central_is_away(cache->shard, batch.head);
    }
    central_put(class, batch);
}

static void keep_rest(struct tcache *cache, unsigned class, struct batch rest)
{
    struct tcache_list *list = &cache->lists[class];
    if (pushed_count(list) != 0) {
        put_back(cache, class, rest);
        return;
    }
    owner_store(&list->push, rest.head);
    owner_store(&list->room, list->capacity - (int32_t)rest.count);
}

static struct batch take_popped(struct tcache_list *list)
{
    struct batch batch = {list->pop, 0};
    owner_store(&list->pop, NULL);
    for (struct object *at = batch.head; at != NULL; at = at->next)
        batch.count++;
    return batch;
}

/* What the list held is allowed again, for it was not handed out. */
static void give_up(struct tcache *cache, unsigned class)
{
    struct tcache_list *list = &cache->lists[class];
    struct batch popped = take_popped(list), pushed = take_pushed(list);
    if (list->allowance != TCACHE_UNSET)
        list->allowance += (int64_t)popped.count;
    cache->held_bytes -= (int64_t)((popped.count + pushed.count) * sizeclass_bytes(class));
    central_return(class, popped);
    central_return(class, pushed);
    set_capacity(list, 0);
}

void tcache_unset_allowances(struct tcache *cache)
{
    for (unsigned class = 0; class < SIZECLASS_COUNT; class++) {
        struct tcache_list *list = &cache->lists[class];
        if (list->pop != NULL)
            give_up(cache, class);
        list->allowance = TCACHE_UNSET;
    }
}

/* What goes from hand to hand is best handed on in a shard that threads share: once most of what a
 * thread frees is not from its own shard, it goes back. */
static void judge_place(struct tcache *cache)
{
    bool is_good = cache->away_lists * 2 <= cache->put_lists;
    central_judge_private(is_good, cache->is_second_trial);
    cache->is_second_trial = false;
    if (!is_good) {
        cache->is_alone = false;
        central_move(&cache->shard, false);
    }
    cache->put_lists = cache->away_lists = 0;
}

/* One that holds something moves to a shard of its own. A thread that inherits what another
 * allocated frees that first, and loses its shard: it tries again later, and then its first lists
 * do not count. */
static void try_alone(struct tcache *cache)
{
    enum { BYTES_TO_BE_ALONE = 32 << 10, LISTS_INHERITED = 256 };
    bool may_try = cache->was_alone ? central_may_try_again(cache->visit_count)
                                    : cache->held_bytes >= BYTES_TO_BE_ALONE;
    if (!may_try || !central_move(&cache->shard, true))
        return;
    cache->is_second_trial = cache->was_alone;
    cache->put_lists = cache->was_alone ? -LISTS_INHERITED : 0;
    cache->away_lists = 0;
    cache->is_alone = cache->was_alone = true;
}

/* A thread that allocates much moves to a shard with few others. */
static void find_place(struct tcache *cache)
{
    enum { VISITS_TO_MOVE = 2048, LISTS_TO_JUDGE = 16 };
    if (cache->visit_count == VISITS_TO_MOVE && !cache->is_alone)
        central_move(&cache->shard, false);
    if (!cache->is_alone)
        try_alone(cache);
    else if (cache->put_lists >= LISTS_TO_JUDGE)
        judge_place(cache);
}

/* Looks at one class now and then. One that has seen neither malloc nor free since the last look
 * gives back what it holds: a few objects here would keep as many slabs. Rest for about a thousand
 * visits to the slow path is what counts as idle. */
static void tend(struct tcache *cache)
{
    enum { VISITS_PER_LOOK = 8 };
    if (likely(++cache->visit_count % VISITS_PER_LOOK != 0))
        return;
    if (cache->may_move)
        find_place(cache);
    unsigned class = cache->looks % (SIZECLASS_COUNT - 1) + 1;
    unsigned round = cache->looks++ / (SIZECLASS_COUNT - 1);
    struct tcache_list *list = &cache->lists[class];
    uintptr_t now = (uintptr_t)list->pop ^ ((uintptr_t)list->push << 1) ^ (uint32_t)list->room;
    if (now == cache->seen[class]) {
        if (list->capacity != 0)
            give_up(cache, class);
        central_tend(cache->shard, class);
    }
    cache->seen[class] = now;
    central_tend_deserted(class, round);
}

/* A list from outside, or the push list however short when there is none. */
static HPM_NOINLINE struct batch fetch_batch(struct tcache *cache, unsigned class)
{
    struct tcache_list *list = &cache->lists[class];
    if (list->capacity == 0)
        grow_capacity(cache, class);
    struct batch batch = central_take(central_local(cache->shard), class, (size_t)list->capacity);
    cache->held_bytes += (int64_t)(batch.count * sizeclass_bytes(class));
    if (batch.count == 0 && pushed_count(list) != 0)
        batch = take_pushed(list);
    grow_capacity(cache, class);
    return batch;
}

void *tcache_refill(struct tcache *cache, unsigned class)
{
    struct tcache_list *list = &cache->lists[class];
    tend(cache);
    bool is_worth_it = list->push != NULL && pushed_count(list) * 2 >= (size_t)list->capacity;
    if (list->push != NULL && unlikely(list->push->mark != OBJECT_FREED_MARK))
        tcache_check_pushed(list, class);
    struct batch batch = is_worth_it ? take_pushed(list) : fetch_batch(cache, class);
    if (unlikely(batch.count == 0))
        return NULL;
    if (unlikely(batch.count > (uint64_t)list->allowance))
        keep_rest(cache, class, cut(&batch, (size_t)list->allowance));
    list->allowance -= (int64_t)batch.count;
    owner_store(&list->pop, batch.head->next);
    batch.head->mark = 0;
    return batch.head;
}

void tcache_push_slow(struct tcache *cache, unsigned class, struct object *object)
{
    struct tcache_list *list = &cache->lists[class];
    owner_store(&list->room, list->room + 1);
    tend(cache);
    grow_capacity(cache, class);
    if (list->room <= 0)
        put_back(cache, class, take_pushed(list));
    owner_store(&list->room, list->room - 1);
    tcache_push(list, object);
}

/* The first one by its slab's record, the others by the page map's byte: what is none of the class
 * has another, or its slab refuses it. */
void tcache_check_pushed(const struct tcache_list *list, unsigned class)
{
    unsigned code = sizeclass_code(class);
    central_check(list->push, class);
    for (const struct object *at = list->push; at != NULL; at = at->next) {
        if (unlikely(pagemap_code_of(at) != code))
            central_check(at, class);
        if (unlikely(at->mark != OBJECT_FREED_MARK))
            central_check_freed(at, class);
    }
}

/* It was counted by nobody; a ring has no end. */
static void check_popped(const struct tcache_list *list, unsigned class)
{
    const struct object *at = list->pop;
    for (int i = 0; at != NULL && i < POP_WALK_MAX; i++, at = at->next)
        central_check_freed(at, class);
}

void tcache_check(const struct tcache *cache)
{
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++) {
        const struct tcache_list *list = &cache->lists[class];
        central_check_list((struct batch){list->push, pushed_count(list)}, class);
        check_popped(list, class);
    }
}

void tcache_retire(struct tcache *cache)
{
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++) {
        struct tcache_list *list = &cache->lists[class];
        central_put(class, take_pushed(list));
        central_put(class, take_popped(list));
        set_capacity(list, 0);
    }
    central_leave(cache->shard);
    acquire_registry();
    list_take(&cache->link);
    owner_store(&registry.count, registry.count - 1);
    lock_release(&registry.lock);
}

/* Follows another thread's list while that thread uses it, to its end or to `object`: each step is
 * checked to lead to an object of the class, whose page is always mapped, so that a stale link ends
 * the walk. Returns the number of steps; *found tells whether the object was come to. */
__attribute__((no_sanitize("thread"))) static size_t walk_stale(const struct object *at,
                                                                unsigned class,
                                                                const void *object, bool *found)
{
    size_t count = 0;
    while (at != NULL && at != object && count < POP_WALK_MAX &&
           (uintptr_t)at % OBJECT_ALIGNMENT == 0 && pagemap_code_of(at) == sizeclass_code(class)) {
        count++;
        at = peek_load(&at->next);
    }
    *found = at != NULL && at == object;
    return count;
}

static size_t popped_count(const struct tcache_list *list, unsigned class)
{
    bool found;
    return walk_stale(peek_load(&list->pop), class, NULL, &found);
}

static bool caches_hold_locked(struct list *caches, unsigned class, const void *object)
{
    bool found = false;
    list_walk (node, caches) {
        struct tcache_list *list = &list_entry(node, struct tcache, link)->lists[class];
        walk_stale(peek_load(&list->push), class, object, &found);
        if (!found)
            walk_stale(peek_load(&list->pop), class, object, &found);
        if (found)
            break;
    }
    return found;
}

bool tcache_holds(unsigned class, const void *object)
{
    acquire_registry();
    bool holds = caches_hold_locked(&registry.owned, class, object) ||
                 caches_hold_locked(&registry.orphaned, class, object);
    lock_release(&registry.lock);
    return holds;
}

static size_t list_objects(const struct tcache_list *list, unsigned class)
{
    int32_t pushed = peek_load(&list->capacity) - peek_load(&list->room);
    return popped_count(list, class) + (pushed > 0 ? (size_t)pushed : 0);
}

static size_t objects_of_locked(struct list *caches, unsigned class)
{
    size_t objects = 0;
    list_walk (node, caches)
        objects += list_objects(&list_entry(node, struct tcache, link)->lists[class], class);
    return objects;
}

void tcache_stats_get(unsigned class, size_t *objects)
{
    acquire_registry();
    *objects = objects_of_locked(&registry.owned, class) +
               objects_of_locked(&registry.orphaned, class);
    lock_release(&registry.lock);
}

size_t tcache_count(void)
{
    return peek_load(&registry.count);
}

void tcache_fork_prepare(void)
{
    acquire_registry();
}

void tcache_fork_parent(void)
{
    lock_release(&registry.lock);
}

void tcache_fork_child(void)
{
    struct list *node = registry.owned.next;
    while (node != &registry.owned) {
        struct list *next = node->next;
        if (list_entry(node, struct tcache, link) != tcache_self) {
            list_take(node);
            list_push(&registry.orphaned, node);
        }
        node = next;
    }
    lock_reset(&registry.lock);
}
