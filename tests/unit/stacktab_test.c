#include <pthread.h>

#include "base/meta.h"
#include "prof/stacktab.h"
#include "tap.h"

__attribute__((constructor(1000))) static void prepare(void)
{
    if (!stacktab_init())
        abort();
}

/* A stack of a test's own: its number is in each frame. */
static struct site *intern(uintptr_t number, size_t depth, size_t bytes)
{
    uintptr_t frames[STACK_DEPTH_MAX];
    for (size_t i = 0; i < depth; i++)
        frames[i] = 0x400000 + number * 256 + i;
    return stacktab_intern(frames, depth, false, bytes, NULL);
}

static struct site_counts counts_of(struct site *site)
{
    stacktab_freeze();
    struct site_counts counts = stacktab_frozen_counts(site);
    stacktab_thaw();
    return counts;
}

TEST(stacktab, the_same_stack_and_size_is_one_site)
{
    size_t stacks = stacktab_stack_count(), sites = stacktab_site_count();
    struct site *site = intern(1, 10, 64);
    CHECK(site == intern(1, 10, 64));
    CHECK_EQUAL(stacktab_stack_count() - stacks, 1);
    CHECK_EQUAL(stacktab_site_count() - sites, 1);
    CHECK_EQUAL(site->object_bytes, 64);
    CHECK_EQUAL(site->stack->depth, 10);
    CHECK_EQUAL(site->stack->frames[9], 0x400000 + 256 + 9);
}

TEST(stacktab, another_size_is_another_site_of_the_same_stack)
{
    struct site *a = intern(2, 10, 64), *b = intern(2, 10, 128);
    CHECK(a != b && a->stack == b->stack);
}

TEST(stacktab, stacks_differ_by_any_frame_by_depth_and_by_being_cut)
{
    uintptr_t frames[4] = {0x1000, 0x2000, 0x3000, 0x4000};
    struct site *whole = stacktab_intern(frames, 4, false, 16, NULL);
    CHECK(stacktab_intern(frames, 3, false, 16, NULL)->stack != whole->stack);
    CHECK(stacktab_intern(frames, 4, true, 16, NULL)->stack != whole->stack);
    frames[3]++;
    CHECK(stacktab_intern(frames, 4, false, 16, NULL)->stack != whole->stack);
    frames[3]--;
    CHECK(stacktab_intern(frames, 4, false, 16, NULL) == whole);
}

TEST(stacktab, an_empty_stack_and_the_deepest_are_kept)
{
    CHECK(intern(3, 0, 16) == intern(4, 0, 16));
    struct site *deepest = intern(5, STACK_DEPTH_MAX, 16);
    CHECK_EQUAL(deepest->stack->depth, STACK_DEPTH_MAX);
    CHECK(deepest == intern(5, STACK_DEPTH_MAX, 16));
}

TEST(stacktab, charges_and_discharges_add_up)
{
    struct site *site = intern(6, 5, 1000);
    stacktab_charge(site, 4, 900);
    stacktab_charge(site, 2, 1000);
    stacktab_discharge(site, 4, 900, 0);
    struct site_counts counts = counts_of(site);
    CHECK(counts.alloc.objects == 6 && counts.freed.objects == 4);
    CHECK_EQUAL(counts.alloc.samples, 2);
    CHECK_EQUAL(counts.freed.samples, 1);
    CHECK(counts.alloc.requested_bytes == 4 * 900 + 2 * 1000);
    CHECK(counts.freed.requested_bytes == 4 * 900);
    CHECK(counts.alloc.variance == 4 * 3 + 2 * 1 && counts.freed.variance == 4 * 3);
}

TEST(stacktab, a_freeze_shows_the_counts_of_its_moment)
{
    struct site *touched = intern(7, 5, 16), *untouched = intern(8, 5, 16);
    stacktab_charge(touched, 1, 10);
    stacktab_charge(untouched, 1, 10);
    stacktab_freeze();
    stacktab_charge(touched, 1, 10);
    stacktab_discharge(touched, 1, 10, 0);
    CHECK_EQUAL(stacktab_frozen_counts(touched).alloc.samples, 1);
    CHECK_EQUAL(stacktab_frozen_counts(touched).freed.samples, 0);
    CHECK_EQUAL(stacktab_frozen_counts(untouched).alloc.samples, 1);
    stacktab_charge(untouched, 1, 10);
    CHECK_EQUAL(stacktab_frozen_counts(untouched).alloc.samples, 1);
    stacktab_thaw();
    CHECK_EQUAL(counts_of(touched).alloc.samples, 2);
    CHECK_EQUAL(counts_of(touched).freed.samples, 1);
    CHECK_EQUAL(counts_of(untouched).alloc.samples, 2);
}

TEST(stacktab, a_site_made_during_a_freeze_shows_nothing_yet)
{
    stacktab_freeze();
    struct site *site = intern(9, 5, 16);
    stacktab_charge(site, 1, 10);
    CHECK_EQUAL(stacktab_frozen_counts(site).alloc.samples, 0);
    stacktab_thaw();
    CHECK_EQUAL(counts_of(site).alloc.samples, 1);
}

enum { THREADS = 4, PAIRS = 50000, FREEZES = 300 };
static struct site *first_site, *second_site;
static _Atomic bool is_over;

/* Charges the first site, then the second: no moment shows the second ahead by more than none. */
static void *charge_pairs(void *unused)
{
    (void)unused;
    for (int i = 0; i < PAIRS || !is_over; i++) {
        stacktab_charge(first_site, 1, 1);
        stacktab_charge(second_site, 1, 1);
    }
    return NULL;
}

TEST(stacktab, a_freeze_is_consistent_while_threads_charge)
{
    pthread_t threads[THREADS];
    first_site = intern(10, 5, 16);
    second_site = intern(11, 5, 16);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, charge_pairs, NULL);
    size_t torn = 0;
    for (int i = 0; i < FREEZES; i++) {
        stacktab_freeze();
        struct site_counts second = stacktab_frozen_counts(second_site);
        struct site_counts first = stacktab_frozen_counts(first_site);
        uint64_t ahead = first.alloc.samples - second.alloc.samples;
        torn += ahead > THREADS || first.alloc.objects != (double)first.alloc.samples;
        torn += stacktab_frozen_counts(first_site).alloc.samples != first.alloc.samples;
        stacktab_thaw();
    }
    is_over = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(torn, 0);
    CHECK_EQUAL(counts_of(first_site).alloc.samples, counts_of(second_site).alloc.samples);
}

static void *intern_same(void *sites)
{
    for (uintptr_t i = 0; i < 2000; i++)
        ((struct site **)sites)[i] = intern(5000 + i, 8, 32);
    return NULL;
}

TEST(stacktab, threads_that_meet_a_stack_at_once_make_it_once)
{
    static struct site *sites[THREADS][2000];
    pthread_t threads[THREADS];
    size_t stacks = stacktab_stack_count();
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, intern_same, sites[i]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(stacktab_stack_count() - stacks, 2000);
    for (int i = 1; i < THREADS; i++)
        CHECK(memcmp(sites[0], sites[i], sizeof(sites[0])) == 0);
}

TEST(stacktab, a_fork_within_a_freeze_leaves_the_child_thawed)
{
    struct site *site = intern(12, 5, 16);
    stacktab_freeze();
    stacktab_charge(site, 1, 1);
    stacktab_fork_prepare();
    stacktab_fork_child();
    stacktab_charge(site, 1, 1);
    CHECK_EQUAL(counts_of(site).alloc.samples, 2);
}

static size_t walk_sites(void)
{
    size_t count = 0;
    for (struct site *site = stacktab_first_site(); site != NULL; site = site->next_site)
        count++;
    return count;
}

TEST(stacktab, it_grows_past_100_000_stacks_and_still_finds_each)
{
    enum { STACKS = 100000 };
    static struct site *sites[STACKS];
    uint64_t other = stacktab_other_count();
    for (uintptr_t i = 0; i < STACKS; i++)
        sites[i] = intern(10000 + i, 3 + i % 5, 48);
    size_t lost = 0;
    for (uintptr_t i = 0; i < STACKS; i++)
        lost += intern(10000 + i, 3 + i % 5, 48) != sites[i];
    CHECK_EQUAL(lost, 0);
    CHECK_EQUAL(stacktab_other_count(), other);
    CHECK_EQUAL(walk_sites(), stacktab_site_count());
}

/* Comes last: the table is full afterwards. */
TEST(stacktab, past_the_cap_samples_are_charged_to_other_and_counted)
{
    uint64_t before = stacktab_other_count();
    uintptr_t number = 1000000;
    while (stacktab_other_count() == before && number < 1400000)
        intern(number++, 3, 48);
    CHECK_EQUAL(stacktab_other_count() - before, 1);
    struct site *other = intern(number++, 3, 48);
    CHECK(other->stack == NULL);
    CHECK(other == intern(number++, 7, 48));
    CHECK_EQUAL(intern(number++, 3, 96)->object_bytes, 96);
    CHECK(intern(number++, 3, 96) != other);
    size_t bytes = meta_bytes();
    for (int i = 0; i < 1000; i++)
        intern(number++, 3, 48);
    CHECK(meta_bytes() - bytes < 4096);
    CHECK(intern(10, 5, 16) == first_site);
    CHECK_EQUAL(walk_sites(), stacktab_site_count());
}
