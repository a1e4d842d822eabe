#include <stdlib.h>

#include "base/os.h"
#include "dies.h"
#include "heap/slab.h"
#include "tap.h"

/* A slab in pages of its own: this room needs neither page map nor page heap. */
static struct span *make_slab(size_t object_bytes)
{
    static struct span spans[100];
    static size_t used;
    unsigned class = sizeclass_from_code(sizeclass_code_of(object_bytes));
    struct span *slab = &spans[used++ % array_count(spans)];
    slab->pages = sizeclass_table[class].slab_pages;
    slab->start = os_map(span_bytes(slab));
    slab->kind = SPAN_SLAB;
    slab_init(slab, class, 0);
    return slab;
}

static struct object *take_one(struct span *slab)
{
    struct object *head, *tail;
    return slab_take(slab, 1, &head, &tail) == 1 ? head : NULL;
}

TEST(slab, a_new_one_is_empty_and_hands_out_objects_in_address_order)
{
    struct span *slab = make_slab(64);
    CHECK(slab_is_empty(slab) && !slab_is_full(slab));
    struct object *head, *tail;
    CHECK_EQUAL(slab_take(slab, 5, &head, &tail), 5);
    struct object *at = head;
    for (size_t i = 0; i < 5; i++, at = at->next) {
        CHECK((char *)at == slab->start + i * 64);
        CHECK(at->mark == OBJECT_FREED_MARK);
    }
    CHECK(at == NULL && tail->next == NULL);
    CHECK(!slab_is_empty(slab));
}

TEST(slab, it_touches_no_page_before_it_must)
{
    struct span *slab = make_slab(1024);
    take_one(slab);
    CHECK_EQUAL(slab->cut, 1);
    struct object *head, *tail;
    slab_take(slab, 3, &head, &tail);
    CHECK_EQUAL(slab->cut, 4);
}

TEST(slab, it_gives_exactly_as_many_objects_as_its_class_says)
{
    size_t sizes[] = {16, 32, 208, 1344, 8192, 32768};
    for (size_t i = 0; i < array_count(sizes); i++) {
        struct span *slab = make_slab(sizes[i]);
        size_t objects = sizeclass_table[slab->class].slab_objects;
        struct object *head, *tail;
        CHECK_EQUAL(slab_take(slab, 10000, &head, &tail), objects);
        CHECK(slab_is_full(slab));
        CHECK((char *)tail + sizes[i] <= span_limit(slab));
        CHECK_EQUAL(slab_take(slab, 1, &head, &tail), 0);
    }
}

TEST(slab, freed_objects_come_out_again_before_new_ones_are_cut)
{
    struct span *slab = make_slab(128);
    struct object *objects[8];
    for (int i = 0; i < 8; i++)
        objects[i] = take_one(slab);
    slab_put(slab, objects[6]);
    slab_put(slab, objects[2]);
    slab_put(slab, objects[4]);
    CHECK(take_one(slab) == objects[2]);
    CHECK(take_one(slab) == objects[4]);
    CHECK(take_one(slab) == objects[6]);
    CHECK(take_one(slab) == (void *)(slab->start + 8 * 128));
}

TEST(slab, it_is_empty_again_when_all_came_back)
{
    struct span *slab = make_slab(16);
    struct object *head, *tail;
    slab_take(slab, 512, &head, &tail);
    for (struct object *at = head, *next; at != NULL; at = next) {
        next = at->next;
        CHECK(!slab_holds(slab, at));
        slab_put(slab, at);
        CHECK(slab_holds(slab, at));
    }
    CHECK(slab_is_empty(slab));
}

TEST(slab, an_object_never_cut_is_inside)
{
    struct span *slab = make_slab(64);
    take_one(slab);
    CHECK(!slab_holds(slab, slab->start));
    CHECK(slab_holds(slab, slab->start + 64));
}

static struct span *victim;
static void *wrong;

static void put_wrong(void)
{
    slab_put(victim, wrong);
}

TEST(slab, it_dies_of_an_object_put_back_twice)
{
    victim = make_slab(64);
    wrong = take_one(victim);
    slab_put(victim, wrong);
    CHECK_DIES(put_wrong, "double free of %p: object of 64 bytes", wrong);
}

TEST(slab, it_dies_of_an_object_that_was_never_handed_out)
{
    victim = make_slab(64);
    take_one(victim);
    wrong = victim->start + 640;
    CHECK_DIES(put_wrong, "double free of %p: object of 64 bytes", wrong);
}

TEST(slab, what_lies_behind_its_last_object_is_neither_handed_out_nor_taken_back)
{
    victim = make_slab(48);
    const struct sizeclass *class = &sizeclass_table[victim->class];
    struct object *head, *tail;
    CHECK_EQUAL(slab_take(victim, SLAB_OBJECTS_MAX, &head, &tail), class->slab_objects);
    CHECK(slab_is_full(victim) && tail->next == NULL);
    CHECK_EQUAL(slab_take(victim, 1, &head, &tail), 0);
    CHECK(head == NULL);
    wrong = victim->start + (size_t) class->slab_objects * class->bytes;
    CHECK((char *)wrong < span_limit(victim));
    CHECK_DIES(put_wrong, "double free of %p: object of 48 bytes", wrong);
}

TEST(slab, it_dies_of_a_pointer_into_an_object)
{
    victim = make_slab(48);
    take_one(victim);
    take_one(victim);
    wrong = victim->start + 48 + 17;
    CHECK_DIES(put_wrong, "free of %p: it points 17 bytes into an object of 48 bytes", wrong);
}

static struct object *run;
static size_t run_length;

static void put_run(void)
{
    slab_put_run(victim, &sizeclass_table[victim->class], &run, run_length);
}

TEST(slab, of_a_run_it_dies_for_what_is_wrong_with_one_object)
{
    struct object *tail;
    victim = make_slab(48);
    run_length = slab_take(victim, 6, &run, &tail);
    struct object *second = run->next, *third = second->next;

    second->mark = 1;
    CHECK_DIES(put_run,
               "write after free of %p: object of 48 bytes, freed, and written to at byte 8",
               (void *)second);
    second->mark = OBJECT_FREED_MARK;

    struct object *inside = (struct object *)(void *)((char *)third + 16);
    *inside = *third;
    second->next = inside;
    CHECK_DIES(put_run, "free of %p: it points 16 bytes into an object of 48 bytes",
               (void *)inside);
    second->next = third;

    tail->next = third;
    run_length = 7;
    CHECK_DIES(put_run, "double free of %p: object of 48 bytes", (void *)third);
    tail->next = NULL;

    run_length = 6;
    put_run();
    CHECK(run == NULL && slab_is_empty(victim));
}

TEST(slab, runs_of_any_length_go_out_once_and_come_back)
{
    struct span *slab = make_slab(48);
    const struct sizeclass *class = &sizeclass_table[slab->class];
    bool is_out[SLAB_OBJECTS_MAX] = {false};
    struct object *out = NULL, *tail;
    size_t out_count = 0, most = 0;
    srand(1);
    for (int round = 0; round < 2000; round++) {
        struct object *head, *rest = out;
        size_t taken = slab_take(slab, 1 + (size_t)rand() % 100, &head, &tail);
        for (struct object *at = head; at != NULL; at = at->next) {
            size_t index = slab_index_get(slab, at);
            CHECK(!is_out[index] && !slab_holds(slab, at));
            is_out[index] = true;
        }
        if (taken != 0) {
            tail->next = out;
            rest = head;
        }
        out_count += taken;
        most = max_size(most, out_count);
        CHECK_EQUAL(slab->cut, most);
        size_t back = min_size(out_count, (size_t)rand() % 100);
        struct object *at = rest;
        for (size_t i = 0; i < back; i++, at = at->next)
            is_out[slab_index_get(slab, at)] = false;
        if (back != 0)
            CHECK_EQUAL(slab_put_run(slab, class, &rest, back), back);
        out = rest;
        out_count -= back;
        CHECK_EQUAL(slab->out, out_count);
    }
    CHECK_EQUAL(most, class->slab_objects);
}
