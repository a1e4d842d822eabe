#include <stdlib.h>
#include <string.h>

#include "calltree.h"
#include "evidence.h"
#include "hpprof.h"
#include "picture.h"
#include "query.h"

static const char help[] =
    "Usage: hpprof report [OPTIONS] FILE...\n"
    "\n"
    "One HTML file that needs no network: what leaks, where the resident memory is, a flame graph\n"
    "with search and zoom, a table, what the profile's writer remarked. Of several profiles, in "
    "the\n"
    "order of their time, also how each function's memory changed from one to another, and the "
    "trend.\n"
    "Three or more tell leaks from peaks, as `hpprof leaks` does; one names suspects by age if it "
    "was\n"
    "taken with HPMALLOC_DUMP_LABELS=age.\n"
    "\n"
    "  -o FILE         where to (default: standard output)\n"
    "  --sample TYPE   what is shown first: inuse_space, inuse_objects, alloc_space, "
    "alloc_objects,\n"
    "                  or another of the last file\n"
    "  --focus REGEX   only stacks with a function, source file or binary like this\n"
    "  --ignore REGEX  only stacks without one\n"
    "\n"
    "Example: hpprof report -o redis.html hpmalloc.redis-server.4711.*.pb.gz\n";

static const char page[] = {
#include "tools/hpprof/report.inc"
    '\0'};

struct report {
    FILE *file;
    struct calltree tree;
    struct shot *shots;
    size_t count;
    int type; // of the last
};

static void put_text(FILE *file, const char *key, const char *text)
{
    fprintf(file, "\"%s\":", key);
    picture_put_json(file, text);
}

static const struct profile *last_of(const struct report *report)
{
    return report->shots[report->count - 1].profile;
}

static void put_types(const struct report *report)
{
    const struct profile *profile = last_of(report);
    fprintf(report->file, ",\"type\":%d,\"types\":[", report->type);
    for (size_t i = 0; i < profile->type_count; i++) {
        fputs(i > 0 ? ",{" : "{", report->file);
        put_text(report->file, "type", profile_text(profile, profile->types[i].type));
        putc(',', report->file);
        put_text(report->file, "unit", profile_text(profile, profile->types[i].unit));
        putc('}', report->file);
    }
    putc(']', report->file);
}

static void put_tree(const struct report *report)
{
    FILE *file = report->file;
    const struct calltree *tree = &report->tree;
    fputs(",\n\"names\":[", file);
    for (size_t i = 0; i < tree->name_count; i++) {
        fputs(i > 0 ? "," : "", file);
        picture_put_json(file, tree->names[i].text);
    }
    fputs("],\n\"files\":[", file);
    for (size_t i = 0; i < tree->name_count; i++) {
        fputs(i > 0 ? "," : "", file);
        picture_put_json(file, tree->names[i].file);
    }
    fputs("],\n\"caller\":[0", file);
    for (size_t i = 1; i < tree->count; i++)
        fprintf(file, ",%u", tree->calls[i].caller);
    fputs("],\n\"name\":[0", file);
    for (size_t i = 1; i < tree->count; i++)
        fprintf(file, ",%u", tree->calls[i].name);
    putc(']', file);
}

/* What a profile calls the last one's type; -1: nothing. */
static int same_type(const struct profile *profile, const struct profile *last, size_t type)
{
    struct value_type wanted = last->types[type];
    for (size_t i = 0; i < profile->type_count; i++) {
        struct value_type is = profile->types[i];
        if (strcmp(profile_text(profile, is.type), profile_text(last, wanted.type)) == 0 &&
            strcmp(profile_text(profile, is.unit), profile_text(last, wanted.unit)) == 0)
            return (int)i;
    }
    return -1;
}

/* Two lists: calls, and what was allocated in each. */
static void put_values(const struct report *report, const struct shot *shot, int type)
{
    FILE *file = report->file;
    const char *comma = "";
    int64_t *values = calltree_sum(&report->tree, shot->profile, shot->innermost, type);
    fputs("[[", file);
    for (size_t i = 0; i < report->tree.count; i++) {
        if (values[i] == 0)
            continue;
        fprintf(file, "%s%zu", comma, i);
        comma = ",";
    }
    fputs("],[", file);
    comma = "";
    for (size_t i = 0; i < report->tree.count; i++) {
        if (values[i] == 0)
            continue;
        fprintf(file, "%s%lld", comma, (long long)values[i]);
        comma = ",";
    }
    fputs("]]", file);
    memory_free(values);
}

static void put_shot(const struct report *report, const struct shot *shot)
{
    FILE *file = report->file;
    const struct profile *profile = shot->profile, *last = last_of(report);
    char time[64];
    putc('{', file);
    put_text(file, "file", profile->name);
    fprintf(file, ",\"ms\":%lld,", (long long)(profile->time_ns / 1000000));
    put_text(file, "time", profile_time(profile, time, sizeof(time)));
    fputs(",\"comments\":[", file);
    for (size_t i = 0; i < profile->comment_count; i++) {
        fputs(i > 0 ? "," : "", file);
        picture_put_json(file, profile_text(profile, profile->comments[i]));
    }
    fputs("],\n\"values\":[", file);
    for (size_t i = 0; i < last->type_count; i++) {
        int type = same_type(profile, last, i);
        fputs(i > 0 ? ",\n" : "", file);
        if (type >= 0)
            put_values(report, shot, type);
        else
            fputs("null", file);
    }
    fputs("],\n\"ages\":", file);
    evidence_put_ages(file, shot);
    putc('}', file);
}

static void put_evidence(const struct report *report)
{
    fputs("],\n\"verdicts\":", report->file);
    evidence_put_verdicts(report->file, report->shots, report->count);
    fputs(",\n\"suspects\":", report->file);
    evidence_put_suspects(report->file, &report->shots[report->count - 1]);
}

static void put_report(const struct report *report)
{
    FILE *file = report->file;
    const char *title = strstr(page, "@TITLE@"), *data = strstr(page, "@DATA@");
    fwrite(page, 1, (size_t)(title - page), file);
    picture_put_xml(file, picture_program(last_of(report)), 80);
    title += strlen("@TITLE@");
    fwrite(title, 1, (size_t)(data - title), file);
    putc('{', file);
    put_text(file, "program", picture_program(last_of(report)));
    put_types(report);
    put_tree(report);
    fputs(",\n\"shots\":[", file);
    for (size_t i = 0; i < report->count; i++) {
        fputs(i > 0 ? ",\n" : "", file);
        put_shot(report, &report->shots[i]);
    }
    put_evidence(report);
    putc('}', file);
    fputs(data + strlen("@DATA@"), file);
}

static int earlier_first(const void *left, const void *right)
{
    const struct shot *a = left, *b = right;
    if (a->profile->time_ns != b->profile->time_ns)
        return a->profile->time_ns < b->profile->time_ns ? -1 : 1;
    return a->given < b->given ? -1 : 1;
}

/* Files whose time is not known stay in the order they were given. */
static void sort_shots(struct report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        if (report->shots[i].profile->time_ns <= 0)
            return;
    }
    qsort(report->shots, report->count, sizeof(*report->shots), earlier_first);
}

static bool open_shots(const struct query *query, struct report *report)
{
    report->shots = memory_alloc((size_t)query->word_count, sizeof(*report->shots));
    for (int i = 0; i < query->word_count; i++) {
        struct profile *profile = query_open(query->words[i]);
        if (profile == NULL)
            return false;
        report->shots[report->count++] = (struct shot){.profile = profile, .given = (size_t)i};
    }
    sort_shots(report);
    report->type = query_type(query, last_of(report));
    return report->type >= 0;
}

static void close_shots(struct report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        profile_free(report->shots[i].profile);
        memory_free(report->shots[i].innermost);
    }
    memory_free(report->shots);
}

static int make(const struct query *query)
{
    struct report report = {0};
    struct graph_options options = {.focus = query->has_focus ? &query->focus : NULL,
                                    .ignore = query->has_ignore ? &query->ignore : NULL};
    int status = STATUS_FAILED;
    if (open_shots(query, &report) && (report.file = picture_open(query->output)) != NULL) {
        calltree_init(&report.tree);
        for (size_t i = 0; i < report.count; i++)
            report.shots[i].innermost =
                calltree_add(&report.tree, report.shots[i].profile, &options);
        put_report(&report);
        calltree_free(&report.tree);
        status = picture_close(report.file, query->output);
    }
    close_shots(&report);
    return status;
}

int command_report(int count, char **arguments)
{
    struct query query;
    int status;
    if (!query_parse(&query, count, arguments, QUERY_SAMPLE | QUERY_FILTER | QUERY_OUTPUT, help,
                     &status))
        return status;
    if (query_needs(&query, 1, count, "one file or more", &status))
        status = make(&query);
    query_free(&query);
    return status;
}
