#include <pthread.h>

#include "base/meta.h"
#include "dies.h"
#include "heap/pagemap.h"
#include "heap/tcache.h"
#include "tap.h"

__attribute__((constructor(1000))) static void prepare(void)
{
    if (!pagemap_init())
        abort();
}

static unsigned class_of(size_t bytes)
{
    return sizeclass_from_code(sizeclass_code_of(bytes));
}

static struct tcache *make_cache(void)
{
    struct tcache *cache = meta_alloc(sizeof(*cache));
    tcache_init(cache);
    return cache;
}

static void set_allowances(struct tcache *cache, int64_t allowance)
{
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++)
        cache->lists[class].allowance = allowance;
}

/* As malloc and free use the cache. NULL: the allowance is used up. */
static void *alloc(struct tcache *cache, unsigned class)
{
    struct tcache_list *list = &cache->lists[class];
    void *object = tcache_pop(list);
    if (object == NULL)
        object = tcache_swap(cache, list, sizeclass_code(class));
    return object != NULL || list->allowance <= 0 ? object : tcache_refill(cache, class);
}

static void free_object(struct tcache *cache, unsigned class, void *object)
{
    if (tcache_take_room(&cache->lists[class]))
        tcache_push(&cache->lists[class], object);
    else
        tcache_push_slow(cache, class, object);
}

static size_t out_objects(unsigned class)
{
    struct central_stats stats;
    central_stats_get(class, &stats);
    return stats.out_objects;
}

/* In threads' lists and in those of central. */
static size_t kept_objects(unsigned class)
{
    struct central_stats stats;
    size_t objects;
    tcache_stats_get(class, &objects);
    central_stats_get(class, &stats);
    return objects + stats.list_objects;
}

TEST(tcache, the_cache_of_a_thread_without_one_has_no_object_and_no_room)
{
    CHECK(tcache_self == &tcache_none);
    for (unsigned class = 0; class < SIZECLASS_COUNT; class++) {
        CHECK(tcache_pop(&tcache_none.lists[class]) == NULL);
        CHECK_EQUAL(tcache_none.lists[class].room, 0);
    }
}

/* The promise that sampling stands on. */
TEST(tcache, after_an_allowance_of_k_exactly_k_objects_are_handed_out)
{
    size_t sizes[] = {16, 64, 1024, 32768};
    int64_t allowances[] = {1, 2, 3, 31, 32, 33, 100, 511, 512, 513, 5000};
    for (size_t s = 0; s < array_count(sizes); s++) {
        unsigned class = class_of(sizes[s]);
        struct tcache *cache = make_cache();
        for (size_t a = 0; a < array_count(allowances); a++) {
            static void *objects[5000];
            cache->lists[class].allowance = allowances[a];
            int64_t count = 0;
            void *object;
            while ((object = alloc(cache, class)) != NULL)
                objects[count++] = object;
            CHECK_EQUAL(count, allowances[a]);
            CHECK_EQUAL(cache->lists[class].allowance, 0);
            for (int64_t i = 0; i < count; i++)
                free_object(cache, class, objects[i]);
        }
        tcache_retire(cache);
    }
}

static void use_once(struct tcache *cache, unsigned class)
{
    free_object(cache, class, alloc(cache, class));
}

/* Fills and empties lists of another class, which goes the slow way again and again. */
static void pass_time(struct tcache *cache, unsigned class, unsigned used_meanwhile)
{
    enum { ROUNDS = 400, OBJECTS = 200 };
    static void *objects[OBJECTS];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < OBJECTS; i++)
            objects[i] = alloc(cache, class);
        for (int i = 0; i < OBJECTS; i++)
            free_object(cache, class, objects[i]);
        use_once(cache, used_meanwhile);
    }
}

TEST(tcache, a_class_at_rest_gives_back_what_it_holds_and_one_in_use_does_not)
{
    unsigned resting = class_of(3264), used = class_of(208), busy = class_of(1024);
    struct tcache *cache = make_cache();
    set_allowances(cache, 1000000);
    void *kept = alloc(cache, resting);
    use_once(cache, resting);
    use_once(cache, used);
    CHECK(kept_objects(resting) > 0);
    pass_time(cache, busy, used);
    CHECK_EQUAL(kept_objects(resting), 0);
    CHECK_EQUAL(out_objects(resting), 1);
    CHECK_EQUAL(cache->lists[resting].capacity, 0);
    CHECK(cache->lists[used].capacity > 0);
    /* What was given back is allowed again. */
    CHECK_EQUAL(cache->lists[resting].allowance, 1000000 - 2);
    free_object(cache, resting, kept);
    tcache_retire(cache);
}

TEST(tcache, an_allowance_is_exact_while_objects_come_and_go)
{
    unsigned class = class_of(96);
    struct tcache *cache = make_cache();
    static void *held[50];
    unsigned seed = 7;
    for (int round = 0; round < 200; round++) {
        int64_t allowance = 1 + rand_r(&seed) % 300, count = 0;
        cache->lists[class].allowance = allowance;
        for (void *object; (object = alloc(cache, class)) != NULL; count++) {
            void **slot = &held[rand_r(&seed) % 50];
            if (*slot != NULL)
                free_object(cache, class, *slot);
            *slot = object;
        }
        CHECK_EQUAL(count, allowance);
    }
}

TEST(tcache, what_was_freed_is_handed_out_again)
{
    unsigned class = class_of(256);
    struct tcache *cache = make_cache();
    set_allowances(cache, TCACHE_UNLIMITED);
    for (int i = 0; i < 100000; i++) {
        void *objects[10];
        for (int n = 0; n < 10; n++)
            objects[n] = alloc(cache, class);
        for (int n = 0; n < 10; n++)
            free_object(cache, class, objects[n]);
    }
    CHECK(out_objects(class) <= 200);
    tcache_retire(cache);
}

TEST(tcache, a_thread_that_only_frees_keeps_a_bounded_list)
{
    unsigned class = class_of(64);
    struct tcache *producer = make_cache(), *consumer = make_cache();
    set_allowances(producer, TCACHE_UNLIMITED);
    for (int i = 0; i < 50000; i++) {
        free_object(consumer, class, alloc(producer, class));
        struct tcache_list *list = &consumer->lists[class];
        if (list->capacity - list->room > sizeclass_table[class].batch_max)
            CHECK_EQUAL(list->capacity - list->room, sizeclass_table[class].batch_max);
    }
    CHECK(out_objects(class) < 5000);
    tcache_retire(producer);
    tcache_retire(consumer);
}

TEST(tcache, it_hands_out_marked_as_live_and_keeps_marked_as_freed)
{
    unsigned class = class_of(32);
    struct tcache *cache = make_cache();
    set_allowances(cache, TCACHE_UNLIMITED);
    for (int i = 0; i < 100; i++) {
        struct object *object = alloc(cache, class);
        CHECK_EQUAL(object->mark, 0);
    }
    struct object *object = alloc(cache, class);
    free_object(cache, class, object);
    CHECK_EQUAL(object->mark, (long long)OBJECT_FREED_MARK);
    CHECK(tcache_holds(class, object));
    CHECK(!tcache_holds(class, alloc(cache, class)));
    tcache_retire(cache);
}

TEST(tcache, a_retired_cache_has_given_everything_back)
{
    size_t caches = tcache_count();
    struct tcache *cache = make_cache();
    CHECK_EQUAL(tcache_count(), caches + 1);
    set_allowances(cache, TCACHE_UNLIMITED);
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++) {
        void *objects[20];
        for (int i = 0; i < 20; i++)
            objects[i] = alloc(cache, class);
        for (int i = 0; i < 20; i++)
            free_object(cache, class, objects[i]);
    }
    tcache_retire(cache);
    CHECK_EQUAL(tcache_count(), caches);
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++) {
        size_t objects;
        CHECK(cache->lists[class].pop == NULL && cache->lists[class].push == NULL);
        tcache_stats_get(class, &objects);
        CHECK_EQUAL(objects, class == class_of(96) ? objects : 0);
    }
}

TEST(tcache, all_lists_are_counted)
{
    size_t sizes[] = {16, 100, 3000, 20000};
    for (size_t i = 0; i < array_count(sizes); i++) {
        unsigned class = class_of(sizes[i]);
        struct tcache *cache = make_cache();
        set_allowances(cache, TCACHE_UNLIMITED);
        void *first = alloc(cache, class), *second = alloc(cache, class);
        size_t live = out_objects(class) - kept_objects(class);
        CHECK(live >= 2);
        free_object(cache, class, first);
        CHECK_EQUAL(out_objects(class) - kept_objects(class), live - 1);
        free_object(cache, class, second);
        CHECK_EQUAL(out_objects(class) - kept_objects(class), live - 2);
        tcache_retire(cache);
    }
}

TEST(tcache, allowances_can_all_be_unset)
{
    struct tcache *cache = make_cache();
    set_allowances(cache, 5);
    tcache_unset_allowances(cache);
    for (unsigned class = 0; class < SIZECLASS_COUNT; class++)
        CHECK_EQUAL(cache->lists[class].allowance, TCACHE_UNSET);
    tcache_retire(cache);
}

static int in_child(void)
{
    unsigned class = class_of(128);
    tcache_fork_child();
    size_t known = tcache_count(), adopted = 0;
    for (struct tcache *cache; (cache = tcache_adopt()) != NULL; adopted++) {
        set_allowances(cache, TCACHE_UNLIMITED);
        free_object(cache, class, alloc(cache, class));
        tcache_check(cache);
        tcache_retire(cache);
    }
    central_drain(class);
    return adopted == known - 1 && tcache_count() == 1 ? 0 : 1;
}

/* The lost thread was about to push: it had taken room already. */
TEST(tcache, after_a_fork_the_caches_of_lost_threads_are_adopted_as_they_are)
{
    struct tcache *mine = make_cache(), *other = make_cache();
    tcache_self = mine;
    CHECK(tcache_adopt() == NULL);
    set_allowances(other, TCACHE_UNLIMITED);
    for (int i = 0; i < 100; i++)
        free_object(other, class_of(128), alloc(other, class_of(128)));
    tcache_take_room(&other->lists[class_of(128)]);
    tcache_fork_prepare();
    pid_t child = fork();
    if (child == 0)
        _exit(in_child());
    tcache_fork_parent();
    other->lists[class_of(128)].room++;
    int status = -1;
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
    CHECK(tcache_adopt() == NULL);
    tcache_self = &tcache_none;
    tcache_retire(mine);
    tcache_retire(other);
}

static struct tcache *checked;

static void check_it(void)
{
    tcache_check(checked);
}

static void retire_and_drain(void)
{
    tcache_retire(checked);
    for (unsigned class = 1; class < SIZECLASS_COUNT; class++)
        central_drain(class);
}

TEST(tcache, a_pointer_into_an_object_is_found_by_the_check_and_on_the_way_back)
{
    unsigned class = class_of(64);
    checked = make_cache();
    set_allowances(checked, TCACHE_UNLIMITED);
    char *object = alloc(checked, class);
    free_object(checked, class, object + 16);
    CHECK_DIES(check_it, "free of %p: it points 16 bytes into an object of 64 bytes",
               (void *)(object + 16));
    CHECK_DIES(retire_and_drain, "free of %p: it points 16 bytes into an object of 64 bytes",
               (void *)(object + 16));
}

TEST(tcache, a_freed_object_that_was_written_to_is_found_by_the_check_in_either_list)
{
    unsigned class = class_of(80);
    checked = make_cache();
    set_allowances(checked, TCACHE_UNLIMITED);
    struct object *pushed = alloc(checked, class);
    free_object(checked, class, pushed);
    struct object *to_be_popped = checked->lists[class].pop;
    check_it();
    struct object *both[] = {pushed, to_be_popped};
    for (size_t i = 0; i < array_count(both); i++) {
        both[i]->mark = 0;
        CHECK_DIES(check_it,
                   "write after free of %p: object of 80 bytes, freed, and written to at byte 8",
                   (void *)both[i]);
        both[i]->mark = OBJECT_FREED_MARK;
    }
    retire_and_drain();
}

TEST(tcache, an_object_freed_twice_is_found_by_the_check_and_on_the_way_back)
{
    unsigned class = class_of(48);
    checked = make_cache();
    set_allowances(checked, TCACHE_UNLIMITED);
    void *object = alloc(checked, class), *other = alloc(checked, class);
    free_object(checked, class, object);
    free_object(checked, class, other);
    free_object(checked, class, object);
    free_object(checked, class, alloc(checked, class));
    CHECK_DIES(check_it, "double free of %p: object of 48 bytes", object);
    CHECK_DIES(retire_and_drain, "double free of %p: object of 48 bytes", object);
}

enum { THREADS = 4, ROUNDS = 200000, SLOTS = 256 };
static void *_Atomic slots[SLOTS];
static _Atomic size_t spoiled;

/* Threads free each other's objects; a word in each tells whether it has one owner. */
static void *churn(void *number)
{
    unsigned class = class_of(112), seed = (unsigned)(uintptr_t)number;
    struct tcache *cache = make_cache();
    set_allowances(cache, TCACHE_UNLIMITED);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t *words = alloc(cache, class);
        words[5] = words[6] = ((uint64_t)(uintptr_t)number << 32) + (uint64_t)i;
        uint64_t *other = atomic_exchange(&slots[rand_r(&seed) % SLOTS], words);
        if (other == NULL)
            continue;
        spoiled += other[5] != other[6];
        free_object(cache, class, other);
    }
    tcache_retire(cache);
    return NULL;
}

TEST(tcache, threads_that_free_each_others_objects_never_share_one)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, churn, (void *)(i + 1));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(spoiled, 0);
    size_t live = 0;
    for (int i = 0; i < SLOTS; i++)
        live += slots[i] != NULL;
    central_drain(class_of(112));
    CHECK_EQUAL(out_objects(class_of(112)), live);
}

/* A thread with a place that it may leave, and what another allocated, which it gets to free. */
enum { INHERITED = 4000, OWN = 500 };
static struct place {
    struct tcache *maker, *heir;
    unsigned class;
    void *objects[INHERITED], *own[OWN];
} place;

static void begin_place(void)
{
    place.class = class_of(1024);
    place.maker = make_cache();
    place.heir = make_cache();
    set_allowances(place.maker, TCACHE_UNLIMITED);
    set_allowances(place.heir, TCACHE_UNLIMITED);
    for (int i = 0; i < INHERITED; i++)
        place.objects[i] = alloc(place.maker, place.class);
    for (int i = 0; i < OWN; i++)
        place.own[i] = alloc(place.heir, place.class);
}

static void free_inherited(int from, int to)
{
    for (int i = from; i < to; i++)
        free_object(place.heir, place.class, place.objects[i]);
}

/* Until the heir has made so many visits; true if it was alone at the end of each one of the last. */
static bool renew_own(uint32_t visits)
{
    bool is_alone = false;
    for (size_t i = 0; place.heir->visit_count < visits; i = (i + OWN / 2) % OWN) {
        for (size_t j = i; j < i + OWN / 2; j++)
            free_object(place.heir, place.class, place.own[j]);
        for (size_t j = i; j < i + OWN / 2; j++)
            place.own[j] = alloc(place.heir, place.class);
        is_alone = place.heir->is_alone;
    }
    return is_alone;
}

static void end_place(void)
{
    for (int i = 0; i < OWN; i++)
        free_object(place.heir, place.class, place.own[i]);
    tcache_retire(place.heir);
    tcache_retire(place.maker);
    central_drain(place.class);
    CHECK_EQUAL(out_objects(place.class), 0);
}

TEST(tcache, who_frees_what_others_allocated_is_among_them)
{
    begin_place();
    CHECK(place.heir->may_move && place.heir->is_alone);
    free_inherited(0, INHERITED);
    CHECK(!place.heir->is_alone && place.heir->was_alone);
    CHECK(!renew_own(512));
    end_place();
}

TEST(tcache, who_inherited_is_alone_again_once_it_frees_its_own)
{
    begin_place();
    free_inherited(0, INHERITED / 2);
    CHECK(!renew_own(900));
    free_inherited(INHERITED / 2, INHERITED);
    CHECK(renew_own(2000));
    CHECK(central_may_try_again(1024));
    end_place();
}

TEST(tcache, who_goes_on_to_free_what_others_allocated_tries_it_less_and_less)
{
    begin_place();
    uint32_t alone_visits = 0, visits = 0;
    while (visits < 16384) {
        free_inherited(0, INHERITED);
        for (int i = 0; i < INHERITED; i++)
            place.objects[i] = alloc(place.maker, place.class);
        alone_visits += place.heir->is_alone ? place.heir->visit_count - visits : 0;
        visits = place.heir->visit_count;
    }
    CHECK(!central_may_try_again(2048));
    CHECK(alone_visits < visits / 4);
    free_inherited(0, INHERITED);
    end_place();
}
