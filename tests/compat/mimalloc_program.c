/* As a program for mimalloc is written. It knows nothing of hpmalloc, and ends with status 0, or
 * says what was not so. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expect.h"

/* Linked, as its headers would have it: -DWEAK= */
#ifndef WEAK
#define WEAK __attribute__((weak))
#endif
extern void *mi_malloc(size_t size) WEAK;
extern void *mi_calloc(size_t count, size_t size) WEAK;
extern void *mi_zalloc(size_t size) WEAK;
extern void *mi_mallocn(size_t count, size_t size) WEAK;
extern void *mi_realloc(void *p, size_t newsize) WEAK;
extern void *mi_reallocf(void *p, size_t newsize) WEAK;
extern void *mi_expand(void *p, size_t newsize) WEAK;
extern void mi_free(void *p) WEAK;
extern void mi_free_size(void *p, size_t size) WEAK;
extern char *mi_strdup(const char *s) WEAK;
extern char *mi_strndup(const char *s, size_t n) WEAK;
extern void *mi_malloc_aligned(size_t size, size_t alignment) WEAK;
extern void *mi_zalloc_aligned(size_t size, size_t alignment) WEAK;
extern void *mi_realloc_aligned(void *p, size_t newsize, size_t alignment) WEAK;
extern int mi_posix_memalign(void **p, size_t alignment, size_t size) WEAK;
extern size_t mi_usable_size(const void *p) WEAK;
extern size_t mi_good_size(size_t size) WEAK;
extern void mi_collect(bool force) WEAK;
extern void mi_stats_print_out(void (*out)(const char *, void *), void *arg) WEAK;
extern int mi_version(void) WEAK;

static volatile size_t impossible = SIZE_MAX / 2;

static void is_all_zero(const char *block, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        EXPECT(block[i] == 0);
}

static void count(const char *text, void *bytes)
{
    *(size_t *)bytes += strlen(text);
}

static void use_sizes(void)
{
    for (size_t bytes = 1; bytes < 1000000; bytes = bytes * 3 + 1) {
        void *block = mi_malloc(bytes);
        EXPECT(mi_usable_size(block) == mi_good_size(bytes) && mi_good_size(bytes) >= bytes);
        EXPECT(mi_expand(block, mi_usable_size(block)) == block);
        EXPECT(mi_expand(block, mi_usable_size(block) + 1) == NULL);
        memset(block, 0xff, bytes);
        mi_free_size(block, bytes);
        block = mi_zalloc(bytes);
        is_all_zero(block, bytes);
        block = mi_realloc(block, bytes * 2);
        is_all_zero(block, bytes);
        mi_free(block);
    }
}

static void use_alignments(void)
{
    for (size_t alignment = 8; alignment <= 1 << 16; alignment *= 2) {
        char *block = mi_zalloc_aligned(1000, alignment);
        EXPECT(block != NULL && (uintptr_t)block % alignment == 0);
        is_all_zero(block, 1000);
        strcpy(block, "contents");
        block = mi_realloc_aligned(block, 100000, alignment);
        EXPECT((uintptr_t)block % alignment == 0 && strcmp(block, "contents") == 0);
        mi_free(block);
        void *other;
        EXPECT(mi_posix_memalign(&other, alignment, 10) == 0 && (uintptr_t)other % alignment == 0);
        free(other);
    }
    EXPECT(mi_malloc_aligned(100, 24) == NULL);
}

int main(void)
{
    EXPECT(mi_malloc != NULL);
    use_sizes();
    use_alignments();
    errno = 0;
    EXPECT(mi_mallocn(impossible, 4) == NULL && errno == ENOMEM);
    EXPECT(mi_calloc(impossible, 4) == NULL);
    EXPECT(mi_reallocf(mi_malloc(10), impossible) == NULL);
    char *copy = mi_strdup("text"), *part = mi_strndup("text", 2);
    EXPECT(strcmp(copy, "text") == 0 && strcmp(part, "te") == 0);
    void *empty = mi_realloc(copy, 0);
    EXPECT(empty != NULL);
    mi_free(empty);
    mi_free(part);
    mi_collect(true);
    size_t bytes = 0;
    mi_stats_print_out(count, &bytes);
    EXPECT(bytes > 200 && mi_version() >= 1);
    return 0;
}
