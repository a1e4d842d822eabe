/* Calls every name of hpmalloc_compat.h that the programs beside this one do not, and ends with status 0,
 * or says what was not so. Those that do nothing must at least do no harm. */
#include <errno.h>
#include <hpmalloc_compat.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expect.h"

enum { BYTES = 1000, ALIGNMENT = 256 };

static int is_aligned(const void *block)
{
    return block != NULL && (uintptr_t)block % ALIGNMENT == 0;
}

static int is_zeroed(const void *block)
{
    const char *at = block;
    size_t i = 0;
    while (i < BYTES && at[i] == 0)
        i++;
    return i == BYTES;
}

/* To be found as it was, after the block was moved. */
static void *filled(void *block)
{
    EXPECT(block != NULL);
    return memset(block, 0x5a, BYTES);
}

static int is_filled(const void *block)
{
    const unsigned char *at = block;
    return at != NULL && at[0] == 0x5a && at[BYTES - 1] == 0x5a;
}

static void ask_gperftools(void)
{
    void *block = malloc(BYTES);
    EXPECT(MallocExtension_GetOwnership(block) == 0 && MallocExtension_GetThreadCacheSize() == 0);
    MallocExtension_MarkThreadIdle();
    MallocExtension_MarkThreadBusy();
    MallocExtension_MarkThreadTemporarilyIdle();
    EXPECT(MallocExtension_VerifyAllMemory() == 1 && MallocExtension_VerifyNewMemory(block) == 1 &&
           MallocExtension_VerifyArrayNewMemory(block) == 1 &&
           MallocExtension_VerifyMallocMemory(block) == 1);
    size_t free_before, free_after;
    void *large = filled(malloc(16 << 20));
    memset(large, 1, 16 << 20);
    free(large);
    EXPECT(MallocExtension_GetNumericProperty("tcmalloc.pageheap_free_bytes", &free_before));
    MallocExtension_ReleaseToSystem(8 << 20);
    EXPECT(MallocExtension_GetNumericProperty("tcmalloc.pageheap_free_bytes", &free_after));
    EXPECT(free_before >= 16 << 20 && free_after <= free_before - (8 << 20));
    free(block);
}

static void use_jemalloc_family(void)
{
    void *block = filled(je_malloc(BYTES));
    EXPECT(je_malloc_usable_size(block) >= BYTES);
    block = je_realloc(block, 100 * BYTES);
    EXPECT(is_filled(block));
    je_free(block);
    block = je_calloc(10, BYTES / 10);
    EXPECT(is_zeroed(block));
    je_free(block);
    block = je_aligned_alloc(ALIGNMENT, BYTES);
    EXPECT(is_aligned(block));
    je_free(block);
    EXPECT(je_posix_memalign(&block, 3, BYTES) == EINVAL);
    EXPECT(je_posix_memalign(&block, ALIGNMENT, BYTES) == 0 && is_aligned(block));
    free(block);
}

static void use_jemalloc_flags(void)
{
    enum { FLAGS = 8 | 0x40 }; /* MALLOCX_LG_ALIGN(8) | MALLOCX_ZERO */
    void *block = je_mallocx(BYTES, FLAGS);
    EXPECT(is_aligned(block) && is_zeroed(block));
    EXPECT(je_sallocx(block, 0) >= BYTES && je_nallocx(BYTES, 0) >= BYTES);
    EXPECT(je_xallocx(block, BYTES, 0, FLAGS) >= BYTES);
    block = je_rallocx(filled(block), 100 * BYTES, FLAGS);
    EXPECT(is_aligned(block) && is_filled(block));
    je_dallocx(block, FLAGS);
    je_sdallocx(je_mallocx(BYTES, 0), BYTES, 0);
}

static void count(void *bytes, const char *text)
{
    *(size_t *)bytes += strlen(text);
}

static void control_jemalloc(void)
{
    size_t mib[4], parts = 4, by_mib = 0, bytes = sizeof(by_mib), printed = 0;
    void *live = filled(malloc(BYTES));
    EXPECT(je_mallctlnametomib("stats.allocated", mib, &parts) == 0 && parts == 2);
    EXPECT(je_mallctlbymib(mib, parts, &by_mib, &bytes, NULL, 0) == 0);
    EXPECT(bytes == sizeof(by_mib));
    je_malloc_stats_print(count, &printed, NULL);
    EXPECT(printed > 100);
    free(live);
}

static void use_mimalloc(void)
{
    mi_thread_init();
    void *small = filled(mi_malloc_small(BYTES)), *zeroed = mi_zalloc_small(BYTES);
    EXPECT(is_zeroed(zeroed) && mi_malloc_usable_size(small) >= BYTES);
    EXPECT(mi_malloc_size(small) == mi_malloc_usable_size(small));
    small = mi_reallocn(small, 100, BYTES);
    EXPECT(is_filled(small) && mi_reallocn(small, SIZE_MAX / 2, 3) == NULL);
    mi_free(small);
    mi_free(zeroed);
    mi_stats_reset();
    mi_stats_merge();
    mi_stats_print(NULL); /* on stderr */
    mi_thread_done();
}

static void use_mimalloc_aligned(void)
{
    void *zeroed = mi_calloc_aligned(10, BYTES / 10, ALIGNMENT);
    EXPECT(is_aligned(zeroed) && is_zeroed(zeroed));
    mi_free_aligned(zeroed, ALIGNMENT);
    void *block = mi_aligned_alloc(ALIGNMENT, BYTES);
    EXPECT(is_aligned(block));
    mi_free_size_aligned(block, BYTES, ALIGNMENT);
    block = mi_memalign(ALIGNMENT, BYTES);
    EXPECT(is_aligned(block));
    mi_free(block);
}

int main(void)
{
    ask_gperftools();
    use_jemalloc_family();
    use_jemalloc_flags();
    control_jemalloc();
    use_mimalloc();
    use_mimalloc_aligned();
    return 0;
}
