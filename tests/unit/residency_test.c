#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/meta.h"
#include "base/os.h"
#include "heap/central.h"
#include "heap/large.h"
#include "heap/pageheap.h"
#include "heap/pagemap.h"
#include "heap/residency.h"
#include "tap.h"

__attribute__((constructor)) static void prepare(void)
{
    if (!pagemap_init())
        abort();
    pageheap_set_release(UINT64_MAX);
}

static struct residency now(void)
{
    struct residency residency;
    CHECK(residency_get(&residency));
    return residency;
}

static struct span *alloc_large(size_t bytes)
{
    bool is_zeroed;
    return large_alloc(bytes, 16, &is_zeroed);
}

TEST(residency, of_a_large_block_only_what_was_written_counts)
{
    struct residency before = now();
    struct span *block = alloc_large(4 * MiB);
    CHECK_EQUAL(now().large_bytes, before.large_bytes);
    memset(block->start + MiB, 1, MiB);
    CHECK_EQUAL(now().large_bytes - before.large_bytes, MiB);
    large_free(block);
    CHECK_EQUAL(now().large_bytes, before.large_bytes);
    CHECK_EQUAL(now().free_bytes - before.free_bytes, MiB);
    pageheap_release(SIZE_MAX / 2);
    CHECK_EQUAL(now().free_bytes, 0);
}

TEST(residency, of_a_block_in_a_mapping_of_its_own_too)
{
    struct residency before = now();
    struct span *block = alloc_large(70 * MiB);
    memset(block->start, 1, 3 * MiB);
    block->start[50 * MiB] = 1;
    block->start[70 * MiB - 1] = 1;
    CHECK_EQUAL(now().large_bytes - before.large_bytes, 3 * MiB + 2 * os_page_bytes());
    CHECK_EQUAL(now().free_bytes, before.free_bytes);
    large_free(block);
    CHECK_EQUAL(now().large_bytes, before.large_bytes);
    CHECK(now().free_bytes - before.free_bytes >= 3 * MiB);
    block = alloc_large(40 * MiB);
    block->start[0] = 1;
    CHECK_EQUAL(now().large_bytes - before.large_bytes, os_page_bytes());
    large_free(block);
}

/* 16 objects of 32 KiB, of which a free one has nothing but its link written. */
TEST(residency, of_a_slab_what_was_never_cut_does_not_count)
{
    struct residency before = now();
    unsigned class = SIZECLASS_OF_32768;
    struct batch batch = central_take(&central_first, class, 3);
    CHECK_EQUAL(batch.count, 3);
    CHECK_EQUAL(now().slab_bytes - before.slab_bytes, 3 * os_page_bytes());
    memset((char *)batch.head->next->next, 1, 32768);
    CHECK_EQUAL(now().slab_bytes - before.slab_bytes, 2 * os_page_bytes() + 32768);
}

TEST(residency, tables_count_where_they_were_written)
{
    size_t before, after;
    char *table = meta_alloc_sparse(64 * MiB);
    CHECK(meta_resident_bytes(&before));
    table[0] = table[33 * MiB] = 1;
    CHECK(meta_resident_bytes(&after));
    CHECK_EQUAL(after - before, 2 * os_page_bytes());
    char *piece = meta_alloc(5 * MiB);
    CHECK(meta_resident_bytes(&before));
    memset(piece + MiB, 1, 2 * MiB);
    CHECK(meta_resident_bytes(&after));
    CHECK(after - before >= 2 * MiB && after - before <= 2 * MiB + os_page_bytes());
}

static _Atomic bool is_over;

static void *churn(void *argument)
{
    while (!is_over) {
        struct span *huge = alloc_large(33 * MiB), *large = alloc_large(MiB);
        huge->start[0] = large->start[0] = 1;
        large_free(huge);
        large_free(large);
    }
    return argument;
}

TEST(residency, it_can_be_asked_while_blocks_come_and_go)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, churn, NULL);
    for (int i = 0; i < 2000; i++)
        CHECK(now().large_bytes < 200 * MiB);
    is_over = true;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(now().large_bytes, 0);
}
