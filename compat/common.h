/* What the three interfaces share. Built on hpmalloc.h alone.
 *
 * Fails: calls that return int return 0 or a negative errno value. */
#ifndef HPM_COMPAT_COMMON_H
#define HPM_COMPAT_COMMON_H

#include <stdbool.h>
#include <stddef.h>

#include "hpmalloc.h"

/* Alignment that every block has. */
enum { COMMON_ALIGNMENT = 16 };

/* A second name of a function of this file. */
#define COMMON_ALIAS(alias_name, name)                                                             \
    extern __typeof__(name) alias_name __attribute__((alias(#name)))

static inline bool common_is_power_of_two(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/* Takes samples or does not, at the interval of before; returns whether it did. */
bool common_switch_profiling(bool on);

/* Writes a heap profile, as text that pprof reads, to a file of exactly this name: whole or not at
 * all. One that is there is replaced, as those libraries do; a symbolic link is replaced, not
 * followed. */
int common_dump(const char *path);

/* What `write` writes to a descriptor, as a string the caller frees; NULL: it could not be had. */
char *common_read(int (*write)(int descriptor));

int common_write_profile(int descriptor);
int common_write_text(int descriptor);
int common_write_json(int descriptor);

/* hpm_realloc for a block that must be aligned. */
void *common_realloc_aligned(void *block, size_t bytes, size_t alignment);

/* As posix_memalign. */
int common_memalign(void **block, size_t alignment, size_t bytes);

#endif
