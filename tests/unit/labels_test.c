#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "prof/profile.h"
#include "prof/sampler.h"
#include "tap.h"

__attribute__((constructor(1000))) static void prepare(void)
{
    if (!profile_init())
        abort();
    sampler_set_interval(65536);
}

static const char *value_of(const struct label_set *set, const char *key)
{
    for (size_t i = 0; set != NULL && i < set->count; i++) {
        if (strcmp(set->labels[i].key, key) == 0)
            return set->labels[i].value;
    }
    return NULL;
}

TEST(labels, a_label_replaces_one_with_its_key_and_is_kept_in_order)
{
    CHECK(labels_current() == NULL);
    CHECK_EQUAL(labels_set("tenant", "one"), 0);
    CHECK_EQUAL(labels_set("kind", "read"), 0);
    const struct label_set *first = labels_current();
    CHECK_EQUAL(first->count, 2);
    CHECK(strcmp(first->labels[0].key, "kind") == 0);
    CHECK_EQUAL(labels_set("tenant", "two"), 0);
    CHECK_EQUAL(labels_current()->count, 2);
    CHECK(strcmp(value_of(labels_current(), "tenant"), "two") == 0);
    CHECK(strcmp(value_of(first, "tenant"), "one") == 0);
    CHECK_EQUAL(labels_set("tenant", "one"), 0);
    CHECK(labels_current() == first);
    CHECK_EQUAL(labels_clear("kind"), 0);
    CHECK_EQUAL(labels_current()->count, 1);
    CHECK_EQUAL(labels_clear("nothing of the kind"), 0);
    CHECK_EQUAL(labels_clear(NULL), 0);
    CHECK(labels_current() == NULL);
}

TEST(labels, texts_are_copied_and_bad_ones_refused)
{
    char key[LABEL_TEXT_MAX + 2], value[] = "first";
    memset(key, 'k', sizeof(key));
    key[LABEL_TEXT_MAX + 1] = '\0';
    CHECK_EQUAL(labels_set(key, value), -EINVAL);
    key[LABEL_TEXT_MAX] = '\0';
    CHECK_EQUAL(labels_set(key, value), 0);
    memset(value, 'x', 5);
    CHECK(strcmp(value_of(labels_current(), key), "first") == 0);
    CHECK_EQUAL(labels_set("", "value"), -EINVAL);
    CHECK_EQUAL(labels_set("key", ""), -EINVAL);
    CHECK_EQUAL(labels_set(NULL, "value"), -EINVAL);
    CHECK_EQUAL(labels_set("key", "two\nlines"), -EINVAL);
    CHECK_EQUAL(labels_current()->count, 1);
    labels_clear(NULL);
}

TEST(labels, a_thread_has_at_most_eight)
{
    char key[] = "a";
    for (int i = 0; i < LABELS_MAX; i++, key[0]++)
        CHECK_EQUAL(labels_set(key, "v"), 0);
    CHECK_EQUAL(labels_set("z", "v"), -ENOSPC);
    CHECK_EQUAL(labels_set("a", "w"), 0);
    labels_clear(NULL);
}

static void *look(void *unused)
{
    (void)unused;
    return (void *)labels_current();
}

TEST(labels, they_are_the_threads_own)
{
    pthread_t thread;
    void *seen;
    labels_set("mine", "yes");
    pthread_create(&thread, NULL, look, NULL);
    pthread_join(thread, &seen);
    CHECK(seen == NULL);
    labels_clear(NULL);
}

__attribute__((noinline)) static void record(void)
{
    CHECK(profile_record(100, 112, 0.5) != 0);
}

TEST(labels, stacks_with_different_labels_are_rows_of_their_own)
{
    record();
    labels_set("tenant", "one");
    for (int i = 0; i < 2; i++)
        record();
    labels_clear(NULL);
    struct snapshot snapshot;
    CHECK(snapshot_take(&snapshot));
    CHECK_EQUAL(snapshot.row_count, 3);
    size_t labelled = 0;
    for (size_t i = 0; i < snapshot.row_count; i++)
        labelled += snapshot.rows[i].labels != NULL ? snapshot.rows[i].inuse.samples : 0;
    CHECK_EQUAL(labelled, 2);
    snapshot_free(&snapshot);
}

TEST(labels, there_is_an_end_to_different_sets)
{
    char value[16];
    int answer = 0;
    for (int i = 0; i < LABEL_SETS_MAX && answer == 0; i++) {
        snprintf(value, sizeof(value), "%d", i);
        answer = labels_set("request", value);
    }
    CHECK_EQUAL(answer, -ENOSPC);
    CHECK_EQUAL(labels_set_count(), LABEL_SETS_MAX);
    CHECK_EQUAL(labels_set("request", "0"), 0);
    labels_clear(NULL);
}
