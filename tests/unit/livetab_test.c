#include <pthread.h>

#include "prof/livetab.h"
#include "tap.h"

TEST(livetab, a_tag_finds_its_record_and_is_never_0)
{
    enum { SAMPLES = 10000 };
    static struct sample *samples[SAMPLES];
    static uint32_t tags[SAMPLES];
    for (size_t i = 0; i < SAMPLES; i++) {
        tags[i] = livetab_alloc(&samples[i]);
        CHECK(tags[i] != 0);
        samples[i]->requested_bytes = i;
    }
    CHECK_EQUAL(livetab_count(), SAMPLES);
    for (size_t i = 0; i < SAMPLES; i++) {
        CHECK(livetab_get(tags[i]) == samples[i]);
        CHECK_EQUAL(samples[i]->requested_bytes, i);
        livetab_free(tags[i]);
    }
    CHECK_EQUAL(livetab_count(), 0);
}

TEST(livetab, freed_tags_are_used_again)
{
    struct sample *sample;
    uint32_t highest = 0;
    for (int i = 0; i < 100000; i++) {
        uint32_t tag = livetab_alloc(&sample);
        highest = tag > highest ? tag : highest;
        livetab_free(tag);
    }
    CHECK(highest <= 10000);
}

TEST(livetab, a_freed_record_has_no_site)
{
    struct sample *sample;
    struct site *site = (struct site *)&sample;
    uint32_t tag = livetab_alloc(&sample);
    sample->site = site;
    livetab_free(tag);
    CHECK(livetab_get(tag)->site == NULL);
}

enum { THREADS = 4, ROUNDS = 30000, HELD = 16 };
static _Atomic size_t spoiled;

static void *use_tags(void *number)
{
    uint32_t tags[HELD] = {0};
    for (size_t i = 0; i < ROUNDS; i++) {
        uint32_t *tag = &tags[i % HELD];
        struct sample *sample;
        if (*tag != 0) {
            spoiled += livetab_get(*tag)->requested_bytes != (uintptr_t)number;
            livetab_free(*tag);
        }
        *tag = livetab_alloc(&sample);
        sample->requested_bytes = (uintptr_t)number;
    }
    for (size_t i = 0; i < HELD; i++)
        livetab_free(tags[i]);
    return NULL;
}

TEST(livetab, threads_never_share_a_record)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, use_tags, (void *)(i + 1));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(spoiled, 0);
    CHECK_EQUAL(livetab_count(), 0);
}

/* Records that are only taken cost no memory, so the test can have as many as that heap. */
TEST(livetab, a_tebibyte_sampled_each_64_kib_has_room)
{
    struct sample *sample;
    size_t wanted = TiB / (64 * KiB) + 1, count = livetab_count();
    while (count < wanted && livetab_alloc(&sample) != 0)
        count++;
    CHECK_EQUAL(count, wanted);
    CHECK_EQUAL(livetab_count(), wanted);
}
