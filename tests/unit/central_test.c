#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>

#include "base/os.h"
#include "dies.h"
#include "heap/central.h"
#include "heap/pagemap.h"
#include "heap/pageheap.h"
#include "tap.h"

static bool first_may_move = true;

__attribute__((constructor(1000))) static void prepare(void)
{
    if (!pagemap_init())
        abort();
    central_leave(central_join(&first_may_move));
}

static unsigned class_of(size_t bytes)
{
    return sizeclass_from_code(sizeclass_code_of(bytes));
}

static struct central_stats stats_of(unsigned class)
{
    struct central_stats stats;
    central_stats_get(class, &stats);
    return stats;
}

static struct batch join(struct batch a, struct batch b)
{
    struct object *last = a.head;
    if (last == NULL)
        return b;
    while (last->next != NULL)
        last = last->next;
    last->next = b.head;
    return (struct batch){a.head, a.count + b.count};
}

static size_t length_of(struct batch batch)
{
    size_t length = 0;
    for (struct object *at = batch.head; at != NULL; at = at->next)
        length++;
    return length;
}

static struct batch take_exactly(unsigned class, size_t count)
{
    struct batch batch = {NULL, 0};
    while (batch.count < count)
        batch = join(batch, central_take(&central_first, class, count - batch.count));
    return batch;
}

TEST(central, fresh_objects_are_no_more_than_asked_and_of_the_class)
{
    size_t sizes[] = {16, 112, 1024, 9280, 32768};
    for (size_t i = 0; i < array_count(sizes); i++) {
        unsigned class = class_of(sizes[i]);
        struct batch batch = central_take(&central_first, class, 20);
        CHECK(batch.count > 0 && batch.count <= 20);
        CHECK_EQUAL(length_of(batch), batch.count);
        for (struct object *at = batch.head; at != NULL; at = at->next) {
            CHECK_EQUAL(pagemap_code_of(at), sizeclass_code(class));
            central_check(at, class);
        }
        CHECK_EQUAL(stats_of(class).out_objects, batch.count);
        central_put(class, batch);
        central_drain(class);
    }
}

TEST(central, a_list_given_back_is_handed_on_whole)
{
    unsigned class = class_of(48);
    struct batch batch = take_exactly(class, 30);
    central_put(class, batch);
    CHECK_EQUAL(stats_of(class).list_objects, 30);
    struct batch again = central_take(&central_first, class, 5);
    CHECK(again.head == batch.head);
    CHECK_EQUAL(again.count, 30);
    CHECK_EQUAL(stats_of(class).list_objects, 0);
    central_put(class, again);
}

TEST(central, no_object_is_out_twice)
{
    enum { BATCHES = 40, OBJECTS = 25 };
    unsigned class = class_of(320);
    struct batch batches[BATCHES];
    for (size_t i = 0; i < BATCHES; i++) {
        batches[i] = take_exactly(class, OBJECTS);
        for (struct object *at = batches[i].head; at != NULL; at = at->next)
            at->mark = i;
    }
    size_t wrong = 0;
    for (size_t i = 0; i < BATCHES; i++) {
        for (struct object *at = batches[i].head; at != NULL; at = at->next)
            wrong += at->mark != i;
        for (struct object *at = batches[i].head; at != NULL; at = at->next)
            at->mark = OBJECT_FREED_MARK;
        central_put(class, batches[i]);
    }
    CHECK_EQUAL(wrong, 0);
    central_drain(class);
}

TEST(central, lists_kept_are_bounded)
{
    enum { LISTS = 100, LENGTH = 400 };
    unsigned class = class_of(64);
    struct batch all = take_exactly(class, LISTS * LENGTH);
    size_t most = 0;
    for (int i = 0; i < LISTS; i++) {
        struct batch part = {all.head, LENGTH};
        struct object *last = part.head;
        for (int n = 1; n < LENGTH; n++)
            last = last->next;
        all.head = last->next;
        last->next = NULL;
        central_put(class, part);
        most = stats_of(class).list_objects > most ? stats_of(class).list_objects : most;
    }
    CHECK(most > 0 && most * 64 <= 64 * KiB);
    central_drain(class);
}

TEST(central, a_drained_class_keeps_nothing)
{
    unsigned class = class_of(2048);
    struct batch batch = take_exactly(class, 100);
    CHECK(stats_of(class).slab_count > 0);
    CHECK_EQUAL(stats_of(class).slab_bytes,
                stats_of(class).slab_count * bytes_of_pages(sizeclass_table[class].slab_pages));
    central_put(class, batch);
    central_drain(class);
    struct central_stats stats = stats_of(class);
    CHECK_EQUAL(stats.out_objects, 0);
    CHECK_EQUAL(stats.list_objects, 0);
    CHECK_EQUAL(stats.slab_count, 0);
    CHECK_EQUAL(pagemap_code_of(batch.head), 0);
}

TEST(central, what_nobody_takes_goes_back_when_tended_twice)
{
    unsigned class = class_of(5248);
    struct batch first = take_exactly(class, 1), second = take_exactly(class, 1);
    central_put(class, first);
    CHECK_EQUAL(stats_of(class).list_objects, 1);
    central_tend(&central_first, class);
    CHECK_EQUAL(stats_of(class).list_objects, 1);
    first = central_take(&central_first, class, 1);
    central_put(class, first);
    central_tend(&central_first, class);
    CHECK_EQUAL(stats_of(class).list_objects, 1);
    central_tend(&central_first, class);
    CHECK_EQUAL(stats_of(class).list_objects, 0);
    CHECK_EQUAL(stats_of(class).slab_count, 1);
    central_return(class, second);
    CHECK_EQUAL(stats_of(class).out_objects, 0);
    central_tend(&central_first, class);
    CHECK_EQUAL(stats_of(class).slab_count, 0);
    central_tend(&central_first, class);
}

TEST(central, a_tagged_object_keeps_its_tag_and_has_class_0)
{
    enum { OBJECTS = 100 };
    unsigned class = class_of(1024);
    void *objects[OBJECTS];
    for (uint32_t i = 0; i < OBJECTS; i++) {
        objects[i] = central_take_tagged(&central_first, class, 1000 + i);
        CHECK_EQUAL(pagemap_code_of(objects[i]), 0);
        memset(objects[i], 0xff, 1024);
    }
    CHECK_EQUAL(stats_of(class).tagged_out_objects, OBJECTS);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        struct span *slab = pagemap_find(objects[i]);
        CHECK_EQUAL(slab->kind, SPAN_TAGGED_SLAB);
        CHECK_EQUAL(central_tag_get(slab, objects[i]), 1000 + i);
        central_put_tagged(slab, objects[i]);
    }
    CHECK_EQUAL(stats_of(class).tagged_out_objects, 0);
    CHECK_EQUAL(stats_of(class).slab_count, 1);
    central_drain(class);
    CHECK_EQUAL(stats_of(class).slab_count, 0);
}

TEST(central, tag_arrays_are_used_again)
{
    unsigned class = class_of(4096);
    void *kept = central_take_tagged(&central_first, class, 1);
    size_t slabs = stats_of(class).slab_count;
    for (uint32_t round = 0; round < 50; round++) {
        void *objects[20];
        for (uint32_t i = 0; i < 20; i++)
            objects[i] = central_take_tagged(&central_first, class, round * 100 + i);
        for (uint32_t i = 0; i < 20; i++) {
            CHECK_EQUAL(central_tag_get(pagemap_find(objects[i]), objects[i]), round * 100 + i);
            central_put_tagged(pagemap_find(objects[i]), objects[i]);
        }
    }
    CHECK(stats_of(class).slab_count <= slabs + 1);
    CHECK_EQUAL(central_tag_get(pagemap_find(kept), kept), 1);
    central_put_tagged(pagemap_find(kept), kept);
}

TEST(central, it_knows_what_it_holds)
{
    unsigned class = class_of(192);
    struct batch batch = take_exactly(class, 10);
    struct object *object = batch.head->next;
    struct span *slab = pagemap_find(object);
    CHECK(!central_holds(slab, object));
    central_put(class, batch);
    CHECK(central_holds(slab, object));
    central_drain(class);
}

static unsigned bad_class;
static struct batch bad_batch;

static void put_bad(void)
{
    central_put(bad_class, bad_batch);
    central_drain(bad_class);
}

static void check_bad(void)
{
    central_check(bad_batch.head, bad_class);
}

TEST(central, it_dies_of_an_object_put_back_twice)
{
    bad_class = class_of(80);
    struct object *object = central_take(&central_first, bad_class, 1).head;
    central_put(bad_class, (struct batch){object, 1});
    object->next = NULL;
    bad_batch = (struct batch){object, 1};
    CHECK_DIES(put_bad, "double free of %p: object of 80 bytes", (void *)object);
}

TEST(central, it_dies_of_an_object_of_another_class_and_of_none)
{
    const char *last_words = "free list of objects of 96 bytes leads to %p, which is none: "
                             "a freed object was written to, or a foreign one freed";
    static struct object foreign;
    bad_class = class_of(96);
    bad_batch = central_take(&central_first, class_of(112), 1);
    char line[300];
    snprintf(line, sizeof(line), last_words, (void *)bad_batch.head);
    CHECK_DIES(put_bad, "%s", line);
    bad_batch = (struct batch){&foreign, 1};
    snprintf(line, sizeof(line), last_words, (void *)&foreign);
    CHECK_DIES(check_bad, "%s", line);
}

#define WRITTEN_TO "write after free of %p: object of %zu bytes, freed, and written to at byte 8"

TEST(central, it_dies_of_a_freed_object_that_was_written_to_on_its_way_into_its_slab)
{
    bad_class = class_of(128);
    bad_batch = take_exactly(bad_class, 5);
    struct object *second = bad_batch.head->next;
    second->mark++;
    CHECK_DIES(put_bad, WRITTEN_TO, (void *)second, (size_t)128);
    second->mark--;
    central_put(bad_class, bad_batch);
    central_drain(bad_class);
    CHECK_EQUAL(stats_of(bad_class).out_objects, 0);
}

/* Its link, too, which nobody follows while the list is whole. */
TEST(central, it_dies_of_a_list_that_does_not_end_where_it_ended)
{
    static struct object foreign;
    bad_class = class_of(144);
    bad_batch = take_exactly(bad_class, 3);
    struct object *live = bad_batch.head, *last = live->next->next;
    bad_batch = (struct batch){live->next, 2};
    last->next = live;
    CHECK_DIES(put_bad,
               "free list of objects of 144 bytes goes on after its end with %p: "
               "a freed object was written to",
               (void *)live);
    last->next = &foreign;
    CHECK_DIES(put_bad,
               "free list of objects of 144 bytes leads to %p, which is none: "
               "a freed object was written to, or a foreign one freed",
               (void *)&foreign);
    last->next = NULL;
    live->next = NULL;
    central_put(bad_class, bad_batch);
    central_put(bad_class, (struct batch){live, 1});
    central_drain(bad_class);
    CHECK_EQUAL(stats_of(bad_class).out_objects, 0);
}

TEST(central, lists_it_keeps_are_checked_when_asked)
{
    unsigned class = class_of(256);
    struct batch first = take_exactly(class, 4), second = take_exactly(class, 3);
    struct object *last = second.head->next->next;
    central_put(class, first);
    central_put(class, second);
    central_check_kept();
    last->mark = 0;
    CHECK_DIES(central_check_kept, WRITTEN_TO, (void *)last, (size_t)256);
    last->mark = OBJECT_FREED_MARK;
    last->next = last;
    CHECK_DIES(central_check_kept, "double free of %p: object of 256 bytes", (void *)last);
    last->next = NULL;
    central_check_kept();
    central_drain(class);
}

static struct shard *join_and_move(bool to_private)
{
    bool may_move;
    struct shard *shard = central_join(&may_move);
    central_move(&shard, to_private);
    return shard;
}

enum { THREADS = 4, ROUNDS = 3000 };
static _Atomic size_t taken_twice;

/* Takes from a shard of its own and gives back half of its own and half of what others took. */
static void *exchange(void *number)
{
    static struct object *_Atomic left_by_others;
    unsigned class = class_of(160);
    struct shard *shard = join_and_move(false);
    for (int i = 0; i < ROUNDS; i++) {
        struct batch batch = central_take(central_local(shard), class, 16);
        for (struct object *at = batch.head; at != NULL; at = at->next)
            at->mark = (uintptr_t)number;
        for (struct object *at = batch.head; at != NULL; at = at->next)
            taken_twice += at->mark != (uintptr_t)number;
        struct object *rest = batch.head->next;
        batch.head->next = atomic_exchange(&left_by_others, rest);
        for (batch.count = 0, rest = batch.head; rest != NULL; rest = rest->next, batch.count++)
            rest->mark = OBJECT_FREED_MARK;
        central_put(class, batch);
    }
    struct object *rest = atomic_exchange(&left_by_others, NULL);
    for (struct object *next; rest != NULL; rest = next) {
        next = rest->next;
        *rest = (struct object){NULL, OBJECT_FREED_MARK};
        central_put(class, (struct batch){rest, 1});
    }
    central_leave(shard);
    return NULL;
}

/* Two shards; there are as many as processors. */
static bool join_two(struct shard **first, struct shard **second)
{
    bool may_move;
    *first = central_join(&may_move);
    *second = join_and_move(false);
    return *first != *second;
}

static void leave_two(struct shard *first, struct shard *second)
{
    central_leave(first);
    central_leave(second);
}

TEST(central, threads_share_the_first_shard_until_they_move_to_one_of_their_own)
{
    bool may_move;
    struct shard *first = central_join(&may_move), *second = central_join(&may_move);
    CHECK(!first_may_move && may_move);
    CHECK(first == &central_first && second == first);
    central_move(&second, false);
    CHECK_EQUAL(second != first, os_cpu_count() > 1);
    CHECK(central_local(first) == first && central_local(second) == second);
    leave_two(first, second);
    /* What an ended thread leaves is inherited. */
    CHECK(join_and_move(false) == second);
    central_leave(second);
}

/* What central_local says on the n-th processor that this program may use. */
static struct shard *local_on(int n, struct shard *shard)
{
    cpu_set_t all, one;
    sched_getaffinity(0, sizeof(all), &all);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all) || n-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof(one), &one);
        shard = central_local(shard);
        sched_setaffinity(0, sizeof(all), &all);
        return shard;
    }
    return shard;
}

TEST(central, more_threads_than_shards_take_those_of_their_processor)
{
    enum { MORE = 600 };
    static struct shard *joined[MORE];
    unsigned shard_count = 0;
    bool may_move;
    for (int i = 0; i < MORE; i++)
        joined[i] = i == 0 ? central_join(&may_move) : join_and_move(false);
    shard_count = central_shard_count();
    CHECK_EQUAL(shard_count, min_size(os_cpu_count(), 128));
    CHECK(local_on(0, joined[0]) == local_on(0, joined[1]));
    CHECK_EQUAL(local_on(0, joined[0]) != local_on(1, joined[0]), os_cpu_count() > 1);
    for (int i = 0; i < MORE; i++)
        central_leave(joined[i]);
    CHECK(central_local(joined[1]) == joined[1]);
}

/* Two may try it first; where it did them good, more may. */
TEST(central, private_shards_are_for_one_thread_at_a_time_and_for_as_many_as_it_does_good)
{
    enum { PAGES = 8 * MiB / HEAP_PAGE_BYTES };
    struct span *memory = pageheap_alloc(PAGES, SPAN_LARGE, NULL);
    struct shard *one = join_and_move(true), *two = join_and_move(true);
    struct shard *refused = join_and_move(true);
    CHECK(one != two && one != &central_first && two != &central_first);
    CHECK(refused == &central_first);
    CHECK(central_local(one) == one);
    central_judge_private(true, false);
    struct shard *third = join_and_move(true);
    CHECK(third != &central_first && third != one && third != two);
    central_leave(two);
    CHECK(join_and_move(true) == two);
    central_judge_private(false, false);
    CHECK(join_and_move(true) == &central_first);
    struct batch batch = central_take(one, class_of(320), 4);
    CHECK(!central_is_away(one, batch.head) && central_is_away(two, batch.head));
    central_return(class_of(320), batch);
    pageheap_free(memory);
    struct shard *all[] = {one, two, third, &central_first, &central_first};
    for (size_t i = 0; i < array_count(all); i++)
        central_leave(all[i]);
}

TEST(central, what_ended_threads_left_goes_back_in_time)
{
    struct shard *first, *second;
    unsigned class = class_of(848);
    bool are_two = join_two(&first, &second);
    central_put(class, central_take(second, class, 1));
    CHECK_EQUAL(stats_of(class).list_objects, 1);
    for (unsigned round = 0; round < 4 * central_shard_count(); round++)
        central_tend_deserted(class, round);
    CHECK_EQUAL(stats_of(class).list_objects, 1);
    leave_two(first, second);
    for (unsigned round = 0; round < 4 * central_shard_count() && are_two; round++)
        central_tend_deserted(class, round);
    CHECK_EQUAL(stats_of(class).list_objects, !are_two);
    CHECK_EQUAL(stats_of(class).slab_count, !are_two);
}

TEST(central, a_list_goes_home_with_its_first_object)
{
    struct shard *first, *second;
    if (join_two(&first, &second)) {
        enum { MOST_OF_SLAB = 16 };
        unsigned class = class_of(704);
        struct batch own = central_take(first, class, MOST_OF_SLAB),
                     foreign = central_take(second, class, 2);
        struct object *head = foreign.head;
        central_put(class, foreign);
        CHECK_EQUAL(stats_of(class).list_objects, 2);
        struct batch fresh = central_take(first, class, 2);
        CHECK(fresh.head != head);
        foreign = central_take(second, class, 2);
        CHECK(foreign.head == head);
        /* A mixed list, walked: each object in its own slab. */
        central_return(class, join(own, join(foreign, fresh)));
        CHECK_EQUAL(stats_of(class).out_objects, 0);
        central_drain(class);
        CHECK_EQUAL(stats_of(class).slab_count, 0);
    }
    leave_two(first, second);
}

TEST(central, a_slab_at_most_half_full_serves_another_shard_before_a_new_one_is_cut)
{
    struct shard *first, *second;
    if (join_two(&first, &second)) {
        enum { OBJECTS = 16 * KiB / 512 };
        unsigned class = class_of(512);
        struct batch own = central_take(first, class, OBJECTS / 4),
                     adopted = central_take(second, class, OBJECTS / 4);
        CHECK_EQUAL(stats_of(class).slab_count, 1);
        /* More than half full now: it stays where it is. */
        struct batch more = central_take(second, class, 1), fresh = central_take(first, class, 1);
        CHECK_EQUAL(stats_of(class).slab_count, 2);
        CHECK_EQUAL(stats_of(class).out_objects, OBJECTS / 2 + 2);
        /* All of the first slab is at home in the shard that adopted it. */
        central_return(class, join(own, join(adopted, join(more, fresh))));
        CHECK_EQUAL(stats_of(class).out_objects, 0);
        central_drain(class);
        CHECK_EQUAL(stats_of(class).slab_count, 0);
    }
    leave_two(first, second);
}

TEST(central, threads_never_share_an_object_and_all_comes_back)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, exchange, (void *)(i + 1));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(taken_twice, 0);
    central_drain(class_of(160));
    CHECK_EQUAL(stats_of(class_of(160)).out_objects, 0);
    CHECK_EQUAL(stats_of(class_of(160)).slab_count, 0);
}
