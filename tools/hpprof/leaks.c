#include <stdio.h>

#include "findings.h"
#include "query.h"
#include "style.h"
#include "suspicions.h"

enum { ROWS_USUAL = 20, FRAMES_SHOWN = 12 };

static const char help[] =
    "Usage: hpprof leaks [OPTIONS] FILE FILE FILE...\n"
    "       hpprof leaks [OPTIONS] FILE\n"
    "\n"
    "Snapshots of one process in time: for each stack a verdict, and why.\n"
    "\n"
    "  LEAK      grows to the last snapshot, surely, and what stays after each fall rises\n"
    "  GROWING   grows, but with the load, or not (yet) like a leak\n"
    "  PEAK      rises and falls again\n"
    "  PLATEAU   stays level, or has stopped growing\n"
    "\n"
    "Ten to twenty snapshots, over several times as long as the longest cycle, serve "
    "best.\n"
    "\n"
    "Of one file alone, the stacks whose live memory is suspected by its age: much older than what "
    "was\n"
    "freed there became, or never freed while more keeps coming. The file has to carry ages: that "
    "is\n"
    "what HPMALLOC_DUMP_LABELS=age is for.\n"
    "\n"
    "  --sample TYPE  inuse_space, or another type of the files\n"
    "  -n N           at most N stacks besides the leaks (20); 0: all\n"
    "  --json         for scripts\n"
    "\n"
    "Example: hpprof leaks hpmalloc.redis-server.4711.*.pb.gz\n";

struct snapshots {
    struct profile **profiles;
    int *types;
    size_t count;
};

static void close_all(struct snapshots *snapshots)
{
    for (size_t i = 0; i < snapshots->count; i++)
        profile_free(snapshots->profiles[i]);
    memory_free(snapshots->profiles);
    memory_free(snapshots->types);
}

static bool open_all(const struct query *query, struct snapshots *snapshots)
{
    size_t count = (size_t)query->word_count;
    *snapshots = (struct snapshots){.profiles = memory_alloc(count, sizeof(struct profile *)),
                                    .types = memory_alloc(count, sizeof(int))};
    for (size_t i = 0; i < count; i++) {
        struct profile *profile = query_open(query->words[i]);
        if (profile == NULL)
            return false;
        snapshots->profiles[snapshots->count++] = profile;
    }
    for (size_t i = 0; i < count; i++) {
        struct query in_use = *query;
        if (in_use.sample == NULL && profile_type(snapshots->profiles[i], "inuse_space") >= 0)
            in_use.sample = "inuse_space";
        snapshots->types[i] = query_type(&in_use, snapshots->profiles[i]);
        if (snapshots->types[i] < 0)
            return false;
    }
    return true;
}

static void put_stack(const struct stack_row *row)
{
    printf("    ");
    for (size_t i = 0; i < row->depth && i < FRAMES_SHOWN; i++)
        printf("%s%s", i > 0 ? " < " : "", row->names[i]);
    puts(row->depth == 0 ? "(no stack)" : row->depth > FRAMES_SHOWN ? " < ..." : "");
}

static enum style style_of(enum verdict verdict)
{
    static const enum style styles[VERDICT_COUNT] = {STYLE_RED, STYLE_YELLOW, STYLE_BOLD,
                                                     STYLE_GREEN, STYLE_DIM};
    return styles[verdict];
}

static void put_finding(const struct finding *finding)
{
    char size[UNITS_TEXT_MAX];
    printf("\n%s%-8s%s %10s  %s\n", style_text(style_of(finding->trend.verdict)),
           verdict_names[finding->trend.verdict], style_text(STYLE_PLAIN),
           units_bytes(size, finding->last), finding->trend.reason);
    put_stack(finding->row);
}

static void put_summary(const struct findings *findings)
{
    char seconds[UNITS_TEXT_MAX], text[400];
    bool is_leaking = findings->count != 0 && findings->all[0].trend.verdict == VERDICT_LEAK;
    findings_say(findings, text, sizeof(text));
    printf("%zu snapshots over %s, %zu stacks: %s%s%s\n", findings->taken_count,
           units_seconds(seconds, findings_seconds(findings)), findings->count,
           style_text(is_leaking ? STYLE_RED : STYLE_GREEN), text, style_text(STYLE_PLAIN));
}

static void put_json_finding(const struct finding *finding, size_t values)
{
    json_open(NULL, '{');
    json_text("verdict", verdict_names[finding->trend.verdict]);
    json_text("reason", finding->trend.reason);
    json_real("bytes", finding->last);
    json_real("bytes_per_second", finding->trend.slope);
    json_real("bytes_per_second_error_95", 1.96 * finding->trend.slope_error);
    json_real("baseline_rise", finding->trend.rise);
    json_open("stack", '[');
    for (size_t k = 0; k < finding->row->depth; k++)
        json_text(NULL, finding->row->names[k]);
    json_close(']');
    json_open("values", '[');
    for (size_t k = 0; k < values; k++)
        json_real(NULL, finding->row->cells[k].value);
    json_close(']');
    json_close('}');
}

static void put_json(const struct findings *findings)
{
    json_open(NULL, '{');
    json_number("snapshots", (int64_t)findings->taken_count);
    json_real("seconds", findings_seconds(findings));
    json_open("stacks", '[');
    for (size_t i = 0; i < findings->count; i++)
        put_json_finding(&findings->all[i], findings->taken_count);
    json_close(']');
    json_close('}');
}

static void put_text(const struct query *query, const struct findings *findings)
{
    size_t shown = query->count < 0 ? ROWS_USUAL : (size_t)query->count;
    put_summary(findings);
    for (size_t i = 0; i < findings->count; i++) {
        bool is_wanted = query->count == 0 || shown > 0;
        bool is_leak = findings->all[i].trend.verdict == VERDICT_LEAK;
        if (is_leak || is_wanted)
            put_finding(&findings->all[i]);
        shown -= !is_leak && shown > 0;
    }
}

static int report(const struct query *query, const struct snapshots *snapshots)
{
    struct findings findings;
    int status = STATUS_DONE;
    findings_build(&findings, snapshots->profiles, snapshots->types, snapshots->count);
    if (!(findings_seconds(&findings) > 0))
        status = failed("all snapshots are of the same moment");
    else if (query->json)
        put_json(&findings);
    else
        put_text(query, &findings);
    findings_free(&findings);
    return status;
}

static int leaks(const struct query *query)
{
    struct snapshots snapshots;
    int status = STATUS_FAILED;
    if (query->word_count == 1)
        return suspicions_report(query);
    if (!open_all(query, &snapshots)) {
        close_all(&snapshots);
        return status;
    }
    if (snapshots.count < 3)
        status = failed("%zu snapshot%s: three of different times are the least that tells a leak "
                        "from a peak; take more with hpprof dump, or HPMALLOC_DUMP_EVERY",
                        snapshots.count, snapshots.count == 1 ? "" : "s");
    else
        status = report(query, &snapshots);
    close_all(&snapshots);
    return status;
}

int command_leaks(int count, char **arguments)
{
    struct query query;
    int status;
    if (!query_parse(&query, count, arguments, QUERY_SAMPLE | QUERY_COUNT | QUERY_JSON, help,
                     &status))
        return status;
    if (query_needs(&query, 1, INT32_MAX, "files", &status))
        status = leaks(&query);
    query_free(&query);
    return status;
}
