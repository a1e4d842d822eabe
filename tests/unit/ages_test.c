#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "prof/ages.h"
#include "prof/livetab.h"
#include "tap.h"

__attribute__((constructor(1000))) static void prepare(void)
{
    if (!stacktab_init())
        abort();
}

/* A site of a stack of its own, by a number of one's choice. */
static struct site *site_of(uintptr_t number, size_t object_bytes)
{
    uintptr_t frames[2] = {number, number};
    return stacktab_intern(frames, 2, STACK_WHOLE, object_bytes, NULL);
}

static uint32_t make_sample(struct site *site, uint64_t birth_ns, double weight)
{
    struct sample *sample;
    uint32_t tag = livetab_alloc(&sample);
    sample->weight = weight;
    sample->birth_ns = birth_ns;
    livetab_publish(sample, site);
    return tag;
}

static uint64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

TEST(ages, each_stack_has_its_own_youngest_first)
{
    enum { SAMPLES = 500 };
    uint64_t now = clock_now(), second = 1000000000u;
    struct site *sites[3] = {site_of(1, 64), site_of(2, 64), site_of(1, 128)};
    uint32_t tags[SAMPLES];
    for (uint32_t i = 0; i < SAMPLES; i++)
        tags[i] = make_sample(sites[i % 3], now - (i * 7919u) % 1000u * second / 1000, 10);
    struct ages ages;
    CHECK(ages_take(&ages));
    CHECK_EQUAL(ages_of(&ages, sites[0]->stack).count, 333);
    CHECK_EQUAL(ages_of(&ages, sites[1]->stack).count, 167);
    CHECK_EQUAL(ages_of(&ages, NULL).count, 0);
    for (int s = 0; s < 2; s++) {
        struct age_list list = ages_of(&ages, sites[s]->stack);
        for (size_t i = 1; i < list.count; i++)
            CHECK(list.first[i - 1].ns <= list.first[i].ns);
        CHECK(ages_oldest_ns(list) == list.first[list.count - 1].ns);
        CHECK(ages_oldest_ns(list) < 2 * second);
    }
    ages_free(&ages);
    for (uint32_t i = 0; i < SAMPLES; i++)
        livetab_free(tags[i]);
}

TEST(ages, the_median_is_of_bytes_and_the_histogram_of_objects)
{
    uint64_t now = clock_now(), second = 1000000000u;
    struct site *small = site_of(3, 16), *large = site_of(3, 1024);
    uint32_t tags[] = {make_sample(small, now - second, 1), make_sample(small, now - 2 * second, 1),
                       make_sample(small, now - 3 * second, 1),
                       make_sample(large, now - 100 * second, 5)};
    struct ages ages;
    float alive[LIFETIME_BUCKETS] = {0};
    CHECK(ages_take(&ages));
    struct age_list list = ages_of(&ages, small->stack);
    CHECK_EQUAL(list.count, 4);
    CHECK(ages_median_ns(list) >= 100 * second);
    ages_add_objects(list, alive);
    CHECK(alive[lifetimes_bucket_of(100 * second)] == 5);
    CHECK(alive[lifetimes_bucket_of(second)] == 1);
    ages_free(&ages);
    for (size_t i = 0; i < 4; i++)
        livetab_free(tags[i]);
}

enum { THREADS = 4, ROUNDS = 200000 };
static _Atomic int ended;

static void *come_and_go(void *number)
{
    struct site *site = site_of(100 + (uintptr_t)number, 64);
    uint32_t tags[64] = {0};
    for (size_t i = 0; i < ROUNDS; i++) {
        uint32_t *tag = &tags[i * 31 % 64];
        if (*tag != 0)
            livetab_free(*tag);
        *tag = make_sample(site, clock_now(), 1);
    }
    for (size_t i = 0; i < 64; i++) {
        if (tags[i] != 0)
            livetab_free(tags[i]);
    }
    ended++;
    return NULL;
}

TEST(ages, they_may_be_gathered_while_samples_come_and_go)
{
    pthread_t threads[THREADS];
    struct ages ages;
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, come_and_go, (void *)i);
    while (ended < THREADS) {
        CHECK(ages_take(&ages));
        for (uintptr_t i = 0; i < THREADS; i++) {
            struct age_list list = ages_of(&ages, site_of(100 + i, 64)->stack);
            CHECK(list.count <= livetab_last_tag());
            CHECK(ages_oldest_ns(list) < (uint64_t)60 * 1000000000u);
        }
        ages_free(&ages);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK(ages_take(&ages));
    CHECK_EQUAL(ages.first[ages.stack_count + 1], 0);
    ages_free(&ages);
}
