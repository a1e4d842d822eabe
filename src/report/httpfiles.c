#define _GNU_SOURCE
#include "report/httpfiles.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/lock.h"

/* Two for each connection, and some of the server itself. */
enum { FILES_MAX = 64, LOWEST = 600 };

struct file {
    int fd;
    dev_t device;
    ino_t inode;
};

static struct {
    struct lock lock;

    /* Guarded by lock. */
    struct file files[FILES_MAX];
    size_t count;
} table = {.lock = LOCK_INITIAL(LOCK_HTTP)};

/* Where the limit on descriptors is too low for it, the number stays. */
static int move_up(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, LOWEST);
    if (high < 0)
        return fd;
    close(fd);
    return high;
}

static int keep_locked(int fd)
{
    struct stat status;
    if (fd < 0)
        return -errno;
    if (table.count == FILES_MAX || fstat(fd, &status) != 0) {
        close(fd);
        return -EMFILE;
    }
    fd = move_up(fd);
    table.files[table.count++] =
        (struct file){.fd = fd, .device = status.st_dev, .inode = status.st_ino};
    return fd;
}

static int keep_and_release(int fd)
{
    int kept = keep_locked(fd);
    lock_release(&table.lock);
    return kept;
}

int httpfiles_socket(int family)
{
    lock_acquire(&table.lock);
    return keep_and_release(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

int httpfiles_accept(int listener)
{
    lock_acquire(&table.lock);
    return keep_and_release(accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

int httpfiles_memory(void)
{
    lock_acquire(&table.lock);
    return keep_and_release(memfd_create("hpmalloc-http", MFD_CLOEXEC));
}

static bool is_as_opened(const struct file *file)
{
    struct stat status;
    return fstat(file->fd, &status) == 0 && status.st_dev == file->device &&
           status.st_ino == file->inode;
}

static struct file *find_locked(int fd)
{
    for (size_t i = 0; i < table.count; i++) {
        if (table.files[i].fd == fd)
            return &table.files[i];
    }
    return NULL;
}

bool httpfiles_is_ours(int fd)
{
    lock_acquire(&table.lock);
    const struct file *file = find_locked(fd);
    bool is_ours = file != NULL && is_as_opened(file);
    lock_release(&table.lock);
    return is_ours;
}

void httpfiles_close(int fd)
{
    lock_acquire(&table.lock);
    struct file *file = find_locked(fd);
    if (file != NULL) {
        if (is_as_opened(file))
            close(fd);
        *file = table.files[--table.count];
    }
    lock_release(&table.lock);
}

void httpfiles_fork_prepare(void)
{
    lock_acquire(&table.lock);
}

void httpfiles_fork_parent(void)
{
    lock_release(&table.lock);
}

void httpfiles_fork_child(void)
{
    int saved = errno;
    for (; table.count > 0; table.count--) {
        if (is_as_opened(&table.files[table.count - 1]))
            close(table.files[table.count - 1].fd);
    }
    lock_reset(&table.lock);
    errno = saved;
}
