#include "child.h"
#include "dies.h"
#include "heap/hardened.h"
#include "heap/large.h"
#include "heap/pageheap.h"
#include "heap/pagemap.h"
#include "tap.h"

static bool begin(void)
{
    if (!pagemap_init())
        return false;
    hardened_start();
    return true;
}

/* Each test in a child: such a heap is begun once. */
static void in_child(void (*work)(void))
{
    child_run(begin, work);
}

static char *alloc(size_t bytes, size_t alignment)
{
    return hardened_alloc(bytes, alignment, hardened_class_of(bytes, alignment), 7);
}

static void release(char *start)
{
    hardened_free(pagemap_find(start), start);
}

static void keep_apart(void)
{
    for (size_t bytes = 0; bytes <= SMALL_MAX_BYTES - CANARY_MIN_BYTES; bytes += 997) {
        for (size_t alignment = 16; alignment <= HEAP_PAGE_BYTES; alignment *= 4) {
            if (hardened_class_of(bytes, alignment) == SIZECLASS_NONE)
                continue;
            char *start = alloc(bytes, alignment);
            CHECK_EQUAL((uintptr_t)start % alignment, 0);
            CHECK_EQUAL(pagemap_code_of(start), 0);
            struct hardened_record record = hardened_get(pagemap_find(start), start);
            CHECK(record.bytes == bytes && record.tag == 7);
            CHECK_EQUAL((size_t)1 << record.alignment_shift, alignment);
            memset(start, 1, bytes);
        }
    }
    hardened_check_all();
    CHECK_EQUAL(hardened_class_of(SMALL_MAX_BYTES, 16), SIZECLASS_NONE);
}

TEST(hardened, objects_are_aligned_known_and_have_a_canary_behind_them)
{
    in_child(keep_apart);
}

static void scatter(void)
{
    char *before = alloc(64, 16);
    int neighbours = 0;
    for (int i = 0; i < 1000; i++) {
        char *start = alloc(64, 16);
        neighbours += start == before + 80;
        before = start;
    }
    CHECK(neighbours < 200);
}

TEST(hardened, places_are_drawn_by_lot)
{
    in_child(scatter);
}

static void wait_for_others(void)
{
    enum { OTHERS = 16000 };
    char *start = alloc(64, 16);
    release(start);
    for (int i = 0; i < OTHERS; i++) {
        char *other = alloc(64, 16);
        CHECK(other != start);
        release(other);
    }
}

TEST(hardened, what_is_freed_is_not_soon_taken_again)
{
    in_child(wait_for_others);
}

static void give_back(void)
{
    enum { OBJECTS = 20000 };
    static char *objects[OBJECTS];
    unsigned class = hardened_class_of(64, 16);
    struct hardened_stats stats;
    for (int i = 0; i < OBJECTS; i++)
        objects[i] = alloc(64, 16);
    hardened_stats_get(class, &stats);
    size_t most = stats.slab_count;
    CHECK_EQUAL(stats.live_objects, OBJECTS);
    for (int i = 0; i < OBJECTS; i++)
        release(objects[i]);
    for (int i = 0; i < 2000; i++)
        release(alloc(16000, 16));
    hardened_stats_get(class, &stats);
    CHECK_EQUAL(stats.live_objects, 0);
    CHECK_EQUAL(stats.quarantined_objects, 0);
    CHECK_EQUAL(stats.slab_count, 1);
    CHECK(most > 90);
}

TEST(hardened, slabs_go_back_once_all_their_objects_have_left_the_quarantine)
{
    in_child(give_back);
}

static void keep_blocks(void)
{
    bool is_zeroed;
    const size_t bytes = 100000;
    struct large_stats stats;
    struct span *first = large_alloc(bytes + CANARY_MIN_BYTES, 16, &is_zeroed);
    const char *start = first->start;
    hardened_seal_large(first, bytes);
    hardened_free_large(first);
    CHECK_EQUAL(first->kind, SPAN_QUARANTINED);
    large_stats_get(&stats);
    CHECK_EQUAL(stats.live_blocks, 0);
    for (int i = 0; i < 128; i++) {
        struct span *other = large_alloc(bytes + CANARY_MIN_BYTES, 16, &is_zeroed);
        CHECK(other->start != start);
        hardened_seal_large(other, bytes);
        hardened_free_large(other);
    }
    CHECK(first->kind != SPAN_QUARANTINED);
}

TEST(hardened, large_blocks_are_kept_closed_for_a_while)
{
    in_child(keep_blocks);
}

static void write_before_the_first(void)
{
    begin();
    char *start = alloc(30000, 16);
    struct span *slab = pagemap_find(start);
    size_t bytes = sizeclass_bytes(slab->class);
    size_t free_one = start == slab->start ? 1 : 0;
    memset(slab->start + free_one * bytes + 100, 0, 1);
    hardened_check_all();
}

TEST(hardened, a_write_to_what_was_never_allocated_is_found)
{
    int ends[2];
    char said[200];
    if (pipe(ends) != 0)
        abort();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        tap_run_to_death(ends[1], write_before_the_first);
    close(ends[1]);
    tap_read_all(ends[0], said, sizeof(said));
    waitpid(child, NULL, 0);
    CHECK(strncmp(said, "hpmalloc: wild write at 0x", 26) == 0);
    CHECK(strstr(said, ": to memory of objects of 31616 bytes that no object was in yet\n") !=
          NULL);
}
