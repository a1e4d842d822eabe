#include <string.h>

#include "merge.h"
#include "query.h"
#include "reader.h"
#include "style.h"
#include "symbolize.h"
#include "units.h"
#include "writer.h"

static const char convert_help[] =
    "Usage: hpprof convert [OPTIONS] FILE -o FILE\n"
    "\n"
    "From any format that hpprof reads to pprof (.pb.gz, .pb), legacy (.heap) or collapsed "
    "(.folded).\n"
    "\n"
    "  -o FILE         where to; - is standard output\n"
    "  --format NAME   pprof, proto (not packed), legacy, collapsed; else by FILE's ending\n"
    "  --sample TYPE   for collapsed, which holds one: inuse_space, or another of the file\n"
    "  --json          what was written, for scripts\n"
    "\n"
    "Example: hpprof convert jeprof.4711.0.f.heap -o redis.pb.gz\n";

static const char merge_help[] =
    "Usage: hpprof merge FILE... -o FILE\n"
    "\n"
    "Adds profiles up: of many machines, or of processes of one program.\n"
    "\n"
    "  -o FILE         where to; - is standard output\n"
    "  --format NAME   pprof, proto (not packed), legacy, collapsed; else by FILE's ending\n"
    "  --json          what was written, for scripts\n"
    "\n"
    "Example: hpprof merge web-*.pb.gz -o all.pb.gz\n";

static const char symbolize_help[] =
    "Usage: hpprof symbolize FILE -o FILE\n"
    "\n"
    "Adds the names and lines that a profile lacks, from the binaries of this machine: so that it\n"
    "can be read on another.\n"
    "\n"
    "  -o FILE         where to; - is standard output\n"
    "  --format NAME   pprof, proto (not packed), legacy, collapsed; else by FILE's ending\n"
    "  --json          what was written, for scripts\n"
    "\n"
    "Example: hpprof symbolize hpmalloc.redis-server.4711.1.pb.gz -o named.pb.gz\n";

static struct profile *open_for(const struct query *query, const char *path, enum format format)
{
    if (format == FORMAT_COLLAPSED)
        return query_open(path);
    struct profile *profile = reader_open(path);
    if (profile != NULL && strcmp(query->command, "symbolize") == 0)
        symbolize(profile, true);
    return profile;
}

static struct profile *open_sum(const struct query *query, enum format format)
{
    struct profile *sum = profile_alloc("the sum");
    for (int i = 0; i < query->word_count; i++) {
        struct profile *profile = open_for(query, query->words[i], format);
        bool done = profile != NULL && merge_add(sum, profile);
        profile_free(profile);
        if (!done) {
            profile_free(sum);
            return NULL;
        }
    }
    return sum;
}

static int64_t sum_of(const struct profile *profile, int type)
{
    int64_t sum = 0;
    for (size_t i = 0; i < profile->sample_count; i++)
        sum = units_add(sum, profile_value(profile, i, type));
    return sum;
}

/* A collapsed file holds but the one type. */
static void put_json(const struct query *query, const struct profile *profile, enum format format,
                     int only_type)
{
    static const char *const names[] = {[FORMAT_PPROF] = "pprof",
                                        [FORMAT_PPROF_PLAIN] = "proto",
                                        [FORMAT_LEGACY] = "legacy",
                                        [FORMAT_COLLAPSED] = "collapsed"};
    json_open(NULL, '{');
    json_text("file", query->output);
    json_text("format", names[format]);
    json_number("inputs", query->word_count);
    json_number("samples", (int64_t)profile->sample_count);
    json_number("functions", (int64_t)profile->function_count);
    json_open("totals", '[');
    for (size_t i = 0; i < profile->type_count; i++) {
        if (format == FORMAT_COLLAPSED && (int)i != only_type)
            continue;
        json_open(NULL, '{');
        json_text("sample_type", profile_text(profile, profile->types[i].type));
        json_text("unit", profile_text(profile, profile->types[i].unit));
        json_number("total", sum_of(profile, (int)i));
        json_close('}');
    }
    json_close(']');
    json_close('}');
}

static int convert(const struct query *query, int most)
{
    int status;
    if (!query_needs(query, 1, most, most == 1 ? "one file" : "files", &status))
        return status;
    if (query->output == NULL)
        return misused("%s: where to? -o FILE", query->command);
    if (query->json && strcmp(query->output, "-") == 0)
        return misused("%s: --json and a profile do not go to the same place", query->command);
    enum format format = writer_format(query->format, query->output);
    if (format == FORMAT_NONE)
        return misused("%s: '%s' is no format: pprof (.pb.gz), proto (.pb), legacy (.heap) or "
                       "collapsed (.folded)",
                       query->command, query->format != NULL ? query->format : query->output);
    struct profile *profile =
        most == 1 ? open_for(query, query->words[0], format) : open_sum(query, format);
    if (profile == NULL)
        return STATUS_FAILED;
    int type = query_type(query, profile);
    bool done = type >= 0 && writer_save(profile, query->output, format, type);
    if (done && query->json)
        put_json(query, profile, format, type);
    profile_free(profile);
    return done ? STATUS_DONE : STATUS_FAILED;
}

static int run(int count, char **arguments, const char *help, int most)
{
    struct query query;
    int status;
    if (!query_parse(&query, count, arguments,
                     QUERY_OUTPUT | QUERY_FORMAT | QUERY_SAMPLE | QUERY_JSON, help, &status))
        return status;
    status = convert(&query, most);
    query_free(&query);
    return status;
}

int command_convert(int count, char **arguments)
{
    return run(count, arguments, convert_help, 1);
}

int command_merge(int count, char **arguments)
{
    return run(count, arguments, merge_help, INT32_MAX);
}

int command_symbolize(int count, char **arguments)
{
    return run(count, arguments, symbolize_help, 1);
}
