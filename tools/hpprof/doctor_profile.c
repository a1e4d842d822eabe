/* What a profile says of its own stacks. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "doctor.h"
#include "query.h"

/* In percent. */
enum { CUT_OFF_MAX = 10, NAMELESS_MAX = 20 };

static const char truncated[] = "[truncated]";

/* How many of 100 values are of samples like this. */
typedef bool is_like(const struct profile *profile, const struct sample *sample);

static const struct location *location_of(const struct profile *profile,
                                          const struct sample *sample, uint32_t frame)
{
    return &profile->locations[profile->frames[sample->first_frame + frame]];
}

static bool is_cut_off(const struct profile *profile, const struct sample *sample)
{
    if (sample->frame_count == 0)
        return false;
    const struct location *root = location_of(profile, sample, sample->frame_count - 1);
    if (root->line_count == 0)
        return false;
    uint32_t function = profile->lines[root->first_line].function;
    return function != MODEL_NONE &&
           strcmp(profile_text(profile, profile->functions[function].name), truncated) == 0;
}

/* More than half of its frames. */
static bool is_nameless(const struct profile *profile, const struct sample *sample)
{
    uint32_t without = 0;
    for (uint32_t i = 0; i < sample->frame_count; i++)
        without += location_of(profile, sample, i)->line_count == 0;
    return 2 * without > sample->frame_count;
}

static double share_of(const struct profile *profile, int type, is_like *is_one)
{
    double all = 0, like = 0;
    for (size_t i = 0; i < profile->sample_count; i++) {
        double value = fabs((double)profile_value(profile, i, type));
        all += value;
        like += is_one(profile, &profile->samples[i]) ? value : 0;
    }
    return all > 0 ? 100 * like / all : 0;
}

static const char *find_comment(const struct profile *profile, const char *beginning,
                                const char *middle)
{
    for (size_t i = 0; i < profile->comment_count; i++) {
        const char *text = profile_text(profile, profile->comments[i]);
        if (strncmp(text, beginning, strlen(beginning)) == 0 && strstr(text, middle) != NULL)
            return text + strlen(beginning);
    }
    return NULL;
}

/* Of all that was allocated, where the file says so: the most samples. */
static int type_of(const struct profile *profile)
{
    int type = profile_type(profile, "alloc_space");
    return type >= 0 ? type : profile_type(profile, NULL);
}

static void judge(struct doctor *doctor, const struct profile *profile)
{
    int type = type_of(profile);
    double cut_off = share_of(profile, type, is_cut_off);
    double nameless = share_of(profile, type, is_nameless);
    const char *where = find_comment(profile, "stacks: ", " stop in ");
    const char *lost = find_comment(profile, "lost: ", "samples");
    const char *wider = find_comment(profile, "wider than the ", "");
    if (profile->sample_count == 0)
        doctor_note(doctor, "no-samples",
                    "give it more work, or a smaller HPMALLOC_SAMPLE_INTERVAL",
                    "the profile holds no samples");
    if (cut_off > CUT_OFF_MAX)
        doctor_find(doctor, "truncated-stacks",
                    "see no-unwind-data and jit-code, and docs/stacks.md",
                    "%.0f %% of the bytes in %s have stacks that end early%s%s", cut_off,
                    profile->name, where != NULL ? ": " : "", where != NULL ? where : "");
    if (nameless > NAMELESS_MAX)
        doctor_find(doctor, "nameless-stacks",
                    "run hpprof where the binaries are (hpprof symbolize), or install debug "
                    "symbols",
                    "%.0f %% of the bytes in %s have stacks mostly without names", nameless,
                    profile->name);
    if (lost != NULL && strtoul(lost, NULL, 10) != 0)
        doctor_find(doctor, "lost-samples", "see whether a memory limit leaves the profiler any",
                    "%s says: lost %s", profile->name, lost);
    if (wider != NULL)
        doctor_note(doctor, "interval-widened", "HPMALLOC_SAMPLE_BUDGET says how much it may take",
                    "%s says: interval wider than the %s", profile->name, wider);
}

bool doctor_profile(struct doctor *doctor, const char *path)
{
    struct profile *profile = query_open(path);
    if (profile == NULL)
        return false;
    profile->name = doctor_text(doctor, "%s", path);
    judge(doctor, profile);
    profile_free(profile);
    return true;
}

/* As the command does it. */
const char *doctor_ask(struct doctor *doctor)
{
    char pid[24], command[] = "dump", self[] = "/proc/self/exe";
    size_t bytes = 0;
    snprintf(pid, sizeof(pid), "%ld", (long)doctor->process.pid);
    char *const arguments[] = {self, command, pid, NULL};
    char *output = child_filter(arguments, "", 0, &bytes);
    const char *path = NULL;
    if (output != NULL && bytes != 0) {
        path = doctor_text(doctor, "%.*s", (int)strcspn(output, "\n"), output);
        doctor_forget(doctor, "seccomp");
    } else if (!doctor_has(doctor, "folder-full") && !doctor_has(doctor, "folder-quota")) {
        doctor_find(doctor, "no-dump",
                    "set HPMALLOC_DUMP_SIGNAL to a signal that the program does not use, or serve "
                    "with HPMALLOC_HTTP",
                    "it was sent its signal, and no file came: the program has a handler of its "
                    "own there, or its stderr says why");
    }
    free(output);
    return path;
}
