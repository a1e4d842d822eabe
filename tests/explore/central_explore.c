/* heap/central and heap/store in every order of their turns: the rooms themselves, between locks
 * that ask the explorer and a page heap of a few slabs. */
#include <stdarg.h>

#include "base/base.h"
#include "explore.h"
#include "tap.h"

#ifndef __GLIBC__
TEST(explore, orders_of_turns)
{
    SKIP("this C library has no contexts (makecontext)");
}
#else

/* A look without the lock, and what is looked at so, are points where others may come between. */
#undef peek_load
#define peek_load(p) (explore_point(), *(p))
#undef owner_store
#define owner_store(p, v) (explore_point(), *(p) = (v))
#undef atomic_load_explicit
#define atomic_load_explicit(p, order) (explore_point(), *(p))
#undef atomic_store_explicit
#define atomic_store_explicit(p, v, order) (explore_point(), *(p) = (v))

#include "../../src/heap/central.c"
#include "../../src/heap/sizeclass.c"
#include "../../src/heap/slab.c"
#include "../../src/heap/store.c"

void lock_acquire(struct lock *lock)
{
    explore_acquire(&lock->state);
}

bool lock_try(struct lock *lock)
{
    return explore_try(&lock->state);
}

void lock_release(struct lock *lock)
{
    explore_release(&lock->state);
}

void lock_reset(struct lock *lock)
{
    lock->state = 0;
}

void die(const char *format, ...)
{
    char text[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    explore_fail("it died: %s", text);
}

/* 8 objects a slab. */
#define CLASS sizeclass_from_code(sizeclass_code_of(4096))

enum { SLABS = 6, SLAB_BYTES = 32768, OBJECTS = SLABS * 8, PROCESSORS = 3, META_BYTES = 1 << 18 };

static struct {
    struct span spans[SLABS];
    unsigned owner[OBJECTS]; // 0: nobody; else a thread's word
    size_t meta_used;
    unsigned processor;
} world;

static char slab_memory[SLABS][SLAB_BYTES] __attribute__((aligned(SLAB_BYTES)));
static char meta_memory[META_BYTES] __attribute__((aligned(64)));

size_t os_cpu_count(void)
{
    return PROCESSORS;
}

unsigned os_cpu(void)
{
    return world.processor++;
}

void *meta_alloc(size_t bytes)
{
    EXPLORE_CHECK(world.meta_used + bytes <= META_BYTES);
    void *memory = meta_memory + world.meta_used;
    memset(memory, 0, bytes);
    world.meta_used += round_up(bytes, 64);
    return memory;
}

struct span *pageheap_alloc(size_t pages, enum span_kind kind, bool *is_fresh)
{
    EXPLORE_CHECK(bytes_of_pages(pages) == SLAB_BYTES && is_fresh == NULL);
    for (unsigned i = 0; i < SLABS; i++) {
        struct span *span = &world.spans[i];
        if (span->kind == SPAN_UNUSED) {
            span->start = slab_memory[i];
            span->pages = (uint32_t)pages;
            span->kind = kind;
            return span;
        }
    }
    return NULL;
}

static size_t number_of(const void *object)
{
    return (size_t)((const char *)object - slab_memory[0]) / 4096;
}

static struct lock *lock_of(unsigned shard)
{
    return shard == 0 ? &central_first.lock : &shards.more[shard]->lock;
}

/* Nobody has anything of it, it is in no list, and who gives it back may. */
void pageheap_free_part(struct span *slab, size_t written)
{
    (void)written;
    EXPLORE_CHECK(slab_is_empty(slab) && list_is_empty(&slab->link));
    EXPLORE_CHECK(explore_holds(&lock_of(slab->shard)->state));
    for (size_t i = 0; i < 8; i++)
        EXPLORE_CHECK(world.owner[number_of(slab->start) + i] == 0);
    memset(slab->start, 0xdd, SLAB_BYTES);
    slab->kind = SPAN_UNUSED;
}

size_t pageheap_mapped_bytes(void)
{
    return 2 * MiB;
}

struct span *pagemap_find(const void *address)
{
    size_t slab = (size_t)((const char *)address - slab_memory[0]) / SLAB_BYTES;
    return slab < SLABS && world.spans[slab].kind != SPAN_UNUSED ? &world.spans[slab] : NULL;
}

void pagemap_set_code(const struct span *span, unsigned code)
{
    (void)span;
    (void)code;
}

/* What a thread holds: it writes into all of it, and nobody else may have it. */
struct hand {
    unsigned word;
    struct shard *shard;
    struct object *objects[OBJECTS];
    unsigned count;
};

static struct hand hands[EXPLORE_THREADS_MAX];

static void own(struct hand *hand, struct object *object)
{
    EXPLORE_CHECK(number_of(object) < OBJECTS && world.owner[number_of(object)] == 0);
    world.owner[number_of(object)] = hand->word;
    hand->objects[hand->count++] = object;
}

static struct object *disown(struct hand *hand)
{
    EXPLORE_CHECK(hand->count > 0);
    struct object *object = hand->objects[--hand->count];
    EXPLORE_CHECK(world.owner[number_of(object)] == hand->word);
    world.owner[number_of(object)] = 0;
    return object;
}

static void take(struct hand *hand, size_t count)
{
    struct batch batch = central_take(hand->shard, CLASS, count);
    EXPLORE_CHECK(batch.count > 0);
    for (struct object *next, *at = batch.head; at != NULL; at = next, batch.count--) {
        next = at->next;
        own(hand, at);
        memset(at, 0x55, sizeof(*at));
    }
    EXPLORE_CHECK(batch.count == 0);
}

/* The last `count` it took, the last first. */
static struct batch gather(struct hand *hand, size_t count)
{
    struct batch batch = {NULL, count};
    struct object **link = &batch.head;
    for (size_t i = 0; i < count; i++) {
        *link = disown(hand);
        (*link)->mark = OBJECT_FREED_MARK;
        link = &(*link)->next;
        *link = NULL;
    }
    return batch;
}

static void put_back(struct hand *hand, size_t count)
{
    central_return(CLASS, gather(hand, count));
}

static void put(struct hand *hand, size_t count)
{
    central_put(CLASS, gather(hand, count));
}

static void begin(void)
{
    memset(&central_first, 0, sizeof(central_first));
    memset(&shards, 0, sizeof(shards));
    memset(&world, 0, sizeof(world));
    memset(hands, 0, sizeof(hands));
    empty_tagged = 0;
    for (unsigned i = 0; i < EXPLORE_THREADS_MAX; i++)
        hands[i].word = i + 1;
}

static void join(struct hand *hand)
{
    bool may_move;
    hand->shard = central_join(&may_move);
    if (may_move)
        central_move(&hand->shard, false);
}

/* Two threads in shards of their own; the first holds three objects of a slab that is otherwise
 * whole: little enough for others to take it over. */
static void begin_with_two(void)
{
    begin();
    join(&hands[0]);
    join(&hands[1]);
    EXPLORE_CHECK(hands[0].shard != hands[1].shard);
    take(&hands[0], 3);
}

/* All comes back, to the last slab, and the counts agree. */
static void end(void)
{
    struct central_stats stats;
    unsigned threads = 0, alone = 0;
    for (unsigned i = 0; i < EXPLORE_THREADS_MAX; i++)
        put_back(&hands[i], hands[i].count);
    central_drain(CLASS);
    central_stats_get(CLASS, &stats);
    EXPLORE_CHECK(stats.slab_count == 0 && stats.out_objects == 0 && stats.list_objects == 0);
    EXPLORE_CHECK(stats.tagged_out_objects == 0);
    for (unsigned i = 0; i < SLABS; i++)
        EXPLORE_CHECK(world.spans[i].kind == SPAN_UNUSED);
    for (unsigned number = 0; number < central_shard_count(); number++) {
        EXPLORE_CHECK(lock_of(number)->state == 0);
        threads += shard_at(number)->thread_count;
        alone += shard_at(number)->is_private ? shard_at(number)->thread_count : 0;
        EXPLORE_CHECK(!shard_at(number)->is_private || shard_at(number)->thread_count <= 1);
    }
    unsigned still_there = 0;
    for (unsigned i = 0; i < EXPLORE_THREADS_MAX; i++)
        still_there += hands[i].shard != NULL;
    EXPLORE_CHECK(threads == still_there && shards.lock.state == 0);
    EXPLORE_CHECK(shards.private_threads == alone);
    EXPLORE_CHECK(shards.moved_threads == threads - alone - central_first.thread_count);
}

/* A full slab beside it. */
static void begin_with_more(void)
{
    begin_with_two();
    take(&hands[0], 8);
}

static void first_returns(unsigned thread)
{
    put_back(&hands[thread], hands[thread].count - 1);
    put_back(&hands[thread], 1);
}

static void first_puts(unsigned thread)
{
    put(&hands[thread], hands[thread].count - 1);
    put(&hands[thread], 1);
}

static void second_takes(unsigned thread)
{
    take(&hands[thread], 2);
    put_back(&hands[thread], 1);
}

TEST(explore, objects_go_back_to_a_slab_that_another_shard_takes_over)
{
    CHECK(explore(&(struct explore_plan){2, begin_with_two, {first_returns, second_takes}, end}));
    CHECK(explore(&(struct explore_plan){2, begin_with_more, {first_returns, second_takes}, end}));
}

TEST(explore, lists_are_handed_on_while_their_slab_is_taken_over)
{
    CHECK(explore(&(struct explore_plan){2, begin_with_two, {first_puts, second_takes}, end}));
}

/* The third is in a shard of its own as well, with objects of the second. */
static void begin_with_three(void)
{
    begin_with_two();
    join(&hands[2]);
    take(&hands[1], 2);
    own(&hands[2], disown(&hands[1]));
    own(&hands[2], disown(&hands[0]));
}

static void third_returns(unsigned thread)
{
    put_back(&hands[thread], 2);
}

static void third_takes(unsigned thread)
{
    take(&hands[thread], 1);
    put(&hands[thread], 2);
}

TEST(explore, three_shards_take_and_give_back_one_another_s_objects)
{
    CHECK(explore(&(struct explore_plan){
        3, begin_with_three, {first_returns, second_takes, third_returns}, end}));
    CHECK(explore(
        &(struct explore_plan){3, begin_with_three, {first_puts, second_takes, third_takes}, end}));
}

static void tend_twice(unsigned thread)
{
    (void)thread;
    central_tend(hands[1].shard, CLASS);
    central_tend_deserted(CLASS, 1);
    central_tend(&central_first, CLASS);
}

static void drain(unsigned thread)
{
    (void)thread;
    central_drain(CLASS);
}

TEST(explore, what_is_kept_goes_back_while_others_take_it)
{
    CHECK(explore(
        &(struct explore_plan){3, begin_with_two, {first_puts, second_takes, tend_twice}, end}));
    CHECK(
        explore(&(struct explore_plan){3, begin_with_two, {first_puts, second_takes, drain}, end}));
}

static void come_and_go(unsigned thread)
{
    struct hand *hand = &hands[thread];
    join(hand);
    struct shard *joined = hand->shard;
    hand->shard = central_local(joined);
    take(hand, 2);
    put(hand, 1);
    hand->shard = joined;
    central_leave(hand->shard);
    hand->shard = NULL;
}

TEST(explore, threads_come_to_shards_and_leave_them)
{
    CHECK(explore(&(struct explore_plan){2, begin, {come_and_go, come_and_go}, end}));
    CHECK(explore(&(struct explore_plan){3, begin, {come_and_go, come_and_go, come_and_go}, end}));
}

/* Comes to be alone, finds that it does it no good, and goes among the others again. */
static void be_alone_for_a_time(unsigned thread)
{
    struct hand *hand = &hands[thread];
    join(hand);
    bool is_alone = central_move(&hand->shard, true);
    EXPLORE_CHECK(is_alone == hand->shard->is_private);
    take(hand, 1);
    central_judge_private(false, true);
    central_move(&hand->shard, false);
    EXPLORE_CHECK(!hand->shard->is_private);
    put(hand, 1);
    central_leave(hand->shard);
    hand->shard = NULL;
}

TEST(explore, private_shards_have_one_thread_and_lose_it_again)
{
    CHECK(
        explore(&(struct explore_plan){2, begin, {be_alone_for_a_time, be_alone_for_a_time}, end}));
    CHECK(explore(&(struct explore_plan){
        3, begin, {be_alone_for_a_time, be_alone_for_a_time, come_and_go}, end}));
}

static void *tagged;

static void begin_tagged(void)
{
    begin_with_two();
    tagged = central_take_tagged(hands[0].shard, CLASS, 7);
}

static void first_frees_tagged(unsigned thread)
{
    EXPLORE_CHECK(central_tag_get(pagemap_find(tagged), tagged) == 7);
    central_put_tagged(pagemap_find(tagged), tagged);
    put_back(&hands[thread], 3);
}

static void second_takes_tagged(unsigned thread)
{
    void *object = central_take_tagged(&central_first, CLASS, 9);
    EXPLORE_CHECK(object != NULL && central_tag_get(pagemap_find(object), object) == 9);
    second_takes(thread);
    central_put_tagged(pagemap_find(object), object);
}

TEST(explore, tagged_objects_keep_their_tags)
{
    CHECK(explore(
        &(struct explore_plan){2, begin_tagged, {first_frees_tagged, second_takes_tagged}, end}));
}

static void look_for_object(unsigned thread)
{
    struct object *object = hands[thread].objects[0];
    EXPLORE_CHECK(!central_holds(pagemap_find(object), object));
    put(&hands[thread], 2);
}

static void fork_now(unsigned thread)
{
    (void)thread;
    central_fork_prepare();
    for (unsigned number = 0; number < central_shard_count(); number++)
        EXPLORE_CHECK(explore_holds(&lock_of(number)->state));
    central_fork_parent();
}

TEST(explore, what_is_in_use_is_held_by_no_list_and_no_slab)
{
    CHECK(explore(&(struct explore_plan){
        3, begin_with_three, {first_puts, second_takes, look_for_object}, end}));
}

TEST(explore, a_fork_finds_all_locks_free)
{
    CHECK(explore(
        &(struct explore_plan){3, begin_with_two, {first_puts, second_takes, fork_now}, end}));
    CHECK(explore(&(struct explore_plan){3, begin, {come_and_go, come_and_go, fork_now}, end}));
}

#endif
