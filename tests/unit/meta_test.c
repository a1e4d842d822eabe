#include <pthread.h>

#include "base/meta.h"
#include "tap.h"

static bool is_zeroed(const void *start, size_t bytes)
{
    const char *at = start;
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != 0)
            return false;
    }
    return true;
}

TEST(meta, memory_is_zeroed_and_aligned)
{
    for (size_t bytes = 1; bytes < 300; bytes += 13) {
        void *start = meta_alloc(bytes);
        CHECK_EQUAL((uintptr_t)start % (bytes >= CACHE_LINE_BYTES ? CACHE_LINE_BYTES : 16), 0);
        CHECK(is_zeroed(start, bytes));
        memset(start, 0xff, bytes);
    }
}

TEST(meta, pieces_do_not_overlap)
{
    enum { PIECES = 3000 };
    static unsigned char *pieces[PIECES];
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = meta_alloc(1 + i % 997);
        memset(pieces[i], (int)(i & 0xff), 1 + i % 997);
    }
    size_t wrong = 0;
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t at = 0; at < 1 + i % 997; at++)
            wrong += pieces[i][at] != (i & 0xff);
    }
    CHECK_EQUAL(wrong, 0);
}

TEST(meta, a_piece_longer_than_a_chunk_is_had)
{
    size_t bytes = 3 * MiB + 5;
    char *start = meta_alloc(bytes);
    CHECK(start != NULL && is_zeroed(start, bytes));
    start[bytes - 1] = 1;
}

TEST(meta, what_the_kernel_has_not_is_null)
{
    CHECK(meta_alloc(SIZE_MAX / 2) == NULL);
    CHECK(meta_alloc(16) != NULL);
}

TEST(meta, bytes_are_counted)
{
    size_t before = meta_bytes();
    meta_alloc(160);
    CHECK_EQUAL(meta_bytes() - before, 160);
    meta_alloc_sparse(64 * MiB);
    CHECK_EQUAL(meta_bytes() - before, 160);
}

TEST(meta, a_sparse_table_reads_as_zeroes_and_can_be_written_at_both_ends)
{
    size_t bytes = 8 * GiB;
    char *table = meta_alloc_sparse(bytes);
    CHECK(table != NULL);
    CHECK(table[0] == 0 && table[bytes - 1] == 0);
    table[0] = table[bytes - 1] = 1;
}

struct record {
    uint64_t words[5];
};

TEST(meta, a_pool_hands_out_what_came_back_before_it_takes_more)
{
    struct meta_pool pool = META_POOL_INITIAL(struct record);
    struct record *a = meta_pool_alloc(&pool), *b = meta_pool_alloc(&pool);
    CHECK(a != NULL && b != NULL && a != b);
    meta_pool_free(&pool, a);
    size_t before = meta_bytes();
    CHECK(meta_pool_alloc(&pool) == a);
    CHECK_EQUAL(meta_bytes(), before);
    CHECK(meta_pool_alloc(&pool) != b);
}

enum { THREADS = 4, ROUNDS = 20000, HELD = 8 };
static struct meta_pool shared_pool = META_POOL_INITIAL(struct record);
static _Atomic size_t spoiled;

/* Marks each record as its own while it has it. */
static void *use_pool(void *number)
{
    struct record *held[HELD] = {NULL};
    for (size_t i = 0; i < ROUNDS; i++) {
        struct record **record = &held[i % HELD];
        if (*record != NULL) {
            spoiled += (*record)->words[4] != (uintptr_t)number;
            meta_pool_free(&shared_pool, *record);
        }
        *record = meta_pool_alloc(&shared_pool);
        (*record)->words[4] = (uintptr_t)number;
    }
    return NULL;
}

TEST(meta, no_record_has_two_owners_while_threads_share_a_pool)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, use_pool, (void *)(i + 1));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(spoiled, 0);
}
