#define _GNU_SOURCE
#include "prof/record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/print.h"
#include "prof/record_layout.h"

#define SET_ASIDE_ENDING ".old"

struct name {
    char *text;
    size_t used;
};

static void put(struct name *name, char c)
{
    if (name->used < RECORD_PATH_MAX)
        name->text[name->used++] = c;
}

/* As part of one path component. */
static void put_component(struct name *name, const char *text)
{
    for (; *text != '\0'; text++)
        put(name, *text == '/' ? '_' : *text);
}

static void put_directive(struct name *name, char directive)
{
    char digits[24];
    print_format(digits, sizeof(digits), "%ld", (long)getpid());
    if (directive == 'p') {
        put_component(name, digits);
    } else if (directive == 'e') {
        put_component(name, program_invocation_short_name);
    } else {
        put(name, '%');
        if (directive != '%')
            put(name, directive);
    }
}

/* Not getcwd(3), which may allocate. */
static void put_folder(struct name *name)
{
    if (syscall(SYS_getcwd, name->text, RECORD_PATH_MAX) <= 0 || name->text[0] != '/')
        name->text[0] = '\0';
    name->used = strlen(name->text);
    if (name->used != 0)
        put(name, '/');
}

void record_file_name(char path[static RECORD_PATH_MAX], const char *pattern)
{
    struct name name = {.text = path, .used = 0};
    if (pattern[0] != '/')
        put_folder(&name);
    for (; *pattern != '\0'; pattern++) {
        if (pattern[0] == '%' && pattern[1] != '\0')
            put_directive(&name, *++pattern);
        else
            put(&name, *pattern);
    }
    put(&name, '\0');
    if (name.used + strlen(SET_ASIDE_ENDING) > RECORD_PATH_MAX)
        path[0] = '\0';
}

static ssize_t read_start(const char *path, int flags, void *target, size_t bytes)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0)
        return -errno;
    long got = syscall(SYS_read, fd, target, bytes);
    syscall(SYS_close, fd);
    return (ssize_t)got;
}

/* Field 22; the second is a name in brackets that may hold anything. */
uint64_t record_file_process_start(uint32_t pid)
{
    enum { FIELD = 22, AFTER_NAME = 2 };
    char text[512];
    uint64_t start = 0;
    print_format(text, sizeof(text), "/proc/%u/stat", pid);
    ssize_t length = read_start(text, 0, text, sizeof(text) - 1);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    const char *at = strrchr(text, ')');
    for (int field = AFTER_NAME; at != NULL && field < FIELD; field++) {
        at = strchr(at, ' ');
        at += at != NULL;
    }
    for (; at != NULL && *at >= '0' && *at <= '9'; at++)
        start = start * 10 + (uint64_t)(*at - '0');
    return start;
}

static bool runs_still(const struct record_header *header)
{
    return header->pid != (uint32_t)getpid() && header->process_start != 0 &&
           record_file_process_start(header->pid) == header->process_start;
}

static bool is_file_of_ours(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid();
}

static int set_aside(const char *path, uint32_t *owner)
{
    static char other[RECORD_PATH_MAX];
    static struct record_header header;
    if (!is_file_of_ours(path))
        return -EEXIST;
    ssize_t got = read_start(path, O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, &header, sizeof(header));
    if (got != (ssize_t)sizeof(header) ||
        memcmp(header.magic, RECORD_MAGIC, sizeof(header.magic)) != 0)
        return -EEXIST;
    if (runs_still(&header)) {
        *owner = header.pid;
        return -EBUSY;
    }
    print_format(other, sizeof(other), "%s" SET_ASIDE_ENDING, path);
    return rename(path, other) == 0 ? 0 : -errno;
}

static int create(const char *path)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path,
                          O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : -errno;
}

int record_file_create(const char *path, uint32_t *owner)
{
    int fd = path[0] != '\0' ? create(path) : -ENAMETOOLONG;
    if (fd != -EEXIST)
        return fd;
    int error = set_aside(path, owner);
    return error == 0 ? create(path) : error;
}
