/* hpmalloc_compat: names that programs written for gperftools, jemalloc and mimalloc call, answered
 * by hpmalloc. A program that includes those libraries' own headers needs this one not.
 *
 * What each comes down to, and which do nothing, is in docs/migration.md and hpmalloc_compat(3). A
 * block from any of them may be given to any other, and to free. Every call is thread-safe. */
#ifndef HPMALLOC_COMPAT_H
#define HPMALLOC_COMPAT_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HPM_COMPAT __attribute__((visibility("default")))
#else
#define HPM_COMPAT
#endif

/* gperftools' heap profiler. Files are "PREFIX.0001.heap" and so on, in the text format that pprof
 * reads; one of the same name is replaced. */
HPM_COMPAT void HeapProfilerStart(const char *prefix);
HPM_COMPAT int IsHeapProfilerRunning(void);
HPM_COMPAT void HeapProfilerStop(void);
HPM_COMPAT void HeapProfilerDump(const char *reason);

/* The profile as text; the caller frees it. NULL: no memory, or it could not be taken. */
HPM_COMPAT char *GetHeapProfile(void);

/* gperftools' MallocExtension, as it is called from C. */
enum { HPM_COMPAT_HISTOGRAM_COUNT = 64 };
HPM_COMPAT int MallocExtension_VerifyAllMemory(void);
HPM_COMPAT int MallocExtension_VerifyNewMemory(const void *block);
HPM_COMPAT int MallocExtension_VerifyArrayNewMemory(const void *block);
HPM_COMPAT int MallocExtension_VerifyMallocMemory(const void *block);
HPM_COMPAT int MallocExtension_MallocMemoryStats(int *blocks, size_t *total,
                                                 int histogram[HPM_COMPAT_HISTOGRAM_COUNT]);
HPM_COMPAT void MallocExtension_GetStats(char *buffer, int bytes);
HPM_COMPAT int MallocExtension_GetNumericProperty(const char *property, size_t *value);
HPM_COMPAT int MallocExtension_SetNumericProperty(const char *property, size_t value);
HPM_COMPAT void MallocExtension_MarkThreadIdle(void);
HPM_COMPAT void MallocExtension_MarkThreadBusy(void);
HPM_COMPAT void MallocExtension_MarkThreadTemporarilyIdle(void);
HPM_COMPAT void MallocExtension_ReleaseToSystem(size_t bytes);
HPM_COMPAT void MallocExtension_ReleaseFreeMemory(void);
HPM_COMPAT size_t MallocExtension_GetEstimatedAllocatedSize(size_t bytes);
HPM_COMPAT size_t MallocExtension_GetAllocatedSize(const void *block);
HPM_COMPAT size_t MallocExtension_GetThreadCacheSize(void);
HPM_COMPAT int MallocExtension_GetOwnership(const void *block);

/* jemalloc's control and its calls with flags: bits 0 to 5 the logarithm of the alignment, 0x40 for
 * zeroed memory; caches and arenas in the other bits are not looked at. Control calls return 0 or
 * an errno value. */
HPM_COMPAT int mallctl(const char *name, void *old, size_t *old_bytes, void *given,
                       size_t given_bytes);
HPM_COMPAT int mallctlnametomib(const char *name, size_t *mib, size_t *mib_count);
HPM_COMPAT int mallctlbymib(const size_t *mib, size_t mib_count, void *old, size_t *old_bytes,
                            void *given, size_t given_bytes);
HPM_COMPAT void malloc_stats_print(void (*write)(void *, const char *), void *argument,
                                   const char *options);
HPM_COMPAT void *mallocx(size_t bytes, int flags);
HPM_COMPAT void *rallocx(void *block, size_t bytes, int flags);
HPM_COMPAT size_t xallocx(void *block, size_t bytes, size_t extra, int flags);
HPM_COMPAT size_t sallocx(const void *block, int flags);
HPM_COMPAT void dallocx(void *block, int flags);
HPM_COMPAT void sdallocx(void *block, size_t bytes, int flags);
HPM_COMPAT size_t nallocx(size_t bytes, int flags);

/* The same, and the malloc family, as jemalloc calls them where it is built with a prefix. */
HPM_COMPAT int je_mallctl(const char *name, void *old, size_t *old_bytes, void *given,
                          size_t given_bytes);
HPM_COMPAT int je_mallctlnametomib(const char *name, size_t *mib, size_t *mib_count);
HPM_COMPAT int je_mallctlbymib(const size_t *mib, size_t mib_count, void *old, size_t *old_bytes,
                               void *given, size_t given_bytes);
HPM_COMPAT void je_malloc_stats_print(void (*write)(void *, const char *), void *argument,
                                      const char *options);
HPM_COMPAT void *je_mallocx(size_t bytes, int flags);
HPM_COMPAT void *je_rallocx(void *block, size_t bytes, int flags);
HPM_COMPAT size_t je_xallocx(void *block, size_t bytes, size_t extra, int flags);
HPM_COMPAT size_t je_sallocx(const void *block, int flags);
HPM_COMPAT void je_dallocx(void *block, int flags);
HPM_COMPAT void je_sdallocx(void *block, size_t bytes, int flags);
HPM_COMPAT size_t je_nallocx(size_t bytes, int flags);
HPM_COMPAT void *je_malloc(size_t bytes);
HPM_COMPAT void *je_calloc(size_t count, size_t bytes);
HPM_COMPAT void *je_realloc(void *block, size_t bytes);
HPM_COMPAT void *je_aligned_alloc(size_t alignment, size_t bytes);
HPM_COMPAT int je_posix_memalign(void **block, size_t alignment, size_t bytes);
HPM_COMPAT void je_free(void *block);
HPM_COMPAT size_t je_malloc_usable_size(void *block);

/* mimalloc's basic calls. */
HPM_COMPAT void *mi_malloc(size_t bytes);
HPM_COMPAT void *mi_malloc_small(size_t bytes);
HPM_COMPAT void *mi_zalloc(size_t bytes);
HPM_COMPAT void *mi_zalloc_small(size_t bytes);
HPM_COMPAT void *mi_calloc(size_t count, size_t bytes);
HPM_COMPAT void *mi_mallocn(size_t count, size_t bytes);
HPM_COMPAT void *mi_realloc(void *block, size_t bytes);
HPM_COMPAT void *mi_reallocn(void *block, size_t count, size_t bytes);
HPM_COMPAT void *mi_reallocf(void *block, size_t bytes);
HPM_COMPAT void *mi_expand(void *block, size_t bytes);
HPM_COMPAT void mi_free(void *block);
HPM_COMPAT void mi_free_size(void *block, size_t bytes);
HPM_COMPAT void mi_free_size_aligned(void *block, size_t bytes, size_t alignment);
HPM_COMPAT void mi_free_aligned(void *block, size_t alignment);
HPM_COMPAT char *mi_strdup(const char *text);
HPM_COMPAT char *mi_strndup(const char *text, size_t bytes);
HPM_COMPAT void *mi_malloc_aligned(size_t bytes, size_t alignment);
HPM_COMPAT void *mi_zalloc_aligned(size_t bytes, size_t alignment);
HPM_COMPAT void *mi_calloc_aligned(size_t count, size_t bytes, size_t alignment);
HPM_COMPAT void *mi_realloc_aligned(void *block, size_t bytes, size_t alignment);
HPM_COMPAT void *mi_aligned_alloc(size_t alignment, size_t bytes);
HPM_COMPAT void *mi_memalign(size_t alignment, size_t bytes);
HPM_COMPAT int mi_posix_memalign(void **block, size_t alignment, size_t bytes);
HPM_COMPAT size_t mi_usable_size(const void *block);
HPM_COMPAT size_t mi_malloc_usable_size(const void *block);
HPM_COMPAT size_t mi_malloc_size(const void *block);
HPM_COMPAT size_t mi_good_size(size_t bytes);
HPM_COMPAT void mi_collect(bool force);
HPM_COMPAT void mi_stats_print(void *ignored);
HPM_COMPAT void mi_stats_print_out(void (*write)(const char *, void *), void *argument);
HPM_COMPAT void mi_stats_reset(void);
HPM_COMPAT void mi_stats_merge(void);
HPM_COMPAT void mi_thread_init(void);
HPM_COMPAT void mi_thread_done(void);
HPM_COMPAT int mi_version(void);

#ifdef __cplusplus
}
#endif

#endif
