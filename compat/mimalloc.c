/* mimalloc's basic calls. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "hpmalloc_compat.h"

static bool is_product_too_large(size_t count, size_t bytes, size_t *product)
{
    if (!__builtin_mul_overflow(count, bytes, product))
        return false;
    errno = ENOMEM;
    return true;
}

void *mi_malloc(size_t bytes)
{
    return hpm_malloc(bytes);
}
COMMON_ALIAS(mi_malloc_small, mi_malloc);

void *mi_calloc(size_t count, size_t bytes)
{
    return hpm_calloc(count, bytes);
}

void *mi_zalloc(size_t bytes)
{
    return hpm_calloc(1, bytes);
}
COMMON_ALIAS(mi_zalloc_small, mi_zalloc);

void *mi_mallocn(size_t count, size_t bytes)
{
    size_t product;
    return is_product_too_large(count, bytes, &product) ? NULL : hpm_malloc(product);
}

/* Of 0 bytes it gives a block, where realloc would free. */
void *mi_realloc(void *block, size_t bytes)
{
    return hpm_realloc(block, bytes != 0 ? bytes : 1);
}

void *mi_reallocn(void *block, size_t count, size_t bytes)
{
    size_t product;
    return is_product_too_large(count, bytes, &product) ? NULL : mi_realloc(block, product);
}

void *mi_reallocf(void *block, size_t bytes)
{
    void *moved = mi_realloc(block, bytes);
    if (moved == NULL)
        hpm_free(block);
    return moved;
}

/* In place, or not at all. */
void *mi_expand(void *block, size_t bytes)
{
    return block != NULL && bytes <= hpm_usable_size(block) ? block : NULL;
}

void mi_free(void *block)
{
    hpm_free(block);
}

void mi_free_size(void *block, size_t bytes)
{
    hpm_free_sized(block, bytes);
}

void mi_free_size_aligned(void *block, size_t bytes, size_t alignment)
{
    (void)alignment;
    hpm_free_sized(block, bytes);
}

void mi_free_aligned(void *block, size_t alignment)
{
    (void)alignment;
    hpm_free(block);
}

char *mi_strndup(const char *text, size_t bytes)
{
    if (text == NULL)
        return NULL;
    size_t length = strnlen(text, bytes);
    char *copy = hpm_malloc(length + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *mi_strdup(const char *text)
{
    return text != NULL ? mi_strndup(text, strlen(text)) : NULL;
}

void *mi_malloc_aligned(size_t bytes, size_t alignment)
{
    return hpm_aligned_alloc(alignment, bytes);
}

void *mi_zalloc_aligned(size_t bytes, size_t alignment)
{
    void *block = hpm_aligned_alloc(alignment, bytes);
    return block != NULL ? memset(block, 0, bytes) : NULL;
}

void *mi_calloc_aligned(size_t count, size_t bytes, size_t alignment)
{
    size_t product;
    return is_product_too_large(count, bytes, &product) ? NULL
                                                        : mi_zalloc_aligned(product, alignment);
}

void *mi_realloc_aligned(void *block, size_t bytes, size_t alignment)
{
    if (common_is_power_of_two(alignment))
        return common_realloc_aligned(block, bytes, alignment);
    errno = EINVAL;
    return NULL;
}

void *mi_aligned_alloc(size_t alignment, size_t bytes)
{
    return hpm_aligned_alloc(alignment, bytes);
}
COMMON_ALIAS(mi_memalign, mi_aligned_alloc);

int mi_posix_memalign(void **block, size_t alignment, size_t bytes)
{
    return common_memalign(block, alignment, bytes);
}

size_t mi_usable_size(const void *block)
{
    return hpm_usable_size(block);
}
COMMON_ALIAS(mi_malloc_usable_size, mi_usable_size);
COMMON_ALIAS(mi_malloc_size, mi_usable_size);

size_t mi_good_size(size_t bytes)
{
    return hpm_nallocx(bytes);
}

void mi_collect(bool force)
{
    if (force)
        hpm_release_memory(SIZE_MAX);
}

void mi_stats_print(void *ignored)
{
    (void)ignored;
    common_write_text(STDERR_FILENO);
}

void mi_stats_print_out(void (*write)(const char *, void *), void *argument)
{
    if (write == NULL) {
        mi_stats_print(NULL);
        return;
    }
    char *text = common_read(common_write_text);
    if (text != NULL)
        write(text, argument);
    free(text);
}

/* Counters never fall, and all threads are in every number. */
void mi_stats_reset(void)
{
}

void mi_stats_merge(void)
{
}

/* Threads come and go unasked. */
void mi_thread_init(void)
{
}

void mi_thread_done(void)
{
}

/* Our own, by mimalloc's rule: 100 for the major number, 10 for the minor. */
int mi_version(void)
{
    int parts[3] = {0};
    const char *at = hpm_version();
    for (int i = 0; i < 3; i++) {
        char *end;
        parts[i] = (int)strtol(at, &end, 10);
        at = *end == '.' ? end + 1 : end;
    }
    return parts[0] * 100 + parts[1] * 10 + parts[2];
}
