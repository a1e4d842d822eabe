/* hpmalloc: a drop-in malloc with a heap profiler that is always on.
 *
 * Every call is thread-safe. Calls that return int return 0, or a negative errno value; none of
 * them calls malloc. Sizes are in bytes. See hpmalloc(3). */
#ifndef HPMALLOC_H
#define HPMALLOC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HPM_VERSION "0.1.0"

#if defined(__GNUC__)
#define HPM_PUBLIC __attribute__((visibility("default")))
#else
#define HPM_PUBLIC
#endif

/* The allocator by its own names. They behave as their namesakes of the C library: NULL and ENOMEM
 * when there is no memory, 16-byte alignment, errno kept by hpm_free. A block from any of them or
 * from the malloc family of this library may be given to any of the others. The caller owns what it
 * gets until it frees it. */
HPM_PUBLIC void *hpm_malloc(size_t bytes);
HPM_PUBLIC void *hpm_calloc(size_t count, size_t bytes);
HPM_PUBLIC void *hpm_realloc(void *block, size_t bytes);
HPM_PUBLIC void *hpm_aligned_alloc(size_t alignment, size_t bytes);
HPM_PUBLIC void hpm_free(void *block);

/* `bytes` is what was asked for when the block was allocated. */
HPM_PUBLIC void hpm_free_sized(void *block, size_t bytes);

/* How many bytes the block can hold: at least what was asked for. 0 for NULL. */
HPM_PUBLIC size_t hpm_usable_size(const void *block);

/* How many bytes a block asked for with `bytes` would hold; 0 when no request of it can be met. */
HPM_PUBLIC size_t hpm_nallocx(size_t bytes);

/* Heap profiles. Estimates: an allocation of s bytes is recorded with the chance
 * p = 1 - exp(-s / interval) and then counts 1/p times. */
enum hpm_profile {
    HPM_PROFILE_HEAP,   /* what is live now */
    HPM_PROFILE_ALLOCS, /* the same data, opened on what was ever allocated */
    HPM_PROFILE_PEAK,   /* what was live when live bytes stood highest */
};

enum hpm_format {
    HPM_FORMAT_PPROF,     /* gzip'd profile.proto, for `go tool pprof` and its like */
    HPM_FORMAT_TEXT,      /* for people */
    HPM_FORMAT_LEGACY,    /* `heap profile:` text, for google-pprof and jeprof too */
    HPM_FORMAT_COLLAPSED, /* `frame;frame bytes`, for flame graphs */
};

/* Writes a profile to a new file (mode 0600; an existing one is never overwritten: -EEXIST). `path`
 * may hold the directives of HPMALLOC_DUMP_PATH; NULL stands for that option's value. */
HPM_PUBLIC int hpm_profile_dump(enum hpm_profile profile, enum hpm_format format,
                                const char *path);

/* Writes a profile to a descriptor, which stays open. -EINVAL: unknown profile or format; else what
 * write(2) said. */
HPM_PUBLIC int hpm_profile_write(enum hpm_profile profile, enum hpm_format format, int fd);

/* The mean number of bytes between samples. A change holds for allocations from then on; samples
 * taken before keep their weights, so profiles stay right. 0 takes no new samples, and what is live
 * stays known. -EINVAL: above 1 TiB. */
HPM_PUBLIC int hpm_profile_set_interval(size_t bytes);
HPM_PUBLIC size_t hpm_profile_interval(void);

/* Gives up to `bytes` of free memory back to the system now. Returns how many were given. */
HPM_PUBLIC size_t hpm_release_memory(size_t bytes);

/* The library's version, "major.minor.patch". */
HPM_PUBLIC const char *hpm_version(void);

#ifdef __cplusplus
}
#endif

#endif
