#include "writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "hpprof.h"
#include "protowrite.h"

static bool ends_with(const char *text, const char *ending)
{
    size_t length = strlen(text), ending_length = strlen(ending);
    return length >= ending_length && strcmp(text + length - ending_length, ending) == 0;
}

enum format writer_format(const char *name, const char *path)
{
    static const struct {
        const char *name, *ending;
        enum format format;
    } known[] = {
        {"pprof", ".pb.gz", FORMAT_PPROF},          {"pprof", ".gz", FORMAT_PPROF},
        {"pprof", ".pprof", FORMAT_PPROF},          {"pprof", ".prof", FORMAT_PPROF},
        {"proto", ".pb", FORMAT_PPROF_PLAIN},       {"legacy", ".heap", FORMAT_LEGACY},
        {"collapsed", ".folded", FORMAT_COLLAPSED}, {"collapsed", ".collapsed", FORMAT_COLLAPSED},
    };
    for (size_t i = 0; i < array_count(known); i++) {
        if (name != NULL ? strcmp(name, known[i].name) == 0 : ends_with(path, known[i].ending))
            return known[i].format;
    }
    return FORMAT_NONE;
}

static bool save_pprof(const struct profile *profile, FILE *file, bool is_packed)
{
    static char *const gzip[] = {"gzip", "-c", "-n", NULL};
    struct proto_bytes bytes = {0};
    size_t packed_bytes;
    protowrite(&bytes, profile);
    char *packed =
        is_packed ? child_filter(gzip, (const char *)bytes.data, bytes.count, &packed_bytes) : NULL;
    bool done = packed != NULL ? fwrite(packed, 1, packed_bytes, file) == packed_bytes
                               : fwrite(bytes.data, 1, bytes.count, file) == bytes.count;
    free(packed);
    memory_free(bytes.data);
    return done;
}

/* Readers take `;` for the end of a frame, and the last blank for that of the stack. */
static void put_frame(FILE *file, const char *name)
{
    for (; *name != '\0'; name++)
        putc(*name == ';' ? ':' : *name == ' ' ? '_' : *name, file);
}

/* An address without a name, as top shows it. */
static void put_binary(FILE *file, const struct profile *profile, const struct location *location)
{
    const char *path = location->mapping != MODEL_NONE
                           ? profile_text(profile, profile->mappings[location->mapping].file)
                           : "";
    putc('[', file);
    put_frame(file, *path == '\0' ? "unknown" : profile_base_name(path));
    putc(']', file);
}

static void put_location(FILE *file, const struct profile *profile, const struct location *location)
{
    if (location->line_count == 0)
        put_binary(file, profile, location);
    for (uint32_t i = location->line_count; i-- > 0;) {
        uint32_t function = profile->lines[location->first_line + i].function;
        put_frame(file, function == MODEL_NONE
                            ? "?"
                            : profile_text(profile, profile->functions[function].name));
        fputs(i > 0 ? ";" : "", file);
    }
}

static bool save_collapsed(const struct profile *profile, FILE *file, int type)
{
    for (size_t i = 0; i < profile->sample_count; i++) {
        const struct sample *sample = &profile->samples[i];
        int64_t value = profile_value(profile, i, type);
        if (value == 0)
            continue;
        for (uint32_t k = sample->frame_count; k-- > 0;) {
            put_location(file, profile,
                         &profile->locations[profile->frames[sample->first_frame + k]]);
            fputs(k > 0 ? ";" : "", file);
        }
        fprintf(file, "%s %lld\n", sample->frame_count == 0 ? "[no stack]" : "", (long long)value);
    }
    return true;
}

struct columns {
    int objects, bytes, alloc_objects, alloc_bytes;
};

static bool find_columns(const struct profile *profile, struct columns *columns)
{
    columns->bytes = profile_type(profile, "inuse_space");
    columns->objects = profile_type(profile, "inuse_objects");
    columns->alloc_bytes = profile_type(profile, "alloc_space");
    columns->alloc_objects = profile_type(profile, "alloc_objects");
    if (columns->alloc_bytes < 0 || columns->alloc_objects < 0) {
        columns->alloc_bytes = columns->bytes;
        columns->alloc_objects = columns->objects;
    }
    return columns->bytes >= 0 && columns->objects >= 0;
}

static void put_values(FILE *file, const struct profile *profile, const struct columns *columns,
                       size_t sample)
{
    fprintf(file, "%lld: %lld [%lld: %lld] @",
            (long long)profile_value(profile, sample, columns->objects),
            (long long)profile_value(profile, sample, columns->bytes),
            (long long)profile_value(profile, sample, columns->alloc_objects),
            (long long)profile_value(profile, sample, columns->alloc_bytes));
}

/* Sums that differ keep readers at four columns. */
static void put_legacy_header(FILE *file, const struct profile *profile,
                              const struct columns *columns)
{
    int64_t sums[4] = {0};
    int order[4] = {columns->objects, columns->bytes, columns->alloc_objects, columns->alloc_bytes};
    for (size_t i = 0; i < profile->sample_count; i++) {
        for (size_t k = 0; k < 4; k++)
            sums[k] = (int64_t)((uint64_t)sums[k] + (uint64_t)profile_value(profile, i, order[k]));
    }
    bool has_alloc = columns->alloc_bytes != columns->bytes;
    sums[3] += has_alloc && (sums[3] == sums[1] || sums[3] == 0);
    fprintf(file, "heap profile: %lld: %lld [%lld: %lld] @ heapprofile\n", (long long)sums[0],
            (long long)sums[1], (long long)sums[2], (long long)sums[3]);
}

static bool save_legacy(const struct profile *profile, FILE *file)
{
    struct columns columns;
    if (!find_columns(profile, &columns)) {
        failed("%s: legacy text holds inuse_space and inuse_objects, which it lacks",
               profile->name);
        return false;
    }
    put_legacy_header(file, profile, &columns);
    for (size_t i = 0; i < profile->sample_count; i++) {
        const struct sample *sample = &profile->samples[i];
        put_values(file, profile, &columns, i);
        for (uint32_t k = 0; k < sample->frame_count; k++) {
            uint32_t frame = profile->frames[sample->first_frame + k];
            fprintf(file, " 0x%llx", (unsigned long long)profile->locations[frame].address + 1);
        }
        putc('\n', file);
    }
    fputs("\nMAPPED_LIBRARIES:\n", file);
    for (size_t i = 0; i < profile->mapping_count; i++) {
        const struct model_mapping *mapping = &profile->mappings[i];
        fprintf(file, "%08llx-%08llx r-xp %08llx 00:00 0 %s\n", (unsigned long long)mapping->start,
                (unsigned long long)mapping->limit, (unsigned long long)mapping->offset,
                profile_text(profile, mapping->file));
    }
    return true;
}

static bool save(const struct profile *profile, FILE *file, enum format format, int type)
{
    if (format == FORMAT_LEGACY)
        return save_legacy(profile, file);
    if (format == FORMAT_COLLAPSED)
        return save_collapsed(profile, file, type);
    return save_pprof(profile, file, format == FORMAT_PPROF);
}

bool writer_save(const struct profile *profile, const char *path, enum format format, int type)
{
    bool is_output = strcmp(path, "-") == 0;
    FILE *file = is_output ? stdout : fopen(path, "w");
    if (file == NULL) {
        failed("%s: %s", path, strerror(errno));
        return false;
    }
    bool done = save(profile, file, format, type);
    bool is_written = !ferror(file) && fflush(file) == 0;
    if (!is_output)
        is_written &= fclose(file) == 0;
    if (done && !is_written)
        failed("%s: %s", path, strerror(errno));
    return done && is_written;
}
