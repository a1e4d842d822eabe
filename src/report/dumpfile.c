#define _GNU_SOURCE
#include "report/dumpfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/os.h"
#include "base/print.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

enum { NAME_MAX_BYTES = 256, SEQUENCE_TRIES = 100000, FIRST_FREE_FD = 3 };

static struct {
    char program[NAME_MAX_BYTES], host[NAME_MAX_BYTES];
} names;

/* A path as it is put together; what does not fit makes it too long, and it is not used. */
static struct {
    char *at, *limit;
    bool is_too_long;
    char piece[64]; // a number or a moment, off the stack of a signal handler
} path;

/* Names become part of one path component. */
static void copy_name(char *target, const char *name)
{
    print_format(target, NAME_MAX_BYTES, "%s", name != NULL && name[0] != '\0' ? name : "unknown");
    for (; *target != '\0'; target++) {
        if (*target == '/')
            *target = '_';
    }
}

HPM_EARLY void dumpfile_init(void)
{
    copy_name(names.program, program_invocation_short_name);
}

/* Asked for when first wanted, off the stack of a signal handler. */
static const char *host_name(void)
{
    static struct utsname system;
    if (names.host[0] == '\0')
        copy_name(names.host, uname(&system) == 0 ? system.nodename : NULL);
    return names.host;
}

static void put_bytes(const char *text, size_t length)
{
    if (length >= (size_t)(path.limit - path.at)) {
        path.is_too_long = true;
        return;
    }
    memcpy(path.at, text, length);
    path.at += length;
    *path.at = '\0';
}

static void put_text(const char *text)
{
    put_bytes(text, strlen(text));
}

static void put_number(unsigned long number)
{
    put_bytes(path.piece, print_format(path.piece, sizeof(path.piece), "%lu", number));
}

static void put_time(uint64_t wall_clock_ns)
{
    put_bytes(path.piece, print_time(path.piece, sizeof(path.piece), wall_clock_ns));
}

/* What is no directive stays as it is written. */
static void put_directive(const struct dumpfile *file, const char *percent)
{
    switch (percent[1]) {
    case 'e':
        put_text(names.program);
        break;
    case 'p':
        put_number((unsigned long)getpid());
        break;
    case 'n':
        put_number(file->sequence);
        break;
    case 'r':
        put_text(file->reason);
        break;
    case 't':
        put_time(file->wall_clock_ns);
        break;
    case 'h':
        put_text(host_name());
        break;
    case '%':
        put_text("%");
        break;
    default:
        put_bytes(percent, 2);
    }
}

static void put_pattern(const struct dumpfile *file, size_t length)
{
    for (const char *at = file->pattern, *limit = at + length; at < limit;) {
        if (*at == '%' && at + 1 < limit) {
            put_directive(file, at);
            at += 2;
        } else {
            put_bytes(at++, 1);
        }
    }
}

static bool ends_with(const char *text, const char *ending)
{
    size_t length = strlen(text), ending_length = strlen(ending);
    return length > ending_length && strcmp(text + length - ending_length, ending) == 0;
}

/* The ending a pattern has of its own. Dots alone do not make one: `hpmalloc.%e.%p.%n` has none. */
static const char *find_own_ending(const struct dumpfile *file)
{
    static const char *const known[] = {".pb.gz", ".pprof", ".prof",  ".gz",
                                        ".txt",   ".heap",  ".folded"};
    if (ends_with(file->pattern, file->ending))
        return file->ending;
    for (size_t i = 0; i < array_count(known) && !file->is_one_of_many; i++) {
        if (ends_with(file->pattern, known[i]))
            return known[i];
    }
    return NULL;
}

static int put_path(struct dumpfile *file)
{
    size_t length = strlen(file->pattern);
    const char *ending = file->ending != NULL ? find_own_ending(file) : NULL;
    path.at = file->path;
    path.limit = file->path + sizeof(file->path);
    path.is_too_long = false;
    put_pattern(file, length - (ending != NULL ? strlen(ending) : 0));
    if (file->profile != NULL) {
        put_text(".");
        put_text(file->profile);
    }
    if (file->ending != NULL)
        put_text(ending != NULL ? ending : file->ending);
    return path.is_too_long ? -ENAMETOOLONG : 0;
}

/* A name in the same folder that nobody else uses: containers that share one share pids too. */
static int put_temporary(struct dumpfile *file)
{
    const char *slash = strrchr(file->path, '/');
    path.at = file->temporary;
    path.limit = file->temporary + sizeof(file->temporary);
    path.is_too_long = false;
    put_bytes(file->path, slash != NULL ? (size_t)(slash - file->path) + 1 : 0);
    put_text(".hpmalloc.");
    put_number((unsigned long)getpid());
    put_text(".");
    put_number((uint32_t)os_random_u64());
    return path.is_too_long ? -ENAMETOOLONG : 0;
}

/* Where the program has closed its standard streams, other threads may write to those numbers. */
static int move_above_standard(int fd)
{
    if (fd < 0 || fd >= FIRST_FREE_FD)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    int saved = errno;
    close(fd);
    errno = saved;
    return moved;
}

int dumpfile_open(struct dumpfile *file)
{
    file->fd = -1;
    int error = put_path(file);
    if (error == 0)
        error = put_temporary(file);
    if (error != 0)
        return error;
    int fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    file->fd = move_above_standard(fd);
    if (file->fd >= 0)
        return 0;
    error = -errno;
    unlink(file->temporary);
    return error;
}

/* Some filesystems have no rename that spares what is there; a link spares it too. */
static int take_name(const char *temporary, const char *name)
{
    if (syscall(SYS_renameat2, AT_FDCWD, temporary, AT_FDCWD, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EEXIST)
        return -EEXIST;
    if (link(temporary, name) != 0)
        return -errno;
    unlink(temporary);
    return 0;
}

static bool has_sequence(const char *pattern)
{
    for (; *pattern != '\0'; pattern++) {
        if (pattern[0] == '%' && pattern[1] == 'n')
            return true;
        pattern += pattern[0] == '%' && pattern[1] != '\0';
    }
    return false;
}

static int find_name(struct dumpfile *file)
{
    int tries = has_sequence(file->pattern) ? SEQUENCE_TRIES : 1;
    int error = take_name(file->temporary, file->path);
    while (error == -EEXIST && --tries > 0) {
        file->sequence++;
        error = put_path(file);
        if (error == 0)
            error = take_name(file->temporary, file->path);
    }
    return error;
}

int dumpfile_publish(struct dumpfile *file)
{
    int error = fstat(file->fd, &file->status) == 0 ? 0 : -errno;
    if (close(file->fd) != 0 && errno != EINTR)
        error = -errno;
    if (error == 0)
        error = find_name(file);
    if (error != 0)
        unlink(file->temporary);
    return error;
}

void dumpfile_discard(struct dumpfile *file)
{
    close(file->fd);
    unlink(file->temporary);
}
