#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DEFAULT_INTERVAL = 512 * 1024 };

bool common_switch_profiling(bool on)
{
    static _Atomic size_t kept = DEFAULT_INTERVAL;
    size_t interval = hpm_profile_interval();
    if (on && interval == 0) {
        hpm_profile_set_interval(kept);
    } else if (!on && interval != 0) {
        kept = interval;
        hpm_profile_set_interval(0);
    }
    return interval != 0;
}

int common_write_profile(int descriptor)
{
    return hpm_profile_write(HPM_PROFILE_HEAP, HPM_FORMAT_LEGACY, descriptor);
}

int common_write_text(int descriptor)
{
    return hpm_stats_write(descriptor, HPM_STATS_TEXT);
}

int common_write_json(int descriptor)
{
    return hpm_stats_write(descriptor, HPM_STATS_JSON);
}

int common_dump(const char *path)
{
    static _Atomic unsigned number;
    char beside[PATH_MAX];
    int length = snprintf(beside, sizeof(beside), "%s.%ld.%u.tmp", path, (long)getpid(), ++number);
    if (length < 0 || (size_t)length >= sizeof(beside))
        return -ENAMETOOLONG;
    int descriptor = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (descriptor < 0)
        return -errno;
    int status = common_write_profile(descriptor);
    if (close(descriptor) != 0 && status == 0)
        status = -errno;
    if (status == 0 && rename(beside, path) != 0)
        status = -errno;
    if (status != 0)
        unlink(beside);
    return status;
}

/* malloc, not hpm_malloc: the caller will free it. */
static char *read_all(int descriptor)
{
    off_t bytes = lseek(descriptor, 0, SEEK_END);
    char *text = bytes >= 0 ? malloc((size_t)bytes + 1) : NULL;
    if (text == NULL)
        return NULL;
    size_t done = 0;
    while (done < (size_t)bytes) {
        ssize_t got = pread(descriptor, text + done, (size_t)bytes - done, (off_t)done);
        if (got <= 0 && !(got < 0 && errno == EINTR))
            break;
        done += got > 0 ? (size_t)got : 0;
    }
    text[done] = '\0';
    return text;
}

char *common_read(int (*write)(int descriptor))
{
    int descriptor = memfd_create("hpmalloc", MFD_CLOEXEC);
    if (descriptor < 0)
        return NULL;
    char *text = write(descriptor) == 0 ? read_all(descriptor) : NULL;
    close(descriptor);
    return text;
}

/* hpm_realloc keeps no alignment above that of all blocks. */
void *common_realloc_aligned(void *block, size_t bytes, size_t alignment)
{
    if (block == NULL)
        return hpm_aligned_alloc(alignment, bytes);
    if (alignment <= COMMON_ALIGNMENT)
        return hpm_realloc(block, bytes != 0 ? bytes : 1);
    size_t usable = hpm_usable_size(block);
    if (bytes <= usable && bytes >= usable / 2 && (uintptr_t)block % alignment == 0)
        return block;
    void *moved = hpm_aligned_alloc(alignment, bytes);
    if (moved == NULL)
        return NULL;
    memcpy(moved, block, bytes < usable ? bytes : usable);
    hpm_free(block);
    return moved;
}

int common_memalign(void **block, size_t alignment, size_t bytes)
{
    if (!common_is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    int kept = errno;
    void *address = hpm_aligned_alloc(alignment, bytes);
    errno = kept;
    if (address == NULL)
        return ENOMEM;
    *block = address;
    return 0;
}
