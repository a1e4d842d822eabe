#include "evidence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "findings.h"
#include "picture.h"

enum { STACKS_MAX = 200, SNAPSHOTS_NEEDED = 3 };

static int find_in_use(const struct profile *profile)
{
    int type = profile_type(profile, "inuse_space");
    return type >= 0 && profile->types[type].unit != STRING_EMPTY ? type : -1;
}

/* The call of a stack, in the last snapshot that has it; MODEL_NONE: left out of the report. */
static uint32_t call_of(const struct findings *findings, const struct finding *finding,
                        const struct shot *shots)
{
    for (size_t i = findings->taken_count; i-- > 0;) {
        uint32_t sample = finding->row->cells[i].sample;
        if (sample != 0)
            return shots[findings->taken[i].given].innermost[sample - 1];
    }
    return MODEL_NONE;
}

static void put_values(FILE *file, const struct finding *finding, size_t count)
{
    fputs(",\"values\":[", file);
    for (size_t i = 0; i < count; i++)
        fprintf(file, "%s%.0f", i > 0 ? "," : "", finding->row->cells[i].value);
    putc(']', file);
}

static void put_finding(FILE *file, const struct findings *findings, const struct finding *finding,
                        uint32_t call)
{
    fprintf(file, "{\"verdict\":\"%s\",\"call\":%u,\"bytes\":%.0f,\"reason\":",
            verdict_names[finding->trend.verdict], call, finding->last);
    picture_put_json(file, finding->trend.reason);
    put_values(file, finding, findings->taken_count);
    putc('}', file);
}

static void put_findings(FILE *file, const struct findings *findings, const struct shot *shots)
{
    char said[400];
    size_t shown = 0;
    findings_say(findings, said, sizeof(said));
    fprintf(file, "{\"seconds\":%.3f,\"count\":%zu,\"said\":", findings_seconds(findings),
            findings->count);
    picture_put_json(file, said);
    fputs(",\n\"stacks\":[", file);
    for (size_t i = 0; i < findings->count && shown < STACKS_MAX; i++) {
        uint32_t call = call_of(findings, &findings->all[i], shots);
        if (call == MODEL_NONE)
            continue;
        fputs(shown++ > 0 ? ",\n" : "", file);
        put_finding(file, findings, &findings->all[i], call);
    }
    fputs("]}", file);
}

void evidence_put_verdicts(FILE *file, const struct shot *shots, size_t count)
{
    struct findings findings;
    struct profile **profiles = memory_alloc(count, sizeof(*profiles));
    int *types = memory_alloc(count, sizeof(*types));
    bool is_known = count >= SNAPSHOTS_NEEDED;
    for (size_t i = 0; i < count; i++) {
        profiles[i] = shots[i].profile;
        types[i] = find_in_use(profiles[i]);
        is_known &= types[i] >= 0;
    }
    if (is_known) {
        findings_build(&findings, profiles, types, count);
        is_known = findings_seconds(&findings) > 0;
        if (is_known)
            put_findings(file, &findings, shots);
        findings_free(&findings);
    }
    if (!is_known)
        fputs("null", file);
    memory_free(profiles);
    memory_free(types);
}

static bool has_ages(const struct profile *profile)
{
    for (size_t i = 0; i < profile->label_count; i++) {
        if (strcmp(profile_text(profile, profile->labels[i].key), "age") == 0)
            return true;
    }
    return false;
}

struct suspicion {
    uint32_t call;
    int64_t bytes, oldest, usual, freed;
};

static int compare_suspicions(const void *left, const void *right)
{
    const struct suspicion *a = left, *b = right;
    if (a->call != b->call)
        return a->call < b->call ? -1 : 1;
    return a->bytes > b->bytes ? -1 : a->bytes < b->bytes;
}

static int compare_bytes(const void *left, const void *right)
{
    const struct suspicion *a = left, *b = right;
    return a->bytes > b->bytes ? -1 : a->bytes < b->bytes;
}

/* A stack's samples, one for each size of object, all say the same of it: one of each call. */
static size_t find_suspicions(const struct shot *shot, struct suspicion *found)
{
    const struct profile *profile = shot->profile;
    size_t count = 0, kept = 0;
    for (size_t i = 0; i < profile->sample_count; i++) {
        const struct sample *sample = &profile->samples[i];
        int64_t bytes = profile_number(profile, sample, "suspected");
        if (bytes <= 0 || shot->innermost[i] == MODEL_NONE)
            continue;
        found[count++] =
            (struct suspicion){.call = shot->innermost[i],
                               .bytes = bytes,
                               .oldest = profile_number(profile, sample, "oldest"),
                               .usual = profile_number(profile, sample, "usual_lifetime"),
                               .freed = profile_number(profile, sample, "freed_objects")};
    }
    if (count > 1)
        qsort(found, count, sizeof(*found), compare_suspicions);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || found[kept - 1].call != found[i].call)
            found[kept++] = found[i];
    }
    if (kept > 1)
        qsort(found, kept, sizeof(*found), compare_bytes);
    return kept < STACKS_MAX ? kept : STACKS_MAX;
}

void evidence_put_suspects(FILE *file, const struct shot *shot)
{
    if (!has_ages(shot->profile)) {
        fputs("null", file);
        return;
    }
    struct suspicion *found = memory_alloc(shot->profile->sample_count, sizeof(*found));
    size_t count = find_suspicions(shot, found);
    putc('[', file);
    for (size_t i = 0; i < count; i++)
        fprintf(file,
                "%s{\"call\":%u,\"bytes\":%lld,\"oldest\":%lld,\"usual\":%lld,\"freed\":%lld}",
                i > 0 ? ",\n" : "", found[i].call, (long long)found[i].bytes,
                (long long)found[i].oldest, (long long)found[i].usual, (long long)found[i].freed);
    putc(']', file);
    memory_free(found);
}

void evidence_put_ages(FILE *file, const struct shot *shot)
{
    const struct profile *profile = shot->profile;
    const char *comma = "";
    if (!has_ages(profile)) {
        fputs("null", file);
        return;
    }
    for (unsigned part = 0; part < 2; part++) {
        fputs(part == 0 ? "[[" : "],[", file);
        comma = "";
        for (size_t i = 0; i < profile->sample_count; i++) {
            int64_t age = profile_number(profile, &profile->samples[i], "age");
            if (age <= 0 || shot->innermost[i] == MODEL_NONE)
                continue;
            fprintf(file, "%s%lld", comma,
                    part == 0 ? (long long)shot->innermost[i] : (long long)age);
            comma = ",";
        }
    }
    fputs("]]", file);
}
