/* As a program for jemalloc is written: it looks whether profiling is there, samples, dumps,
 * watches its statistics, and uses the calls with flags. It knows nothing of hpmalloc.
 *
 *   jemalloc_program FILE     ends with status 0, or says what was not so */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "expect.h"

/* Linked, as its headers would have it: -DWEAK= */
#ifndef WEAK
#define WEAK __attribute__((weak))
#endif
extern int mallctl(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen) WEAK;
extern int mallctlnametomib(const char *name, size_t *mibp, size_t *miblenp) WEAK;
extern int mallctlbymib(const size_t *mib, size_t miblen, void *oldp, size_t *oldlenp, void *newp,
                        size_t newlen) WEAK;
extern void malloc_stats_print(void (*write_cb)(void *, const char *), void *cbopaque,
                               const char *opts) WEAK;
extern void *mallocx(size_t size, int flags) WEAK;
extern void *rallocx(void *ptr, size_t size, int flags) WEAK;
extern size_t xallocx(void *ptr, size_t size, size_t extra, int flags) WEAK;
extern size_t sallocx(const void *ptr, int flags) WEAK;
extern void dallocx(void *ptr, int flags) WEAK;
extern void sdallocx(void *ptr, size_t size, int flags) WEAK;
extern size_t nallocx(size_t size, int flags) WEAK;
extern int je_mallctl(const char *name, void *oldp, size_t *oldlenp, void *newp,
                      size_t newlen) WEAK;

#define MALLOCX_LG_ALIGN(la) ((int)(la))
#define MALLOCX_ZERO         ((int)0x40)
#define MALLOCX_TCACHE_NONE  ((-1 + 2) << 8)
#define MALLOCX_ARENA(a)     (((int)(a) + 1) << 20)

enum { BLOCKS = 8000, BLOCK_BYTES = 1000 };

static void *volatile kept[BLOCKS];

__attribute__((noinline)) static void hoard(void)
{
    for (int i = 0; i < BLOCKS; i++)
        kept[i] = mallocx(BLOCK_BYTES, 0);
}

static size_t read_size(const char *name)
{
    size_t value = 0, length = sizeof(value);
    EXPECT(mallctl(name, &value, &length, NULL, 0) == 0);
    return value;
}

static bool read_bool(const char *name)
{
    bool value = false;
    size_t length = sizeof(value);
    EXPECT(mallctl(name, &value, &length, NULL, 0) == 0);
    return value;
}

static uint64_t refresh(void)
{
    uint64_t epoch = 1;
    size_t length = sizeof(epoch);
    EXPECT(mallctl("epoch", &epoch, &length, &epoch, sizeof(epoch)) == 0);
    return epoch;
}

static void is_all_zero(const char *block, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        EXPECT(block[i] == 0);
}

static void use_flags(void)
{
    for (int lg = 0; lg < 17; lg++) {
        for (size_t bytes = 1; bytes < 3000000; bytes = bytes * 4 / 3 + 1) {
            void *block = mallocx(bytes, MALLOCX_LG_ALIGN(lg) | MALLOCX_TCACHE_NONE);
            EXPECT(block != NULL && (uintptr_t)block % ((size_t)1 << lg) == 0);
            EXPECT(sallocx(block, 0) == nallocx(bytes, MALLOCX_LG_ALIGN(lg)));
            memset(block, 0xff, sallocx(block, 0));
            sdallocx(block, bytes, MALLOCX_LG_ALIGN(lg));
            block = mallocx(bytes, MALLOCX_LG_ALIGN(lg) | MALLOCX_ZERO | MALLOCX_ARENA(0));
            is_all_zero(block, bytes);
            block = rallocx(block, bytes * 3, MALLOCX_LG_ALIGN(lg) | MALLOCX_ZERO);
            EXPECT((uintptr_t)block % ((size_t)1 << lg) == 0);
            is_all_zero(block, bytes * 3);
            EXPECT(xallocx(block, bytes, 0, 0) == sallocx(block, 0));
            dallocx(block, 0);
        }
    }
    EXPECT(mallocx(SIZE_MAX / 2 + 1, 0) == NULL && nallocx(SIZE_MAX, MALLOCX_LG_ALIGN(6)) == 0);
    void *block = mallocx(100, 0);
    free(block); /* theirs may be freed so too */
    dallocx(malloc(100), 0);
}

static void watch_statistics(void)
{
    uint64_t epoch = refresh();
    size_t allocated = read_size("stats.allocated"), active = read_size("stats.active");
    EXPECT(allocated >= BLOCKS * BLOCK_BYTES);
    EXPECT(active >= allocated && read_size("stats.resident") >= active);
    EXPECT(read_size("stats.mapped") >= active && read_size("stats.metadata") > 0);
    read_size("stats.retained");
    void *more = mallocx(1000000, 0);
    EXPECT(read_size("stats.allocated") == allocated); /* until the epoch moves on */
    EXPECT(refresh() == epoch + 1);
    EXPECT(read_size("stats.allocated") >= allocated + 1000000);
    dallocx(more, 0);
}

static void use_translated_names(void)
{
    size_t mib[4], count = 4, value, length = sizeof(value);
    EXPECT(mallctlnametomib("stats.allocated", mib, &count) == 0 && count == 2);
    EXPECT(mallctlbymib(mib, count, &value, &length, NULL, 0) == 0);
    EXPECT(value == read_size("stats.allocated"));
    unsigned arenas;
    length = sizeof(arenas);
    EXPECT(mallctl("arenas.narenas", &arenas, &length, NULL, 0) == 0 && arenas >= 1);
    count = 3;
    EXPECT(mallctlnametomib("arena.0.purge", mib, &count) == 0 && count == 3);
    for (mib[1] = 0; mib[1] <= arenas; mib[1]++)
        EXPECT(mallctlbymib(mib, count, NULL, NULL, NULL, 0) == 0);
    EXPECT(mallctl("arena.4096.decay", NULL, NULL, NULL, 0) == 0);
    count = 2;
    EXPECT(mallctlnametomib("arena.0.purge", mib, &count) == EINVAL);
    count = 4;
    EXPECT(mallctlnametomib("arena", mib, &count) == ENOENT);
    mib[0] = 1000;
    EXPECT(mallctlbymib(mib, 2, NULL, NULL, NULL, 0) == ENOENT);
}

static void err_as_documented(void)
{
    uint32_t small = 0;
    size_t length = sizeof(small), value = 0;
    EXPECT(mallctl("no.such.name", NULL, NULL, NULL, 0) == ENOENT);
    EXPECT(mallctl("arena.x.purge", NULL, NULL, NULL, 0) == ENOENT);
    EXPECT(mallctl("thread.allocated", NULL, NULL, NULL, 0) == ENOENT);
    EXPECT(mallctl("stats.allocated", &small, &length, NULL, 0) == EINVAL && length == 4);
    EXPECT(mallctl("stats.allocated", NULL, NULL, &value, sizeof(value)) == EPERM);
    EXPECT(mallctl("prof.active", NULL, NULL, &value, sizeof(value)) == EINVAL);
    length = sizeof(value);
    EXPECT(mallctl("prof.dump", &value, &length, NULL, 0) == EPERM);
    const char *nowhere = "/proc/nowhere/at/all";
    EXPECT(mallctl("prof.dump", NULL, NULL, &nowhere, sizeof(nowhere)) == EFAULT);
    value = 63;
    EXPECT(mallctl("prof.reset", NULL, NULL, &value, sizeof(value)) == EINVAL);
}

static void profile(const char *path)
{
    bool on = true, off = false, was = true;
    size_t length = sizeof(was), lg = 12;
    EXPECT(read_bool("config.prof") && read_bool("opt.prof") && read_bool("opt.prof_active"));
    EXPECT(mallctl("prof.reset", NULL, NULL, &lg, sizeof(lg)) == 0);
    EXPECT(read_size("prof.lg_sample") == 12 && read_size("opt.lg_prof_sample") == 19);
    EXPECT(mallctl("prof.active", &was, &length, &off, sizeof(off)) == 0 && was);
    EXPECT(!read_bool("prof.active"));
    EXPECT(mallctl("prof.active", &was, &length, &on, sizeof(on)) == 0 && !was);
    EXPECT(read_bool("prof.active") && read_size("prof.lg_sample") == 12);
    hoard();
    EXPECT(mallctl("prof.dump", NULL, NULL, (void *)&path, sizeof(path)) == 0);
    EXPECT(je_mallctl("prof.dump", NULL, NULL, (void *)&path, sizeof(path)) == 0); /* over it */
}

static void collect(void *text, const char *piece)
{
    strncat(text, piece, 100);
}

int main(int count, char **arguments)
{
    char text[200] = "";
    const char *version = NULL;
    size_t length = sizeof(version);
    EXPECT(count == 2);
    EXPECT(mallctl != NULL);
    EXPECT(mallctl("version", &version, &length, NULL, 0) == 0 && version[0] != '\0');
    profile(arguments[1]);
    watch_statistics();
    use_translated_names();
    err_as_documented();
    use_flags();
    malloc_stats_print(collect, text, "J");
    EXPECT(text[0] == '{');
    return 0;
}
