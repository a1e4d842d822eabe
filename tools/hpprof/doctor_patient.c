/* What is seen of the patient, and what is written down. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "doctor.h"

enum { GROUPS_MAX = 256 };

static const char *format_text(struct doctor *doctor, const char *format, va_list arguments)
{
    char *text;
    if (vasprintf(&text, format, arguments) < 0)
        return "";
    char *copy = pool_alloc(&doctor->pool, strlen(text) + 1, 1);
    strcpy(copy, text);
    free(text);
    return copy;
}

const char *doctor_text(struct doctor *doctor, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const char *text = format_text(doctor, format, arguments);
    va_end(arguments);
    return text;
}

static void add(struct doctor *doctor, const char *code, const char *what, const char *remedy,
                bool is_note)
{
    *memory_push(doctor->findings, doctor->count, doctor->capacity) =
        (struct finding){.code = code, .what = what, .remedy = remedy, .is_note = is_note};
    doctor->finding_count += !is_note;
}

void doctor_find(struct doctor *doctor, const char *code, const char *remedy, const char *format,
                 ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(doctor, code, format_text(doctor, format, arguments), remedy, false);
    va_end(arguments);
}

void doctor_note(struct doctor *doctor, const char *code, const char *remedy, const char *format,
                 ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(doctor, code, format_text(doctor, format, arguments), remedy, true);
    va_end(arguments);
}

bool doctor_has(const struct doctor *doctor, const char *code)
{
    for (size_t i = 0; i < doctor->count; i++) {
        if (strcmp(doctor->findings[i].code, code) == 0)
            return true;
    }
    return false;
}

void doctor_forget(struct doctor *doctor, const char *code)
{
    size_t kept = 0;
    for (size_t i = 0; i < doctor->count; i++) {
        if (strcmp(doctor->findings[i].code, code) != 0)
            doctor->findings[kept++] = doctor->findings[i];
        else
            doctor->finding_count -= !doctor->findings[i].is_note;
    }
    doctor->count = kept;
}

const char *doctor_status(const struct doctor *doctor, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = doctor->status; *line != '\0';) {
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " \t");
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return "";
}

uint64_t doctor_status_bits(const struct doctor *doctor, const char *name)
{
    return strtoull(doctor_status(doctor, name), NULL, 16);
}

const char *doctor_reach(struct doctor *doctor, const char *path)
{
    long pid = (long)doctor->process.pid;
    if (doctor->is_planned)
        return path;
    return path[0] == '/' ? doctor_text(doctor, "/proc/%ld/root%s", pid, path)
                          : doctor_text(doctor, "/proc/%ld/cwd/%s", pid, path);
}

bool doctor_shares(const struct doctor *doctor, const char *kind)
{
    char theirs[64], ours[64];
    struct stat there, here;
    snprintf(theirs, sizeof(theirs), "/proc/%ld/ns/%s", (long)doctor->process.pid, kind);
    snprintf(ours, sizeof(ours), "/proc/self/ns/%s", kind);
    return stat(theirs, &there) != 0 || stat(ours, &here) != 0 || there.st_ino == here.st_ino;
}

/* The effective one, second of four. */
static unsigned long second_number(const char *text)
{
    char *end;
    strtoul(text, &end, 10);
    return strtoul(end, NULL, 10);
}

static bool take_groups(const struct doctor *doctor)
{
    gid_t groups[GROUPS_MAX];
    size_t count = 0;
    const char *line = doctor_status(doctor, "Groups");
    for (char *end; *line != '\n' && *line != '\0' && count < GROUPS_MAX; line = end) {
        groups[count++] = (gid_t)strtoul(line, &end, 10);
        end += strspn(end, " \t");
    }
    return setgroups(count, groups) == 0;
}

/* In a process of its own: stands where the patient stands, and is who the patient is. */
static int access_as_patient(const struct doctor *doctor, const char *path, int mode)
{
    char folder[64], root[64];
    uid_t user = (uid_t)second_number(doctor_status(doctor, "Uid"));
    gid_t group = (gid_t)second_number(doctor_status(doctor, "Gid"));
    snprintf(root, sizeof(root), "/proc/%ld/root", (long)doctor->process.pid);
    snprintf(folder, sizeof(folder), "/proc/%ld/cwd", (long)doctor->process.pid);
    int cwd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (cwd < 0 || chroot(root) != 0 || fchdir(cwd) != 0)
        return errno;
    if (user != 0 && (!take_groups(doctor) || setresgid(group, group, group) != 0 ||
                      setresuid(user, user, user) != 0))
        return errno;
    return access(path, mode) == 0 ? 0 : errno;
}

int doctor_access(const struct doctor *doctor, const char *path, int mode)
{
    char from_here[PATH_MAX + 32];
    int status;
    if (doctor->is_planned)
        return access(path, mode) == 0 ? 0 : errno;
    if (geteuid() != 0) {
        snprintf(from_here, sizeof(from_here), "/proc/%ld/%s%s", (long)doctor->process.pid,
                 path[0] == '/' ? "root" : "cwd/", path);
        return access(from_here, mode) == 0 ? 0 : errno;
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(access_as_patient(doctor, path, mode));
    while (child > 0 && waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return 0;
    }
    return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

bool doctor_next_mapping(const char **at, struct doctor_mapping *mapping)
{
    static const char deleted[] = " (deleted)";
    unsigned long start, limit;
    char rights[8];
    int name = 0;
    if (**at == '\0' || sscanf(*at, "%lx-%lx %4s %*x %*s %*u%n", &start, &limit, rights, &name) < 3)
        return false;
    const char *line = *at + name, *end = line + strcspn(line, "\n");
    line += strspn(line, " ");
    size_t length = (size_t)(end - line), ending = strlen(deleted);
    mapping->is_deleted = length > ending && strncmp(line + length - ending, deleted, ending) == 0;
    length -= mapping->is_deleted ? ending : 0;
    mapping->start = start;
    mapping->limit = limit;
    mapping->is_executable = rights[2] == 'x';
    snprintf(mapping->path, sizeof(mapping->path), "%.*s",
             (int)(length < PATH_MAX ? length : PATH_MAX - 1), line);
    *at = end + (*end == '\n');
    return true;
}
