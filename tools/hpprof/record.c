#define _GNU_SOURCE
#include "record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/print.h"
#include "prof/profile.h"
#include "prof/sampler.h"
#include "prof/symbols.h"
#include "record_reader.h"
#include "report/collapsed.h"
#include "report/dumpfile.h"
#include "report/frames.h"
#include "report/legacy.h"
#include "report/pprof.h"
#include "report/rows.h"
#include "report/text.h"
#include "style.h"

struct request {
    const char *record, *output;
    uint64_t profile, format;
    bool as_json;
};

static struct snapshot snapshot;
static struct symbol_table table;
static struct dumpfile file;

/* One word of a set. */
static int take_word(uint64_t *index, enum option_id id, const char *name, const char *value)
{
    uint64_t set;
    if (!option_parse(&option_table[id], value, &set) || (set & (set - 1)) != 0)
        return misused("dump: %s %.80s is not accepted, it takes one of: %s", name, value,
                       option_table[id].choices);
    *index = (uint64_t)__builtin_ctzll(set);
    return STATUS_DONE;
}

static int take_argument(struct request *request, const char *name, const char *value)
{
    if (value == NULL)
        return misused("dump: %s needs a value", name);
    if (strcmp(name, "--profile") == 0)
        return take_word(&request->profile, OPTION_DUMP_PROFILE, name, value);
    if (strcmp(name, "--format") == 0)
        return take_word(&request->format, OPTION_DUMP_FORMAT, name, value);
    if (strcmp(name, "--record") == 0)
        request->record = value;
    else if (strcmp(name, "-o") == 0)
        request->output = value;
    else
        return misused("dump: '%s' is not known", name);
    return STATUS_DONE;
}

/* As of the record's last change, not of now: that is what is known. */
static int take_picture(const struct record_reader *reader)
{
    const struct record_header *header = reader->header;
    sampler_set_interval(header->interval_bytes);
    if (!snapshot_take(&snapshot))
        return failed("no memory");
    snapshot.wall_clock_ns = header->begin_wall_ns + (header->changed_ns - header->begin_ns);
    snapshot.peak_age_ns =
        header->changed_ns > header->peak_ns ? header->changed_ns - header->peak_ns : 0;
    snapshot.lost_samples = header->lost_samples + header->missing_samples;
    snapshot.other_samples = header->other_samples;
    symbols_use_mappings(&reader->mappings);
    if (!ages_take_as_of(&snapshot.ages, header->changed_ns) ||
        !frames_resolve(&table, &snapshot, true))
        return failed("no memory");
    return STATUS_DONE;
}

static bool write_profile(const struct request *request, int fd)
{
    unsigned profile = (unsigned)request->profile;
    switch (request->format) {
    case DUMP_FORMAT_TEXT:
        return text_write(fd, &snapshot, &table, NULL, profile);
    case DUMP_FORMAT_LEGACY:
        return legacy_write(fd, &snapshot, &table, profile);
    case DUMP_FORMAT_COLLAPSED:
        return collapsed_write(fd, &snapshot, &table, profile);
    default:
        return pprof_write(fd, &snapshot, &table, NULL, profile);
    }
}

/* The library's directives are none here. */
static bool put_pattern(char *pattern, size_t bytes, const char *path, const char *ending)
{
    size_t used = 0;
    for (; *path != '\0' && used + 2 < bytes; path++) {
        if (*path == '%')
            pattern[used++] = '%';
        pattern[used++] = *path;
    }
    int length = snprintf(pattern + used, bytes - used, "%s", ending);
    return *path == '\0' && (size_t)length < bytes - used;
}

static void put_json(const struct request *request)
{
    json_open(NULL, '{');
    json_text("record", request->record);
    json_open("files", '[');
    json_text(NULL, file.path);
    json_close(']');
    json_close('}');
}

static int write_file(const struct request *request)
{
    static const char *const endings[] = {
        [DUMP_FORMAT_PPROF] = ".pb.gz", [DUMP_FORMAT_TEXT] = ".txt"};
    static char pattern[2 * DUMPFILE_PATH_MAX];
    const char *path = request->output != NULL ? request->output : request->record;
    if (!put_pattern(pattern, sizeof(pattern), path, request->output != NULL ? "" : ".%n"))
        return failed("%s: the name is too long", path);
    file.pattern = pattern;
    file.ending = request->output != NULL ? NULL : endings[request->format];
    file.reason = "record";
    file.sequence = 1;
    int error = dumpfile_open(&file);
    if (error == 0 && !write_profile(request, file.fd)) {
        error = -errno;
        dumpfile_discard(&file);
    } else if (error == 0) {
        error = dumpfile_publish(&file);
    }
    if (error != 0)
        return failed("%s: %s", file.path[0] != '\0' ? file.path : path, strerror(-error));
    if (request->as_json)
        put_json(request);
    else
        puts(file.path);
    return STATUS_DONE;
}

static int write_stdout(const struct request *request)
{
    if (write_profile(request, STDOUT_FILENO))
        return STATUS_DONE;
    return failed("the output could not be written: %s", strerror(errno));
}

/* The program's name, as far as it can be printed. */
static void announce(const struct record_reader *reader, unsigned profile)
{
    char name[RECORD_PROGRAM_BYTES], moment[32];
    const struct record_header *header = reader->header;
    const struct estimate *total = rows_estimate(&snapshot.total, profile);
    size_t i = 0;
    for (; header->program[i] != '\0'; i++)
        name[i] = header->program[i] > ' ' && header->program[i] < 0x7f ? header->program[i] : '?';
    name[i] = '\0';
    print_time(moment, sizeof(moment), snapshot.wall_clock_ns);
    fprintf(stderr,
            "hpprof: record of %s, process %" PRIu32 ", last changed %s: %s profile, %" PRIu64
            " samples, %.1f MiB (estimated)\n",
            name, header->pid, moment, rows_profile_name(profile), total->samples,
            total->bytes / (double)MiB);
    if (header->missing_samples != 0)
        fprintf(stderr,
                "hpprof: it is short of %" PRIu64 " samples for which its file had no room\n",
                (uint64_t)header->missing_samples);
}

static int dump_record(const struct request *request)
{
    struct record_reader reader;
    int status = record_reader_load(&reader, request->record);
    if (status == STATUS_DONE)
        status = take_picture(&reader);
    if (status == STATUS_DONE) {
        bool to_stdout = request->output != NULL && strcmp(request->output, "-") == 0;
        status = to_stdout ? write_stdout(request) : write_file(request);
    }
    if (status == STATUS_DONE)
        announce(&reader, (unsigned)request->profile);
    symbols_free(&table);
    snapshot_free(&snapshot);
    record_reader_free(&reader);
    return status;
}

int record_dump(int count, char **arguments, bool as_json)
{
    struct request request = {
        .profile = DUMP_PROFILE_HEAP, .format = DUMP_FORMAT_PPROF, .as_json = as_json};
    int status = STATUS_DONE;
    for (int i = 0; i < count && status == STATUS_DONE; i += 2)
        status = take_argument(&request, arguments[i], i + 1 < count ? arguments[i + 1] : NULL);
    if (status != STATUS_DONE)
        return status;
    if (request.record == NULL)
        return misused("dump: --record names no file");
    if (as_json && request.output != NULL && strcmp(request.output, "-") == 0)
        return misused("dump: --json and a profile do not go to the same place");
    if (request.profile == DUMP_PROFILE_PINNED)
        return misused("dump: a record has no pinned profile, for it knows nothing of free memory");
    return dump_record(&request);
}
