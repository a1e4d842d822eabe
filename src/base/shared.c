#define _GNU_SOURCE
#include "base/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/os.h"

enum { STEP_BYTES = 1 << 20, ALIGNMENT = 16 };

#define SMALL_RANGE_BYTES ((size_t)16 * MiB)
#define TRY_PAUSE_NS      1000000000u

struct shared_page *_Atomic shared_page;

static struct {
    char *start;
    size_t reserved_bytes; // of addresses
    size_t mapped_bytes;   // of these, onto the file
    size_t used_bytes;
    uint64_t next_try_ns; // to grow, after a failure
    const char *path;
    dev_t device;
    ino_t inode;
} area;

/* Where the file system cannot reserve, writing does. */
static int write_zeroes(int fd, size_t from, size_t bytes)
{
    static char zeroes[16 * KiB]; // never written: no page of it is ever had, and none of the file
    while (bytes > 0) {
        ssize_t done = pwrite(fd, zeroes, min_size(bytes, sizeof(zeroes)), (off_t)from);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        from += (size_t)done;
        bytes -= (size_t)done;
    }
    return 0;
}

/* To grow past the limit on file sizes would raise a signal. */
static int reserve_on_disk(int fd, size_t from, size_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < from + bytes)
        return -EFBIG;
    long done;
    do {
        done = syscall(SYS_fallocate, fd, 0, (off_t)from, (off_t)bytes);
    } while (done != 0 && errno == EINTR);
    if (done == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return -errno;
    return write_zeroes(fd, from, bytes);
}

/* What was reserved in part. */
static void give_back(int fd)
{
    while (ftruncate(fd, (off_t)area.mapped_bytes) != 0 && errno == EINTR)
        continue;
}

static int map_step(int fd, size_t bytes)
{
    char *target = area.start + area.mapped_bytes;
    if (bytes > area.reserved_bytes - area.mapped_bytes)
        return -ENOMEM;
    int error = reserve_on_disk(fd, area.mapped_bytes, bytes);
    if (error == 0 && !os_map_shared(target, fd, area.mapped_bytes, bytes))
        error = -ENOMEM;
    if (error != 0) {
        give_back(fd);
        return error;
    }
    os_keep_from_children(target, bytes);
    area.mapped_bytes += bytes;
    return 0;
}

static bool reserve_addresses(void)
{
    area.reserved_bytes = SHARED_BYTES_MAX;
    area.start = os_reserve(area.reserved_bytes);
    if (area.start == NULL) {
        area.reserved_bytes = SMALL_RANGE_BYTES;
        area.start = os_reserve(area.reserved_bytes);
    }
    if (area.start != NULL)
        os_keep_from_children(area.start, area.reserved_bytes);
    return area.start != NULL;
}

static bool publish(void)
{
    struct shared_page *page = atomic_load_explicit(&shared_page, memory_order_relaxed);
    if (page == NULL) {
        page = os_map(sizeof(*page));
        if (page == NULL)
            return false;
        os_clear_in_children(page, os_page_bytes());
        /* Release, both: pair with the acquires in shared_at. */
        atomic_store_explicit(&shared_page, page, memory_order_release);
    }
    atomic_store_explicit(&page->start, area.start, memory_order_release);
    return true;
}

int shared_open(int fd, const char *path, size_t header_bytes)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return -errno;
    if (!reserve_addresses())
        return -ENOMEM;
    area.path = path;
    area.device = status.st_dev;
    area.inode = status.st_ino;
    area.mapped_bytes = 0;
    area.used_bytes = round_up(header_bytes, ALIGNMENT);
    area.next_try_ns = 0;
    int error = map_step(fd, STEP_BYTES);
    if (error == 0 && !publish())
        error = -ENOMEM;
    if (error != 0)
        os_unmap(area.start, area.reserved_bytes);
    return error;
}

/* A quarter more at a time, so that little lies idle and the file is seldom opened. */
static bool grow(size_t bytes)
{
    struct stat status;
    if (os_clock_coarse_ns() < area.next_try_ns)
        return false;
    size_t step = round_up(max_size(bytes, area.mapped_bytes / 4), STEP_BYTES);
    int cancel = os_put_cancel_off();
    int fd =
        (int)syscall(SYS_openat, AT_FDCWD, area.path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool is_same = fd >= 0 && fstat(fd, &status) == 0 && status.st_dev == area.device &&
                   status.st_ino == area.inode && (size_t)status.st_size == area.mapped_bytes;
    bool done =
        is_same && map_step(fd, min_size(step, area.reserved_bytes - area.mapped_bytes)) == 0;
    if (fd >= 0)
        syscall(SYS_close, fd);
    os_allow_cancel(cancel);
    area.next_try_ns = done ? 0 : os_clock_coarse_ns() + TRY_PAUSE_NS;
    return done;
}

uint32_t shared_alloc(size_t bytes)
{
    int saved = errno;
    bytes = round_up(bytes, ALIGNMENT);
    if (bytes > area.reserved_bytes - area.used_bytes)
        return 0;
    bool has_room = area.mapped_bytes - area.used_bytes >= bytes || grow(bytes);
    errno = saved;
    if (!has_room || area.mapped_bytes - area.used_bytes < bytes)
        return 0;
    area.used_bytes += bytes;
    return (uint32_t)(area.used_bytes - bytes);
}

/* The addresses are the child's to use for something else. Where the kernel does not clear the
 * page, this does. */
void shared_fork_child(void)
{
    struct shared_page *page = atomic_load_explicit(&shared_page, memory_order_relaxed);
    if (page != NULL)
        atomic_store_explicit(&page->start, NULL, memory_order_relaxed);
}
