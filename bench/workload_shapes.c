/* One thread, the shapes of data structures: trees, tables, growing buffers, large and aligned
 * blocks. */
#include "workload.h"

#include <stdlib.h>
#include <string.h>

/* A search tree of small nodes, each with a string of its own. */
struct node {
    struct node *left, *right;
    uint64_t key;
    void *name;
};

static struct node *node_make(struct worker *worker, uint64_t key)
{
    struct node *node = take_memory(sizeof *node);
    *node = (struct node){.key = key, .name = make(worker, random_bytes(worker, 16, 64))};
    return node;
}

static struct node *tree_build(struct worker *worker, size_t count)
{
    struct node *root = NULL;
    while (count-- > 0) {
        uint64_t key = random_next(worker);
        struct node **at = &root;
        while (*at)
            at = key < (*at)->key ? &(*at)->left : &(*at)->right;
        *at = node_make(worker, key);
    }
    return root;
}

/* In key order, which the walk verifies. */
static uint64_t tree_free(struct worker *worker, struct node *node, uint64_t low)
{
    if (!node)
        return low;
    low = tree_free(worker, node->left, low);
    require(node->key >= low, "a tree's order was broken");
    uint64_t key = node->key;
    struct node *right = node->right;
    drop(worker, node->name);
    free(node);
    return tree_free(worker, right, key);
}

static void run_tree(double scale)
{
    struct worker worker;
    worker_init(&worker, 11);
    struct node *kept = tree_build(&worker, 30000);
    for (size_t round = scaled(scale, 700); round > 0; round--)
        tree_free(&worker, tree_build(&worker, 1 + random_below(&worker, 10000)), 0);
    tree_free(&worker, kept, 0);
    worker_end(&worker);
}

/* A full binary tree, nodes of one size, no payload: pure construction and tear-down. */
struct twig {
    struct twig *left, *right;
};

static struct twig *twigs_build(unsigned depth)
{
    struct twig *twig = take_memory(sizeof *twig);
    twig->left = depth ? twigs_build(depth - 1) : NULL;
    twig->right = depth ? twigs_build(depth - 1) : NULL;
    return twig;
}

static size_t twigs_free(struct twig *twig)
{
    size_t count = 1;
    if (twig->left)
        count += twigs_free(twig->left) + twigs_free(twig->right);
    free(twig);
    return count;
}

static void run_large_tree(double scale)
{
    enum { DEPTH = 18 };
    struct twig *kept = twigs_build(DEPTH);
    for (size_t round = scaled(scale, 16); round > 0; round--)
        require(twigs_free(twigs_build(DEPTH)) == (2u << DEPTH) - 1, "a tree lost nodes");
    require(twigs_free(kept) == (2u << DEPTH) - 1, "a tree lost nodes");
}

/* A chained table of string keys that doubles as it fills, as in an interpreter. */
struct entry {
    struct entry *next;
    uint64_t key;
    void *value;
};
struct map {
    struct entry **bucket;
    size_t bucket_count, entry_count;
};

static void map_grow(struct map *map)
{
    size_t count = map->bucket_count ? map->bucket_count * 2 : 16;
    struct entry **bucket = take_zeroed(count, sizeof *bucket);
    for (size_t i = 0; i < map->bucket_count; i++) {
        for (struct entry *entry = map->bucket[i], *next; entry; entry = next) {
            next = entry->next;
            entry->next = bucket[entry->key % count];
            bucket[entry->key % count] = entry;
        }
    }
    free(map->bucket);
    map->bucket = bucket;
    map->bucket_count = count;
}

static void map_toggle(struct worker *worker, struct map *map, uint64_t key)
{
    if (map->entry_count >= map->bucket_count)
        map_grow(map);
    struct entry **at = &map->bucket[key % map->bucket_count];
    while (*at && (*at)->key != key)
        at = &(*at)->next;
    struct entry *found = *at;
    if (found) {
        *at = found->next;
        drop(worker, found->value);
        free(found);
        map->entry_count--;
        return;
    }
    *at = take_memory(sizeof **at);
    **at = (struct entry){.key = key, .value = make(worker, random_bytes(worker, 16, 128))};
    map->entry_count++;
}

static void map_clear(struct worker *worker, struct map *map)
{
    for (size_t i = 0; i < map->bucket_count; i++) {
        for (struct entry *entry = map->bucket[i], *next; entry; entry = next) {
            next = entry->next;
            drop(worker, entry->value);
            free(entry);
        }
    }
    free(map->bucket);
    *map = (struct map){NULL, 0, 0};
}

static void run_map(double scale)
{
    struct map map = {NULL, 0, 0};
    struct worker worker;
    worker_init(&worker, 12);
    for (size_t round = scaled(scale, 110); round > 0; round--) {
        size_t keys = 1000 + random_below(&worker, 40000);
        for (size_t n = keys * 4; n > 0; n--)
            map_toggle(&worker, &map, random_below(&worker, keys));
        map_clear(&worker, &map);
    }
    worker_end(&worker);
}

static void require_zeroes(const char *memory, size_t bytes)
{
    static const char zero[512];
    require(memcmp(memory, zero, bytes) == 0, "calloc gave memory that is not zero");
}

static void run_calloc(double scale)
{
    enum { LIVE = 3000 };
    void *object[LIVE] = {NULL};
    struct worker worker;
    worker_init(&worker, 13);
    for (size_t n = scaled(scale, 6500000); n > 0; n--) {
        size_t i = random_below(&worker, LIVE), bytes = random_bytes(&worker, 16, 512);
        drop(&worker, object[i]);
        object[i] = take_zeroed(1, bytes);
        require_zeroes(object[i], bytes);
        adopt(&worker, object[i], bytes);
    }
    for (size_t i = 0; i < LIVE; i++)
        drop(&worker, object[i]);
    worker_end(&worker);
}

/* A buffer that grows at its end; byte i of it is a function of i. */
struct buffer {
    unsigned char *byte;
    size_t used, room;
};

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 7 + (i >> 8));
}

static void buffer_append(struct buffer *buffer, size_t bytes, size_t room)
{
    if (buffer->used + bytes > buffer->room) {
        buffer->byte = realloc(buffer->byte, room);
        require(buffer->byte != NULL, "out of memory");
        buffer->room = room;
    }
    for (size_t i = buffer->used; i < buffer->used + bytes; i++)
        buffer->byte[i] = byte_at(i);
    buffer->used += bytes;
}

static void buffer_free(struct buffer *buffer)
{
    for (size_t i = 0; i < buffer->used; i += 61)
        require(buffer->byte[i] == byte_at(i), "a grown buffer lost its contents");
    free(buffer->byte);
    *buffer = (struct buffer){NULL, 0, 0};
}

/* Many short strings, each grown to the byte by every append. */
static void run_realloc_strings(double scale)
{
    enum { STRINGS = 2000 };
    struct buffer *string = take_zeroed(STRINGS, sizeof *string);
    struct worker worker;
    worker_init(&worker, 14);
    for (size_t n = scaled(scale, 5500000); n > 0; n--) {
        struct buffer *one = &string[random_below(&worker, STRINGS)];
        size_t bytes = 1 + random_below(&worker, 40);
        if (one->used + bytes > 2000)
            buffer_free(one);
        buffer_append(one, bytes, one->used + bytes);
    }
    for (size_t i = 0; i < STRINGS; i++)
        buffer_free(&string[i]);
    free(string);
    worker_end(&worker);
}

/* A few vectors that grow by half to some mebibytes, side by side. */
static void run_realloc_vectors(double scale)
{
    enum { VECTORS = 24, LIMIT = 6 * MIB };
    struct buffer vector[VECTORS] = {{NULL, 0, 0}};
    struct worker worker;
    worker_init(&worker, 15);
    for (size_t n = scaled(scale, 500000); n > 0; n--) {
        struct buffer *one = &vector[random_below(&worker, VECTORS)];
        size_t bytes = 64 + random_below(&worker, 2000);
        if (one->used + bytes > LIMIT / 4 + random_below(&worker, LIMIT))
            buffer_free(one);
        buffer_append(one, bytes, one->used + bytes + one->used / 2);
    }
    for (size_t i = 0; i < VECTORS; i++)
        buffer_free(&vector[i]);
    worker_end(&worker);
}

static void replace_blocks(size_t live, size_t repeats, size_t low, size_t high)
{
    enum { MOST = 16 };
    void *block[MOST] = {NULL};
    struct worker worker;
    worker_init(&worker, 4 + live);
    for (size_t n = repeats; n > 0; n--) {
        size_t i = random_below(&worker, live);
        drop(&worker, block[i]);
        block[i] = make(&worker, random_bytes(&worker, low, high));
    }
    for (size_t i = 0; i < live; i++)
        drop(&worker, block[i]);
    worker_end(&worker);
}

static void run_large_blocks(double scale)
{
    replace_blocks(12, scaled(scale, 4000), 64 * KIB, 8 * MIB - 1);
}

static void run_huge_blocks(double scale)
{
    replace_blocks(3, scaled(scale, 60), 16 * MIB, 128 * MIB - 1);
}

/* Tables that are mostly empty: who zeroes memory that is zero already writes all of it. */
static void run_calloc_large(double scale)
{
    enum { LIVE = 8 };
    unsigned char *table[LIVE] = {NULL};
    struct worker worker;
    worker_init(&worker, 18);
    for (size_t n = scaled(scale, 1500); n > 0; n--) {
        size_t i = random_below(&worker, LIVE),
               bytes = random_bytes(&worker, 64 * KIB, 8 * MIB - 1);
        free(table[i]);
        table[i] = take_zeroed(1, bytes);
        size_t written = bytes / 4, at = random_below(&worker, bytes - written);
        require_zeroes((char *)table[i] + at, 512);
        require_zeroes((char *)table[i] + bytes - 512, 512);
        memset(table[i] + at, 1, written);
    }
    for (size_t i = 0; i < LIVE; i++)
        free(table[i]);
    worker_end(&worker);
}

static void *make_aligned(struct worker *worker, size_t alignment, size_t bytes)
{
    void *memory = NULL;
    require(posix_memalign(&memory, alignment, bytes) == 0, "out of memory");
    require((uintptr_t)memory % alignment == 0, "a block is not aligned as asked");
    return adopt(worker, memory, bytes);
}

static void run_aligned(double scale)
{
    enum { LIVE = 2000 };
    void *object[LIVE] = {NULL};
    struct worker worker;
    worker_init(&worker, 17);
    for (size_t n = scaled(scale, 3300000); n > 0; n--) {
        size_t i = random_below(&worker, LIVE);
        size_t alignment = (size_t)16 << random_below(&worker, n % 8 ? 4 : 9);
        drop(&worker, object[i]);
        object[i] = make_aligned(&worker, alignment, random_bytes(&worker, 32, 2048));
    }
    for (size_t i = 0; i < LIVE; i++)
        drop(&worker, object[i]);
    worker_end(&worker);
}

const struct workload shape_workloads[] = {
    {"tree", 1, "search trees of small nodes and strings, built and torn down", run_tree, 0},
    {"large-tree", 1, "524287 nodes of 16 bytes at once, built and torn down", run_large_tree, 0},
    {"map", 1, "hash tables: entries, strings, and an array that doubles", run_map, 0},
    {"calloc", 1, "16-512 zeroed bytes, random replacement", run_calloc, 0},
    {"realloc-strings", 1, "many strings grown by a few bytes at a time", run_realloc_strings, 0},
    {"realloc-vectors", 1, "a few buffers grown by half, up to 7.5 MiB", run_realloc_vectors, 0},
    {"large-blocks", 1, "64 KiB-8 MiB freed and taken again, all of it used", run_large_blocks, 0},
    {"huge-blocks", 1, "16-128 MiB freed and taken again, all of it used", run_huge_blocks, 0},
    {"calloc-large", 1, "64 KiB-8 MiB zeroed, a quarter of it written", run_calloc_large, 0},
    {"aligned", 1, "posix_memalign at 16-4096 bytes, 32-2048 bytes long", run_aligned, 0},
    {NULL, 0, NULL, NULL, 0},
};
