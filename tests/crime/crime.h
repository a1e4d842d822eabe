/* What the crimes have in common: calls of crime.c, and accesses of accesses.c. */
#ifndef HPM_TESTS_CRIME_CRIME_H
#define HPM_TESTS_CRIME_CRIME_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hpmalloc.h"

/* crime_libc commits the same against the C library's own malloc. */
#ifdef CRIME_LIBC
#include <malloc.h>
#define hpm_malloc             malloc
#define hpm_free               free
#define hpm_realloc            realloc
#define hpm_aligned_alloc      aligned_alloc
#define hpm_usable_size        crime_usable_size
#define hpm_free_sized(p, n)   ((void)(n), free(p))
static __attribute__((unused)) size_t crime_usable_size(const void *block)
{
    return malloc_usable_size((void *)(uintptr_t)block);
}
#endif

struct crime {
    const char *name;
    void (*commit)(void);
};

#define CRIME(name)                                                                                \
    {                                                                                              \
#name, name                                                                                \
    }

extern const struct crime accesses[];
extern const size_t access_count;

/* Through these the compiler sees no crime. */
static __attribute__((unused)) void *(*volatile allocate)(size_t) = hpm_malloc;
static __attribute__((unused)) void (*volatile release)(void *) = hpm_free;
static __attribute__((unused)) void *(*volatile resize)(void *, size_t) = hpm_realloc;
static __attribute__((unused)) size_t (*volatile measure)(const void *) = hpm_usable_size;

#define HPM_CRIME_NOINLINE __attribute__((noinline))

static inline char *announce(void *address)
{
    char line[32];
    int length = snprintf(line, sizeof(line), "%p\n", address);
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        abort();
    return address;
}

#endif
