#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "query.h"
#include "stacks.h"
#include "style.h"
#include "suspicions.h"
#include "trend.h"

enum { ROWS_USUAL = 20, FRAMES_SHOWN = 12, SUSPECTS_SHOWN = 10 };

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
    "Four to ten snapshots, over several times as long as the program's longest cycle, serve "
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
    struct profile **profiles; // by time
    int *types;
    double *seconds; // since the first
    double *calibrations;
    size_t count;
};

struct finding {
    const struct stack_row *row;
    struct trend trend;
    double last, most;
};

static double time_of(const struct profile *profile)
{
    struct stat status;
    if (profile->time_ns > 0)
        return (double)profile->time_ns / 1e9;
    return stat(profile->name, &status) == 0
               ? (double)status.st_mtim.tv_sec + (double)status.st_mtim.tv_nsec / 1e9
               : 0;
}

static int compare_times(const void *left, const void *right)
{
    double a = time_of(*(struct profile *const *)left),
           b = time_of(*(struct profile *const *)right);
    return a < b ? -1 : a > b;
}

static void close_all(struct snapshots *snapshots)
{
    for (size_t i = 0; i < snapshots->count; i++)
        profile_free(snapshots->profiles[i]);
    memory_free(snapshots->profiles);
    memory_free(snapshots->types);
    memory_free(snapshots->seconds);
    memory_free(snapshots->calibrations);
}

static bool open_all(const struct query *query, struct snapshots *snapshots)
{
    size_t count = (size_t)query->word_count;
    *snapshots = (struct snapshots){.profiles = memory_alloc(count, sizeof(struct profile *)),
                                    .types = memory_alloc(count, sizeof(int)),
                                    .seconds = memory_alloc(count, sizeof(double)),
                                    .calibrations = memory_alloc(count, sizeof(double))};
    for (size_t i = 0; i < count; i++) {
        struct profile *profile = query_open(query->words[i]);
        if (profile == NULL)
            return false;
        snapshots->profiles[snapshots->count++] = profile;
    }
    qsort(snapshots->profiles, count, sizeof(*snapshots->profiles), compare_times);
    for (size_t i = 0; i < count; i++) {
        struct query in_use = *query;
        if (in_use.sample == NULL && profile_type(snapshots->profiles[i], "inuse_space") >= 0)
            in_use.sample = "inuse_space";
        snapshots->calibrations[i] = profile_calibration(snapshots->profiles[i]);
        snapshots->types[i] = query_type(&in_use, snapshots->profiles[i]);
        snapshots->seconds[i] = time_of(snapshots->profiles[i]) - time_of(snapshots->profiles[0]);
        if (snapshots->types[i] < 0)
            return false;
    }
    return true;
}

/* What was calibrated moves as a whole, without a birth or a death: that is undone here. */
static struct finding judge(const struct stacks *stacks, const struct stack_row *row,
                            const struct snapshots *snapshots)
{
    struct finding finding = {.row = row};
    struct moment *moments = memory_alloc(snapshots->count, sizeof(*moments));
    double grain = 0;
    for (size_t i = 0; i < snapshots->count; i++)
        grain = fmax(grain, row->cells[i].grain);
    for (size_t i = 0; i < snapshots->count; i++) {
        const struct cell *cell = &row->cells[i];
        double calibration = snapshots->calibrations[i];
        moments[i] = (struct moment){
            .seconds = snapshots->seconds[i],
            .value = cell->value / calibration,
            .variance = cell->variance / calibration / calibration,
            .grain = grain,
            .allocated = stacks->has_allocated ? cell->allocated : (double)NAN,
        };
        finding.most = fmax(finding.most, cell->value);
        finding.last = cell->value;
    }
    finding.trend = trend_judge(moments, snapshots->count);
    memory_free(moments);
    return finding;
}

static int compare_findings(const void *left, const void *right)
{
    const struct finding *a = left, *b = right;
    if (a->trend.verdict != b->trend.verdict)
        return a->trend.verdict < b->trend.verdict ? -1 : 1;
    double x = a->trend.verdict <= VERDICT_GROWING ? a->trend.slope : a->most;
    double y = b->trend.verdict <= VERDICT_GROWING ? b->trend.slope : b->most;
    return x > y ? -1 : x < y;
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

static void put_summary(const struct snapshots *snapshots, const struct finding *findings,
                        size_t count)
{
    char text[UNITS_TEXT_MAX], error[UNITS_TEXT_MAX];
    size_t counts[VERDICT_COUNT] = {0};
    double slope = 0, variance = 0;
    for (size_t i = 0; i < count; i++) {
        counts[findings[i].trend.verdict]++;
        if (findings[i].trend.verdict != VERDICT_LEAK)
            continue;
        slope += findings[i].trend.slope;
        variance += findings[i].trend.slope_error * findings[i].trend.slope_error;
    }
    printf("%zu snapshots over %s, %zu stacks: ", snapshots->count,
           units_seconds(text, snapshots->seconds[snapshots->count - 1]), count);
    if (counts[VERDICT_LEAK] == 0)
        printf("%sno leak found%s", style_text(STYLE_GREEN), style_text(STYLE_PLAIN));
    else
        printf("%sLEAK%s in %zu, %s a minute \xc2\xb1 %s", style_text(STYLE_RED),
               style_text(STYLE_PLAIN), counts[VERDICT_LEAK], units_bytes(text, 60 * slope),
               units_bytes(error, 60 * 1.96 * sqrt(variance)));
    printf("; %zu growing, %zu with a peak, %zu level, %zu with too little data\n",
           counts[VERDICT_GROWING], counts[VERDICT_PEAK], counts[VERDICT_PLATEAU],
           counts[VERDICT_UNKNOWN]);
}

static void put_json(const struct snapshots *snapshots, const struct finding *findings,
                     size_t count)
{
    json_open(NULL, '{');
    json_number("snapshots", (int64_t)snapshots->count);
    json_real("seconds", snapshots->seconds[snapshots->count - 1]);
    json_open("stacks", '[');
    for (size_t i = 0; i < count; i++) {
        const struct finding *finding = &findings[i];
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
        for (size_t k = 0; k < snapshots->count; k++)
            json_real(NULL, finding->row->cells[k].value);
        json_close(']');
        json_close('}');
    }
    json_close(']');
    json_close('}');
}

static void report(const struct query *query, const struct snapshots *snapshots)
{
    struct stacks stacks;
    size_t shown = query->count < 0 ? ROWS_USUAL : (size_t)query->count, count;
    stacks_build(&stacks, snapshots->profiles, snapshots->types, snapshots->count);
    count = stacks.row_count;
    struct finding *findings = memory_alloc(count, sizeof(*findings));
    for (size_t i = 0; i < count; i++)
        findings[i] = judge(&stacks, &stacks.rows[i], snapshots);
    if (count > 1)
        qsort(findings, count, sizeof(*findings), compare_findings);
    if (query->json) {
        put_json(snapshots, findings, count);
    } else {
        put_summary(snapshots, findings, count);
        for (size_t i = 0; i < count; i++) {
            bool is_wanted = query->count == 0 || shown > 0;
            if (findings[i].trend.verdict == VERDICT_LEAK || is_wanted)
                put_finding(&findings[i]);
            shown -= findings[i].trend.verdict != VERDICT_LEAK && shown > 0;
        }
    }
    memory_free(findings);
    stacks_free(&stacks);
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
    if (snapshots.count < 3) {
        status = failed("%zu snapshot%s: three of different times are the least that tells a leak "
                        "from a peak; take more with hpprof dump, or HPMALLOC_DUMP_EVERY",
                        snapshots.count, snapshots.count == 1 ? "" : "s");
    } else if (!(snapshots.seconds[snapshots.count - 1] > 0)) {
        status = failed("all snapshots are of the same moment");
    } else {
        report(query, &snapshots);
        status = STATUS_DONE;
    }
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
