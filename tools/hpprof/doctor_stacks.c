/* Whether stacks can be walked to their ends, and have names. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "doctor.h"
#include "model.h"
#include "units.h"

/* Files that something is wrong with: some by name, all by number. */
struct file_list {
    char names[400];
    size_t count;
};

static void put(struct file_list *list, const char *path)
{
    size_t length = strlen(list->names);
    const char *name = profile_base_name(path);
    list->count++;
    if (length + strlen(name) + 3 < sizeof(list->names) && list->count <= 6)
        snprintf(list->names + length, sizeof(list->names) - length, "%s%s",
                 length != 0 ? ", " : "", name);
}

static const char *text_of(struct doctor *doctor, const struct file_list *list)
{
    return list->count <= 6 ? list->names
                            : doctor_text(doctor, "%s and %zu more", list->names, list->count - 6);
}

struct objects {
    struct file_list no_unwind_data, no_names, no_debug_file, deleted;
    uint64_t file_less_bytes;
};

static void examine(struct doctor *doctor, struct objects *objects, const char *path,
                    const char *name)
{
    struct binary binary;
    bool is_program = strcmp(path, doctor->path) == 0;
    if (!binary_read(&binary, path))
        return;
    if (!binary.has_unwind_data)
        put(&objects->no_unwind_data, name);
    if (!binary.has_symbols && binary.build_id[0] == '\0')
        put(&objects->no_names, name);
    else if (is_program && !binary.has_symbols && !binary_has_debug_file(&binary))
        put(&objects->no_debug_file, name);
}

/* A file's executable segments mostly lie side by side. */
static void examine_all(struct doctor *doctor, struct objects *objects)
{
    struct doctor_mapping mapping;
    char last[PATH_MAX] = "", program[PATH_MAX];
    ssize_t length = readlink(doctor->path, program, sizeof(program) - 1);
    program[length > 0 ? length : 0] = '\0';
    for (const char *at = doctor->maps; doctor_next_mapping(&at, &mapping);) {
        if (!mapping.is_executable)
            continue;
        bool is_memory = strncmp(mapping.path, "/memfd:", 7) == 0 ||
                         strncmp(mapping.path, "/dev/zero", 9) == 0 ||
                         strncmp(mapping.path, "[anon", 5) == 0;
        if (is_memory || mapping.path[0] == '\0')
            objects->file_less_bytes += mapping.limit - mapping.start;
        if (is_memory || mapping.path[0] != '/' || strcmp(mapping.path, last) == 0)
            continue;
        strcpy(last, mapping.path);
        if (mapping.is_deleted)
            put(&objects->deleted, mapping.path);
        else
            examine(doctor, objects,
                    strcmp(program, mapping.path) == 0 ? doctor->path
                                                       : doctor_reach(doctor, mapping.path),
                    mapping.path);
    }
}

static void say_of_files(struct doctor *doctor, const struct objects *objects)
{
    if (objects->no_unwind_data.count != 0)
        doctor_find(doctor, "no-unwind-data",
                    "build with -fasynchronous-unwind-tables, or -fno-omit-frame-pointer",
                    "no .eh_frame, or next to none, in %s: stacks go on there by frame pointers, "
                    "where there are some",
                    text_of(doctor, &objects->no_unwind_data));
    if (objects->no_names.count != 0)
        doctor_find(doctor, "no-names",
                    "do not strip it, or link with -Wl,--build-id and keep the "
                    "debug file",
                    "stripped, and without a build id to find the names by: %s",
                    text_of(doctor, &objects->no_names));
    if (objects->no_debug_file.count != 0)
        doctor_note(doctor, "no-debug-file",
                    "install its debug symbols (below /usr/lib/debug/.build-id), before or after "
                    "the profile",
                    "%s is stripped: functions that it does not export have no names",
                    text_of(doctor, &objects->no_debug_file));
    if (objects->deleted.count != 0)
        doctor_note(doctor, "deleted-files", "start it anew after an upgrade",
                    "replaced or removed since it began, so that hpprof finds no names in: %s",
                    text_of(doctor, &objects->deleted));
}

void doctor_stacks(struct doctor *doctor)
{
    struct objects objects = {0};
    char text[UNITS_TEXT_MAX];
    if (doctor->is_planned)
        examine(doctor, &objects, doctor->path, doctor->path);
    else
        examine_all(doctor, &objects);
    say_of_files(doctor, &objects);
    if (objects.file_less_bytes != 0)
        doctor_find(doctor, "jit-code",
                    "let the runtime keep frame pointers (node --interpreted-frames-native-stack, "
                    "java -XX:+PreserveFramePointer)",
                    "%s of code were made at run time (a JIT?): it has no names, and stacks end "
                    "there unless it keeps frame pointers",
                    units_bytes(text, (double)objects.file_less_bytes));
    if (!child_exists("addr2line") && !child_exists("llvm-symbolizer"))
        doctor_find(doctor, "no-addr2line", "install binutils or llvm on this machine",
                    "neither addr2line nor llvm-symbolizer is here: no source lines, and no "
                    "inlined functions");
}
