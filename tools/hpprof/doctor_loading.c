/* Whether the library is in the process, and if not, why not. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "doctor.h"
#include "library.h"
#include "model.h"

static const char library_name[] = "libhpmalloc.so";

/* Others that stand in for malloc. */
static const char *const others[] = {
    "libjemalloc",
    "libtcmalloc",
    "libmimalloc",
    "libsnmalloc",
    "librpmalloc",
    "libhoard",
    "libscudo",
    "libasan",
    "liblsan",
    "libtsan",
    "libmsan",
    "libumem",
    "libtbbmalloc_proxy",
    "libhardened_malloc",
    "libmesh",
};

static bool is_library(const char *path)
{
    return strncmp(profile_base_name(path), library_name, strlen(library_name)) == 0;
}

/* The loader may leave a piece behind of one that it could not load. */
static const char *find_mapped_library(struct doctor *doctor)
{
    struct doctor_mapping mapping;
    for (const char *at = doctor->maps; doctor_next_mapping(&at, &mapping);) {
        if (mapping.is_executable && mapping.path[0] == '/' && is_library(mapping.path))
            return doctor_text(doctor, "%s", mapping.path);
    }
    return doctor->binary.holds_hpmalloc ? doctor->path : NULL;
}

/* An entry of the kernel's auxiliary vector. */
static unsigned long auxiliary(const struct doctor *doctor, unsigned long wanted)
{
    Elf64_auxv_t entry = {0};
    unsigned long value = 0;
    char path[64];
    snprintf(path, sizeof(path), "/proc/%ld/auxv", (long)doctor->process.pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fread(&entry, sizeof(entry), 1, file) == 1) {
        if (entry.a_type == wanted)
            value = entry.a_un.a_val;
    }
    if (file != NULL)
        fclose(file);
    return value;
}

/* What the kernel would say of a file that root, or its owner, does not run with more rights than
 * it has anyway. */
static bool would_be_secure(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return false;
    bool is_other_user = (status.st_mode & S_ISUID) != 0 && status.st_uid != geteuid();
    bool is_other_group = (status.st_mode & S_ISGID) != 0 && status.st_gid != getegid();
    return is_other_user || is_other_group ||
           (geteuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0);
}

static bool is_secure(const struct doctor *doctor)
{
    return doctor->is_planned ? would_be_secure(doctor->path) : auxiliary(doctor, AT_SECURE) != 0;
}

/* Run by name, the loader has no interpreter either. */
static bool is_static(const struct doctor *doctor)
{
    return doctor->binary.kind == BINARY_ELF && !doctor->binary.has_interpreter &&
           strstr(doctor->maps, "/ld-") == NULL && strstr(doctor->maps, "/libc.so") == NULL;
}

static const char *first_entry(struct doctor *doctor, const char *preload)
{
    while (*preload != '\0') {
        size_t length = strcspn(preload, " :");
        const char *entry = doctor_text(doctor, "%.*s", (int)length, preload);
        if (strstr(entry, "hpmalloc") != NULL)
            return entry;
        preload += length + strspn(preload + length, " :");
    }
    return NULL;
}

/* Whether the two can be one process: the reason why not was said. */
static bool fits(struct doctor *doctor, const char *path, const char *library)
{
    struct binary binary;
    const char *program = doctor->program;
    if (doctor->binary.kind == BINARY_FOREIGN) {
        doctor_find(doctor, "wrong-architecture", "there is none for it: only 64-bit programs",
                    "%s is a program of another class (32-bit?) than %s", program, path);
    } else if (!binary_read(&binary, library)) {
        doctor_find(doctor, "preload-broken", "install the library anew", "%s is no library: %s",
                    path, binary.kind == BINARY_FOREIGN ? "of another class" : "no ELF file");
    } else if (doctor->binary.kind == BINARY_ELF && binary.machine != doctor->binary.machine) {
        doctor_find(doctor, "wrong-architecture", "build the library for that one",
                    "%s and %s are for different machines", path, program);
    } else if (binary.libc != LIBC_UNKNOWN && doctor->binary.libc != LIBC_UNKNOWN &&
               binary.libc != doctor->binary.libc) {
        bool is_musl = doctor->binary.libc == LIBC_MUSL;
        doctor_find(doctor, "wrong-libc",
                    is_musl ? "build it with CC=musl-gcc, or on Alpine"
                            : "build it with the compiler of this system",
                    "%s is a program of %s, but %s was made for %s", program,
                    is_musl ? "musl" : "glibc", path, is_musl ? "glibc" : "musl");
    } else {
        return true;
    }
    return false;
}

static void explain_path(struct doctor *doctor, const char *entry)
{
    const char *path = doctor_reach(doctor, entry);
    struct statvfs system;
    int error = doctor_access(doctor, entry, R_OK);
    if (error != 0 && access(entry, F_OK) == 0 && access(path, F_OK) != 0) {
        doctor_find(doctor, "preload-elsewhere",
                    "mount or copy it into the container (or the chroot) at that path",
                    "LD_PRELOAD names %s, which is here, but not in the process's own file system",
                    entry);
    } else if (error == ENOENT || error == ENOTDIR) {
        doctor_find(doctor, "preload-missing",
                    "correct the path: the loader only warns, and goes on without",
                    "LD_PRELOAD names %s, which does not exist", entry);
    } else if (error != 0) {
        doctor_find(doctor, "preload-unreadable",
                    "make it readable, and the folders above it, for the program's user",
                    "LD_PRELOAD names %s, which the program cannot read: %s", entry,
                    strerror(error));
    } else if (statvfs(path, &system) == 0 && (system.f_flag & ST_NOEXEC) != 0) {
        doctor_find(doctor, "preload-noexec", "put the library on another file system",
                    "%s is on a file system that is mounted noexec", entry);
    } else if (fits(doctor, entry, path)) {
        doctor_find(doctor, "preload-failed",
                    "start the program anew, with LD_DEBUG=libs if its stderr does not say why",
                    "LD_PRELOAD names %s, and yet it is not in the process", entry);
    }
}

static void explain_preload(struct doctor *doctor)
{
    static const char how[] =
        "start it with hpprof run -- PROGRAM, or LD_PRELOAD=/path/to/libhpmalloc.so PROGRAM";
    const char *preload = process_variable(&doctor->process, "LD_PRELOAD");
    const char *entry = preload != NULL ? first_entry(doctor, preload) : NULL;
    if (preload == NULL || *preload == '\0')
        doctor_find(doctor, "preload-unset", how,
                    "libhpmalloc.so is not in its memory: it was started without LD_PRELOAD");
    else if (entry == NULL)
        doctor_find(doctor, "preload-unset", how,
                    "libhpmalloc.so is not in its memory: LD_PRELOAD names only %s", preload);
    else if (strchr(entry, '/') == NULL)
        doctor_find(doctor, "preload-bare-name", "give the whole path",
                    "LD_PRELOAD=%s is a name without a folder, and the loader's own folders have "
                    "no such file (a program's DT_RUNPATH may hide them)",
                    entry);
    else
        explain_path(doctor, entry);
}

/* Of a program that cannot be preloaded, whatever the environment says. */
static bool explain_program(struct doctor *doctor)
{
    if (doctor->binary.is_go)
        doctor_find(doctor, "go-program", "use net/http/pprof of its own",
                    "%s is a Go program, whose memory is not malloc's", doctor->program);
    else if (is_static(doctor))
        doctor_find(doctor, "static-program", "link it with libhpmalloc.a (-lhpmalloc, before -lc)",
                    "%s is linked statically, so nothing can be preloaded", doctor->program);
    else if (is_secure(doctor))
        doctor_find(doctor, "secure-execution",
                    "run it without these rights for a profile, or link it with -lhpmalloc and "
                    "call hpm_profile_dump",
                    "%s runs with raised privileges (setuid, setgid or file capabilities), so the "
                    "loader ignores LD_PRELOAD, and the library its options",
                    doctor->program);
    else
        return false;
    return true;
}

static bool explain_planned(struct doctor *doctor)
{
    char path[PATH_MAX];
    if (explain_program(doctor))
        return false;
    doctor->library = doctor->library != NULL ? doctor->library : library_find(path);
    if (doctor->library == NULL) {
        doctor_find(doctor, "library-missing", "name it with --library",
                    "libhpmalloc.so is not where hpprof was installed with it");
        return false;
    }
    doctor->library = doctor_text(doctor, "%s", doctor->library);
    return fits(doctor, doctor->library, doctor->library);
}

bool doctor_loading(struct doctor *doctor)
{
    if (doctor->binary.holds_hpmalloc)
        doctor->library = doctor->path;
    else if (doctor->is_planned)
        return explain_planned(doctor);
    else
        doctor->library = find_mapped_library(doctor);
    doctor->is_preloaded = doctor->library != NULL && !doctor->binary.holds_hpmalloc &&
                           !binary_is_linked_with(doctor->path, library_name);
    if (doctor->library != NULL && is_secure(doctor)) {
        doctor->has_options = false;
        doctor_find(doctor, "secure-execution", "call hpm_profile_dump from the program",
                    "%s runs with raised privileges, so the library ignores its options",
                    doctor->program);
    }
    if (doctor->library == NULL && !explain_program(doctor))
        explain_preload(doctor);
    return doctor->library != NULL;
}

static bool is_other(const char *path)
{
    const char *name = profile_base_name(path);
    for (size_t i = 0; i < array_count(others); i++) {
        size_t length = strlen(others[i]);
        if (strncmp(name, others[i], length) == 0 && strstr(name, ".so") != NULL)
            return true;
    }
    return false;
}

/* Whether the first name stands in LD_PRELOAD before any like the second. */
static bool stands_before(const char *preload, const char *first, const char *second)
{
    const char *a = strstr(preload, first), *b = strstr(preload, second);
    return a != NULL && (b == NULL || a < b);
}

/* What is preloaded comes before all that a program is linked with. */
static bool comes_after(const struct doctor *doctor, const char *name, const char *preload)
{
    if (preload != NULL)
        return doctor->is_preloaded && strstr(preload, name) == NULL;
    return doctor->is_preloaded && binary_is_linked_with(doctor->path, name);
}

static void explain_other(struct doctor *doctor, const char *path)
{
    const char *name = profile_base_name(path);
    const char *preload = process_variable(&doctor->process, "LD_PRELOAD");
    if (comes_after(doctor, name, preload))
        doctor_note(doctor, "two-allocators", "nothing is to be done where it does not",
                    "%s is linked in too: hpmalloc comes before it, and has all that does not ask "
                    "for the other by names of its own (mallocx, mi_malloc)",
                    path);
    else if (preload != NULL && stands_before(preload, "libhpmalloc", name))
        doctor_find(doctor, "two-allocators", "run it without the other one",
                    "%s is in the process too: hpmalloc comes before it, but what asks for the "
                    "other by names of its own is not in profiles",
                    path);
    else
        doctor_find(doctor, "two-allocators", "put libhpmalloc.so first in LD_PRELOAD, alone",
                    "%s is in the process too, and may be the one that gives the memory", path);
}

void doctor_allocators(struct doctor *doctor)
{
    struct doctor_mapping mapping;
    char last[PATH_MAX] = "";
    for (const char *at = doctor->maps; doctor_next_mapping(&at, &mapping);) {
        if (mapping.path[0] != '/' || !is_other(mapping.path) || strcmp(mapping.path, last) == 0)
            continue;
        strcpy(last, mapping.path);
        explain_other(doctor, mapping.path);
    }
    if (doctor->binary.defines_malloc && !doctor->binary.holds_hpmalloc)
        doctor_find(doctor, "own-allocator",
                    "build it without that one, or for the C library's malloc",
                    "%s has a malloc of its own, which comes before any that is preloaded",
                    doctor->program);
}
