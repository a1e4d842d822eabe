/* The C library's allocation calls under their own names. */
#include <errno.h>

#include "api/hardening.h"
#include "api/malloc.h"
#include "base/os.h"
#include "hpmalloc.h"

#ifdef HPM_REPLACE
HPM_EXPORT HPM_API void *malloc(size_t bytes)
{
    return malloc_fast(bytes);
}

HPM_EXPORT HPM_API void free(void *address)
{
    free_fast(address);
}

HPM_EXPORT HPM_API void cfree(void *address)
{
    free_fast(address);
}

HPM_EXPORT HPM_API void free_sized(void *address, size_t bytes)
{
    free_fast_sized(address, bytes, HARDENING_NO_ALIGNMENT);
}

HPM_EXPORT HPM_API void free_aligned_sized(void *address, size_t alignment, size_t bytes)
{
    free_fast_sized(address, bytes, alignment);
}

HPM_EXPORT HPM_API void *calloc(size_t count, size_t size)
{
    return hpm_calloc(count, size);
}

HPM_EXPORT HPM_API void *realloc(void *address, size_t bytes)
{
    return hpm_realloc(address, bytes);
}

HPM_EXPORT HPM_API void *reallocarray(void *address, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return hpm_realloc(address, bytes);
}

HPM_EXPORT HPM_API void *aligned_alloc(size_t alignment, size_t bytes)
{
    return hpm_aligned_alloc(alignment, bytes);
}

/* As the C library's: any alignment is taken, and rounded up to a power of two. */
HPM_EXPORT HPM_API void *memalign(size_t alignment, size_t bytes)
{
    size_t power = OBJECT_ALIGNMENT;
    while (power < alignment && power != 0)
        power *= 2;
    return hpm_aligned_alloc(power, bytes);
}

HPM_EXPORT HPM_API int posix_memalign(void **block, size_t alignment, size_t bytes)
{
    if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    int saved = errno;
    void *address = malloc_aligned(bytes, alignment);
    errno = saved;
    if (address == NULL)
        return ENOMEM;
    *block = address;
    return 0;
}

HPM_EXPORT HPM_API void *valloc(size_t bytes)
{
    return malloc_aligned(bytes, os_page_bytes());
}

HPM_EXPORT HPM_API void *pvalloc(size_t bytes)
{
    size_t rounded = round_up(max_size(bytes, 1), os_page_bytes());
    if (rounded < bytes) {
        errno = ENOMEM;
        return NULL;
    }
    return malloc_aligned(rounded, os_page_bytes());
}

HPM_EXPORT size_t malloc_usable_size(void *address)
{
    return hpm_usable_size(address);
}
#endif
