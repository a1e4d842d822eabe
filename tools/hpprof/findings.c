#include "findings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "units.h"

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
    const struct moment_taken *a = left, *b = right;
    double x = time_of(a->profile), y = time_of(b->profile);
    if (x != y)
        return x < y ? -1 : 1;
    return a->given < b->given ? -1 : a->given > b->given;
}

static void sort(struct findings *findings, struct profile *const *profiles, const int *types)
{
    for (size_t i = 0; i < findings->taken_count; i++)
        findings->taken[i] = (struct moment_taken){
            .profile = profiles[i],
            .type = types[i],
            .given = i,
        };
    qsort(findings->taken, findings->taken_count, sizeof(*findings->taken), compare_times);
    for (size_t i = 0; i < findings->taken_count; i++)
        findings->taken[i].seconds =
            time_of(findings->taken[i].profile) - time_of(findings->taken[0].profile);
}

static struct finding judge(const struct findings *findings, const struct stack_row *row)
{
    struct finding finding = {.row = row};
    size_t count = findings->taken_count;
    struct moment *moments = memory_alloc(count, sizeof(*moments));
    double grain = 0;
    for (size_t i = 0; i < count; i++)
        grain = fmax(grain, row->cells[i].grain);
    for (size_t i = 0; i < count; i++) {
        const struct cell *cell = &row->cells[i];
        moments[i] = (struct moment){
            .seconds = findings->taken[i].seconds,
            .value = cell->counted,
            .variance = cell->variance,
            .grain = grain,
            .allocated = findings->stacks.has_allocated ? cell->allocated : (double)NAN,
        };
        finding.most = fmax(finding.most, cell->value);
        finding.last = cell->value;
    }
    finding.trend = trend_judge(moments, count);
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

static void build_stacks(struct findings *findings)
{
    size_t count = findings->taken_count;
    struct profile **profiles = memory_alloc(count, sizeof(*profiles));
    int *types = memory_alloc(count, sizeof(*types));
    for (size_t i = 0; i < count; i++) {
        profiles[i] = findings->taken[i].profile;
        types[i] = findings->taken[i].type;
    }
    stacks_build(&findings->stacks, profiles, types, count);
    memory_free(profiles);
    memory_free(types);
}

void findings_build(struct findings *findings, struct profile *const *profiles, const int *types,
                    size_t count)
{
    *findings = (struct findings){.taken_count = count};
    findings->taken = memory_alloc(count, sizeof(*findings->taken));
    sort(findings, profiles, types);
    build_stacks(findings);
    findings->count = findings->stacks.row_count;
    findings->all = memory_alloc(findings->count, sizeof(*findings->all));
    for (size_t i = 0; i < findings->count; i++)
        findings->all[i] = judge(findings, &findings->stacks.rows[i]);
    if (findings->count > 1)
        qsort(findings->all, findings->count, sizeof(*findings->all), compare_findings);
}

void findings_free(struct findings *findings)
{
    memory_free(findings->taken);
    memory_free(findings->all);
    stacks_free(&findings->stacks);
}

double findings_seconds(const struct findings *findings)
{
    return findings->taken[findings->taken_count - 1].seconds;
}

void findings_say(const struct findings *findings, char *text, size_t size)
{
    char rate[UNITS_TEXT_MAX], error[UNITS_TEXT_MAX], leaks[160] = "no leak found";
    size_t counts[VERDICT_COUNT] = {0};
    double slope = 0, variance = 0;
    for (size_t i = 0; i < findings->count; i++) {
        const struct trend *trend = &findings->all[i].trend;
        counts[trend->verdict]++;
        if (trend->verdict != VERDICT_LEAK)
            continue;
        slope += trend->slope;
        variance += trend->slope_error * trend->slope_error;
    }
    if (counts[VERDICT_LEAK] != 0)
        snprintf(leaks, sizeof(leaks), "LEAK in %zu, %s a minute \xc2\xb1 %s", counts[VERDICT_LEAK],
                 units_bytes(rate, 60 * slope), units_bytes(error, 60 * 1.96 * sqrt(variance)));
    snprintf(text, size, "%s; %zu growing, %zu with a peak, %zu level, %zu with too little data",
             leaks, counts[VERDICT_GROWING], counts[VERDICT_PEAK], counts[VERDICT_PLATEAU],
             counts[VERDICT_UNKNOWN]);
}
