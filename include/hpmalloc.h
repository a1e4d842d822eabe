/* hpmalloc: a drop-in malloc with a heap profiler that is always on.
 *
 * Every call is thread-safe. Calls that return int return 0, or a negative errno value; none of
 * them calls malloc. Sizes are in bytes. See hpmalloc(3). */
#ifndef HPMALLOC_H
#define HPMALLOC_H

#include <stddef.h>
#include <stdint.h>

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
    HPM_PROFILE_LIFETIME, /* how long objects lived, by stack */
    HPM_PROFILE_PINNED, /* free memory that cannot go back, by the stacks whose objects hold it */
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

/* Labels this thread's samples from now on: profiles tell stacks with different labels apart (pprof:
 * -tagfocus, -tags). A label with the same key is replaced. Both texts are copied, and 1 to 127 bytes
 * long without control characters: -EINVAL. -ENOSPC: this thread has 8 labels, or 4,096 different sets
 * of labels were made (meant are kinds of work, not each request); -ENOMEM; -EDEADLK: in a signal
 * handler that interrupted this library. A label changes nothing of what is live already. */
HPM_PUBLIC int hpm_label_set(const char *key, const char *value);

/* Takes one label of this thread away; NULL takes all. */
HPM_PUBLIC int hpm_label_clear(const char *key);

/* Gives up to `bytes` of free memory back to the system now. Returns how many were given. */
HPM_PUBLIC size_t hpm_release_memory(size_t bytes);

/* The library's own numbers. What the first group calls resident is in memory now, as the kernel says
 * of each page. The bytes of objects are those of their size classes. Numbers are exact, but for
 * those that change while they are gathered, and where "estimate" is said. */
struct hpm_stats {
    /* live - live_untouched + thread_cache + central + slab_free + span_free + metadata is what of
     * the resident memory is this library's; the rest of it is not: code, stacks, other mappings. */
    uint64_t resident_bytes;       /* of the process, as the kernel counts; 0: it does not say */
    uint64_t live_bytes;           /* in the program's hands */
    uint64_t live_untouched_bytes; /* of those and of what is free in lists, not resident */
    uint64_t thread_cache_bytes;   /* free, in threads' lists */
    uint64_t central_bytes;        /* free, in lists that threads share */
    uint64_t slab_free_bytes;      /* free in slabs that hold other objects, resident */
    uint64_t span_free_bytes;      /* free pages kept, resident */
    uint64_t metadata_bytes;       /* tables of the allocator and the profiler, resident */
    uint64_t residency_assumed;    /* 1: the kernel does not say; what was handed out is taken for it */

    uint64_t live_requested_bytes; /* what the program asked for, of live_bytes: estimate */
    uint64_t live_objects;
    uint64_t live_small_bytes; /* of live_bytes: in size classes */
    uint64_t live_large_bytes; /* of live_bytes: in blocks of their own, above 32 KiB */
    uint64_t live_huge_bytes;  /* of live_large_bytes: in mappings of their own, from 32 MiB */
    uint64_t live_huge_blocks;
    uint64_t mapped_bytes;   /* address space for all that, metadata apart */
    uint64_t released_bytes; /* of mapped_bytes: given back to the system, or never used */
    uint64_t threads;        /* that have allocated, and live */

    uint64_t samples;      /* taken so far */
    uint64_t live_samples; /* of those, whose object is live */
    uint64_t lost_samples; /* of those, not recorded for want of memory */
    uint64_t other_samples; /* of those, under [other] for want of room */
    uint64_t stacks;
    uint64_t sample_nanoseconds;    /* that taking them took: estimate from one in 16 */
    uint64_t sample_metadata_bytes; /* handed out for them */
    uint64_t sample_interval_bytes;

    /* System calls so far. */
    uint64_t map_calls;      /* mmap */
    uint64_t unmap_calls;    /* munmap */
    uint64_t remap_calls;    /* mremap */
    uint64_t release_calls;  /* madvise */
    uint64_t resident_calls; /* mincore, for these numbers */
    uint64_t wait_calls;     /* futex, to wait for another thread */
    uint64_t wake_calls;     /* futex, to wake one */

    uint64_t contended_locks; /* how often a lock was another thread's when it was wanted */
};

/* One size class; live_objects * object_bytes, added up, is live_small_bytes. */
struct hpm_class_stats {
    uint64_t object_bytes;
    uint64_t live_objects;
    uint64_t thread_cache_objects; /* free, in threads' lists */
    uint64_t central_objects;      /* free, in lists that threads share */
    uint64_t slab_objects;         /* free in slabs, or never handed out */
    uint64_t slabs;
    uint64_t slab_bytes; /* address space of the slabs */
};

enum hpm_stats_format {
    HPM_STATS_TEXT,       /* for people */
    HPM_STATS_JSON,       /* one object, numbers by their names above */
    HPM_STATS_PROMETHEUS, /* text for a scrape */
};

/* Fills the first `size` bytes: pass sizeof(struct hpm_stats). A library that knows less sets the
 * rest to 0. -EINVAL: size is 0; -EDEADLK: in a signal handler that interrupted this library. */
HPM_PUBLIC int hpm_stats_get(struct hpm_stats *stats, size_t size);

/* The same for the size class of this number, from 0. -ENOENT: there is none. */
HPM_PUBLIC int hpm_stats_get_class(unsigned number, struct hpm_class_stats *stats, size_t size);

/* Writes them all to a descriptor, which stays open. -EINVAL: unknown format; -EDEADLK as above; else
 * what write(2) said. */
HPM_PUBLIC int hpm_stats_write(int fd, enum hpm_stats_format format);

/* Serves profiles and statistics over HTTP, by a thread of its own. `address` is as HPMALLOC_HTTP has it:
 * "127.0.0.1:6060", "[::1]:6060", "unix:/path". Requests must carry `token` (16 to 512 visible
 * characters) as a bearer token; NULL stands for the one in HPMALLOC_HTTP_TOKEN_FILE, if there is
 * one. Ends after `ttl_seconds`, or not before hpm_http_stop where this is 0. The child of a fork
 * does not serve, unless it calls this. -EINVAL: no such address, or no such token; -EACCES: other
 * machines could reach the address, and there is no token; -EALREADY: it serves already; else what
 * the system said, as -EADDRINUSE. The strings are copied. */
HPM_PUBLIC int hpm_http_start(const char *address, const char *token, unsigned ttl_seconds);

/* Stops serving; a request under way is answered to its end or cut off. -EALREADY: nothing is served. */
HPM_PUBLIC int hpm_http_stop(void);

/* The library's version, "major.minor.patch". */
HPM_PUBLIC const char *hpm_version(void);

#ifdef __cplusplus
}
#endif

#endif
