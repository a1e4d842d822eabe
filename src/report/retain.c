#define _GNU_SOURCE
#include "report/retain.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/meta.h"
#include "base/options.h"
#include "base/print.h"

/* From the root, for the program may go to another folder. An empty path: none, or forgotten. */
struct kept {
    struct stat status;
    char path[DUMPFILE_PATH_MAX];
};

static struct {
    struct kept *ring; // of `capacity`, made at the first file; pages exist once they are used
    size_t capacity;   // 0: all files are kept
    size_t next;       // where the next goes, and the oldest is
    char path[DUMPFILE_PATH_MAX];
    struct stat status;
} retain;

HPM_EARLY void retain_init(void)
{
    size_t capacity = option_number(OPTION_DUMP_KEEP);
    for (size_t i = 0; retain.ring != NULL && i < retain.capacity; i++) {
        if (retain.ring[i].path[0] != '\0')
            retain.ring[i].path[0] = '\0';
    }
    if (capacity != retain.capacity)
        retain.ring = NULL;
    retain.capacity = capacity;
    retain.next = 0;
}

static bool is_same(const struct stat *one, const struct stat *other)
{
    return S_ISREG(one->st_mode) && one->st_dev == other->st_dev && one->st_ino == other->st_ino &&
           one->st_size == other->st_size && one->st_mtim.tv_sec == other->st_mtim.tv_sec &&
           one->st_mtim.tv_nsec == other->st_mtim.tv_nsec;
}

static int remove_kept(struct kept *kept)
{
    int error = 0;
    if (kept->path[0] != '\0' && lstat(kept->path, &retain.status) == 0 &&
        is_same(&retain.status, &kept->status) && unlink(kept->path) != 0 && errno != ENOENT)
        error = -errno;
    memcpy(retain.path, kept->path, strlen(kept->path) + 1);
    kept->path[0] = '\0';
    return error;
}

/* By the system call: the C library's getcwd may allocate. */
static bool make_absolute(char *target, const char *path)
{
    size_t length = 0;
    if (path[0] != '/') {
        if (syscall(SYS_getcwd, target, DUMPFILE_PATH_MAX) <= 0 || target[0] != '/')
            return false;
        length = strlen(target);
    }
    bool fits = length + strlen(path) + 2 <= DUMPFILE_PATH_MAX;
    if (fits)
        print_format(target + length, DUMPFILE_PATH_MAX - length, length != 0 ? "/%s" : "%s", path);
    return fits;
}

/* One that cannot be remembered stays, and the oldest goes all the same. */
int retain_file(const struct dumpfile *file)
{
    if (retain.capacity == 0)
        return 0;
    if (retain.ring == NULL)
        retain.ring = meta_alloc_sparse(retain.capacity * sizeof(struct kept));
    if (retain.ring == NULL)
        return 0;
    struct kept *kept = &retain.ring[retain.next];
    retain.next = (retain.next + 1) % retain.capacity;
    int error = remove_kept(kept);
    kept->status = file->status;
    if (!make_absolute(kept->path, file->path))
        kept->path[0] = '\0';
    return error;
}

const char *retain_path(void)
{
    return retain.path;
}
