/* Whether dumps can be written where they go. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/quota.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "doctor.h"
#include "units.h"

/* A dump of a big program takes some of it. */
enum { FREE_BYTES_WANTED = 4 << 20 };

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif

/* Adds what a directive of HPMALLOC_DUMP_PATH stands for; false: that is not known before. */
static bool put_directive(const struct doctor *doctor, char directive, char *at, size_t size)
{
    struct utsname system;
    switch (directive) {
    case 'e':
        return snprintf(at, size, "%s", doctor->program) < (int)size;
    case 'p':
        return !doctor->is_planned &&
               snprintf(at, size, "%ld", (long)doctor->process.own_pid) < (int)size;
    case 'h':
        return doctor_shares(doctor, "uts") && uname(&system) == 0 &&
               snprintf(at, size, "%s", system.nodename) < (int)size;
    case '%':
        return snprintf(at, size, "%%") < (int)size;
    }
    return false;
}

/* The folder of the path, as far as it is known before a dump. */
static const char *folder_of(struct doctor *doctor, const char *path)
{
    char folder[PATH_MAX] = "", *at = folder, *slash = NULL;
    for (; *path != '\0' && at < folder + sizeof(folder) - 2; path++) {
        if (*path == '/')
            slash = at;
        if (*path != '%' || path[1] == '\0') {
            *at++ = *path;
        } else {
            if (!put_directive(doctor, *++path, at, (size_t)(folder + sizeof(folder) - at)))
                break;
            at += strlen(at);
        }
    }
    if (slash == NULL)
        return ".";
    *(slash == folder ? slash + 1 : slash) = '\0';
    return doctor_text(doctor, "%s", folder);
}

/* As it is called in what is said: a relative one with where it is. */
static const char *shown(struct doctor *doctor, const char *folder)
{
    char cwd[PATH_MAX], link[64];
    snprintf(link, sizeof(link), "/proc/%ld/cwd", (long)doctor->process.pid);
    ssize_t length = readlink(link, cwd, sizeof(cwd) - 1);
    if (folder[0] == '/' || length <= 0)
        return folder;
    cwd[length] = '\0';
    return strcmp(folder, ".") == 0 ? doctor_text(doctor, "%s", cwd)
                                    : doctor_text(doctor, "%s/%s", cwd, folder);
}

static void explain_access(struct doctor *doctor, const char *name, int error)
{
    static const char remedy[] = "set HPMALLOC_DUMP_PATH to a place it can write to, or make this "
                                 "one so";
    if (error == ENOENT || error == ENOTDIR)
        doctor_find(doctor, "folder-missing",
                    "make it, or set HPMALLOC_DUMP_PATH to a place that there is",
                    "dumps go to %s, which is no folder", name);
    else if (error == EROFS)
        doctor_find(doctor, "folder-read-only", remedy, "dumps go to %s, which is read-only", name);
    else
        doctor_find(doctor, "folder-unwritable", remedy,
                    "dumps go to %s, where the process may not write: %s", name, strerror(error));
}

static void check_space(struct doctor *doctor, const char *name, const char *path)
{
    struct statvfs system;
    char text[UNITS_TEXT_MAX];
    if (statvfs(path, &system) != 0)
        return;
    uint64_t bytes = (uint64_t)system.f_bavail * system.f_frsize;
    if (system.f_blocks != 0 && bytes < FREE_BYTES_WANTED)
        doctor_find(doctor, "folder-full", "make room, or set HPMALLOC_DUMP_PATH to another place",
                    "dumps go to %s, where %s are free", name, units_bytes(text, (double)bytes));
    else if (system.f_files != 0 && system.f_favail == 0)
        doctor_find(doctor, "folder-full",
                    "remove files, or set HPMALLOC_DUMP_PATH to another place",
                    "dumps go to %s, whose file system has no room for another file", name);
}

static void check_quota(struct doctor *doctor, const char *name, const char *path)
{
    struct dqblk quota = {0};
    char *end;
    strtoul(doctor_status(doctor, "Uid"), &end, 10);
    unsigned user = (unsigned)strtoul(end, NULL, 10);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    bool is_known = syscall(SYS_quotactl_fd, fd, QCMD(Q_GETQUOTA, USRQUOTA), user, &quota) == 0;
    close(fd);
    uint64_t limit = quota.dqb_bhardlimit * 1024; // given in kilobytes, used in bytes
    if (!is_known)
        return;
    if ((limit != 0 && quota.dqb_curspace + FREE_BYTES_WANTED > limit) ||
        (quota.dqb_ihardlimit != 0 && quota.dqb_curinodes >= quota.dqb_ihardlimit))
        doctor_find(doctor, "folder-quota",
                    "remove files of that user's, or set HPMALLOC_DUMP_PATH to another place",
                    "dumps go to %s, where the quota of user %u is used up", name, user);
}

/* "Max file size             unlimited  unlimited  bytes": the first is the one in force. */
static void check_limits(struct doctor *doctor)
{
    char *limits = process_read(doctor->process.pid, "limits"), *end;
    const char *line = limits != NULL ? strstr(limits, "Max file size") : NULL;
    unsigned long bytes = 0;
    if (line != NULL) {
        line += strlen("Max file size");
        bytes = strtoul(line, &end, 10);
        if (end != line && bytes < FREE_BYTES_WANTED)
            doctor_find(doctor, "file-size-limit", "raise it: ulimit -f, LimitFSIZE, prlimit",
                        "its limit on the size of files is %lu bytes", bytes);
    }
    free(limits);
}

static void note_namespace(struct doctor *doctor, const char *name)
{
    if (!doctor->is_planned && !doctor_shares(doctor, "mnt"))
        doctor_note(doctor, "mount-namespace",
                    doctor_text(doctor,
                                "hpprof dump prints them as they are reached from here, "
                                "/proc/%ld/root%s",
                                (long)doctor->process.pid, name[0] == '/' ? name : "/"),
                    "it has a mount namespace of its own: dumps go to its %s, not to this one's",
                    name);
}

void doctor_folder(struct doctor *doctor)
{
    uint64_t unused;
    if (doctor_has(doctor, "program-pattern"))
        return;
    const char *folder =
        folder_of(doctor, process_option(&doctor->process, OPTION_DUMP_PATH, &unused));
    const char *name = shown(doctor, folder), *path = doctor_reach(doctor, folder);
    struct stat status;
    int error = doctor_access(doctor, folder, W_OK | X_OK);
    if (error == 0 && stat(path, &status) == 0 && !S_ISDIR(status.st_mode))
        error = ENOTDIR;
    note_namespace(doctor, name);
    check_limits(doctor);
    if (error != 0) {
        explain_access(doctor, name, error);
        return;
    }
    check_space(doctor, name, path);
    check_quota(doctor, name, path);
}
