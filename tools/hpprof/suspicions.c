#include "suspicions.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "style.h"
#include "units.h"

enum { FRAMES_SHOWN = 12, ROWS_USUAL = 10 };

/* A number that the library labels samples with; -1: it does not. */
static double number_of(const struct profile *profile, const struct sample *sample,
                        const char *name)
{
    for (uint32_t i = 0; i < sample->label_count; i++) {
        const struct label *label = &profile->labels[sample->first_label + i];
        if (label->text == STRING_EMPTY && strcmp(profile_text(profile, label->key), name) == 0)
            return (double)label->number;
    }
    return -1;
}

static double value_of(const struct profile *profile, size_t sample, const char *type)
{
    int column = profile_type(profile, type);
    return column >= 0 ? (double)profile_value(profile, sample, column) : 0;
}

/* Labels are of the whole stack, and stand at the rows of each size it has. */
static struct suspicion *suspicion_of(struct suspicions *suspicions, struct index *by_stack,
                                      const struct profile *profile, uint32_t sample)
{
    const struct sample *wanted = &profile->samples[sample];
    for (uint64_t hash = profile_hash_stack(profile, wanted);; hash++) {
        uint32_t next = (uint32_t)suspicions->count;
        uint32_t index = index_add(by_stack, hash, next);
        if (index == next)
            *memory_push(suspicions->all, suspicions->count, suspicions->capacity) =
                (struct suspicion){.sample = sample};
        struct suspicion *found = &suspicions->all[index];
        if (profile_same_stack(profile, &profile->samples[found->sample], wanted))
            return found;
    }
}

static int compare(const void *left, const void *right)
{
    const struct suspicion *a = left, *b = right;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    return a->sample < b->sample ? -1 : a->sample > b->sample;
}

static void add(struct suspicions *suspicions, struct index *by_stack,
                const struct profile *profile, uint32_t sample)
{
    const struct sample *row = &profile->samples[sample];
    double oldest = number_of(profile, row, "oldest");
    double bytes = number_of(profile, row, "suspected");
    double usual = number_of(profile, row, "usual_lifetime");
    struct suspicion *suspicion = suspicion_of(suspicions, by_stack, profile, sample);
    suspicions->has_ages |= oldest >= 0;
    suspicion->freed_objects +=
        value_of(profile, sample, "alloc_objects") - value_of(profile, sample, "inuse_objects");
    if (!(bytes > suspicion->bytes))
        return;
    suspicion->bytes = bytes;
    suspicion->oldest_seconds = oldest / 1e9;
    suspicion->usual_seconds = usual > 0 ? usual / 1e9 : 0;
}

void suspicions_find(struct suspicions *suspicions, const struct profile *profile)
{
    struct index by_stack = {0};
    double live = 0;
    *suspicions = (struct suspicions){.count = 0};
    for (size_t i = 0; i < profile->sample_count; i++) {
        add(suspicions, &by_stack, profile, (uint32_t)i);
        live += value_of(profile, i, "inuse_space");
    }
    index_drain(&by_stack);
    suspicions->has_ages |= !(live > 0) && profile_type(profile, "inuse_space") >= 0;
    if (suspicions->count > 1)
        qsort(suspicions->all, suspicions->count, sizeof(*suspicions->all), compare);
    while (suspicions->count > 0 && !(suspicions->all[suspicions->count - 1].bytes > 0))
        suspicions->count--;
}

void suspicions_free(struct suspicions *suspicions)
{
    memory_free(suspicions->all);
    *suspicions = (struct suspicions){0};
}

const char *suspicions_reason(char text[SUSPICION_TEXT_MAX], const struct suspicion *suspicion)
{
    char usual[UNITS_TEXT_MAX], oldest[UNITS_TEXT_MAX];
    units_seconds(oldest, suspicion->oldest_seconds);
    if (suspicion->usual_seconds > 0)
        snprintf(text, SUSPICION_TEXT_MAX,
                 "of %.0f objects freed there, 99 %% lived less than %s; these are four times as "
                 "old or more, the oldest %s",
                 suspicion->freed_objects > 0 ? suspicion->freed_objects : 0,
                 units_seconds(usual, suspicion->usual_seconds), oldest);
    else
        snprintf(text, SUSPICION_TEXT_MAX,
                 "none was ever freed, and more keep coming, the oldest %s", oldest);
    return text;
}

/* Innermost first, with what was inlined there. */
static size_t name_frames(struct pool *pool, const struct profile *profile,
                          const struct sample *sample, const char ***names)
{
    size_t count = 0, capacity = 0;
    *names = NULL;
    for (uint32_t i = 0; i < sample->frame_count; i++) {
        const struct location *location =
            &profile->locations[profile->frames[sample->first_frame + i]];
        if (location->line_count == 0)
            *memory_push(*names, count, capacity) = graph_label(pool, profile, location, "");
        for (uint32_t k = 0; k < location->line_count; k++) {
            uint32_t function = profile->lines[location->first_line + k].function;
            *memory_push(*names, count, capacity) =
                function != MODEL_NONE ? profile_text(profile, profile->functions[function].name)
                                       : "?";
        }
    }
    return count;
}

static void put_text(const struct suspicion *suspicion, const char *const *names, size_t depth)
{
    char size[UNITS_TEXT_MAX], reason[SUSPICION_TEXT_MAX];
    printf("\n%sSUSPECT%s %10s  %s\n    ", style_text(STYLE_YELLOW), style_text(STYLE_PLAIN),
           units_bytes(size, suspicion->bytes), suspicions_reason(reason, suspicion));
    for (size_t i = 0; i < depth && i < FRAMES_SHOWN; i++)
        printf("%s%s", i > 0 ? " < " : "", names[i]);
    puts(depth == 0 ? "(no stack)" : depth > FRAMES_SHOWN ? " < ..." : "");
}

static void put_json(const struct suspicion *suspicion, const char *const *names, size_t depth)
{
    char reason[SUSPICION_TEXT_MAX];
    json_open(NULL, '{');
    json_text("reason", suspicions_reason(reason, suspicion));
    json_real("bytes", suspicion->bytes);
    json_real("oldest_seconds", suspicion->oldest_seconds);
    json_real("usual_lifetime_seconds",
              suspicion->usual_seconds > 0 ? suspicion->usual_seconds : (double)NAN);
    json_open("stack", '[');
    for (size_t i = 0; i < depth; i++)
        json_text(NULL, names[i]);
    json_close(']');
    json_close('}');
}

static void put_all(const struct query *query, const struct profile *profile,
                    const struct suspicions *suspicions)
{
    struct pool pool = {0};
    size_t shown = query->count < 0 ? ROWS_USUAL : (size_t)query->count;
    for (size_t i = 0; i < suspicions->count; i++) {
        const struct suspicion *suspicion = &suspicions->all[i];
        const char **names;
        size_t depth = name_frames(&pool, profile, &profile->samples[suspicion->sample], &names);
        if (query->json)
            put_json(suspicion, names, depth);
        else if (query->count == 0 || i < shown)
            put_text(suspicion, names, depth);
        memory_free(names);
    }
    pool_drain(&pool);
}

static void put_summary(const struct suspicions *suspicions)
{
    char text[UNITS_TEXT_MAX];
    double bytes = 0;
    for (size_t i = 0; i < suspicions->count; i++)
        bytes += suspicions->all[i].bytes;
    if (suspicions->count == 0)
        printf("one snapshot: %snothing in it is suspected by its age%s", style_text(STYLE_GREEN),
               style_text(STYLE_PLAIN));
    else
        printf("one snapshot: by their age, %s of %zu stack%s are suspected",
               units_bytes(text, bytes), suspicions->count, suspicions->count == 1 ? "" : "s");
    puts("; three or more of different times tell a leak from a cache");
}

static int report(const struct query *query, const struct profile *profile,
                  const struct suspicions *suspicions)
{
    if (!suspicions->has_ages)
        return failed("%s carries no ages: pprof files do where the program runs with "
                      "HPMALLOC_DUMP_LABELS=age; else give three snapshots or more",
                      profile->name);
    if (!query->json) {
        put_summary(suspicions);
        put_all(query, profile, suspicions);
        return STATUS_DONE;
    }
    json_open(NULL, '{');
    json_number("snapshots", 1);
    json_open("suspects", '[');
    put_all(query, profile, suspicions);
    json_close(']');
    json_close('}');
    return STATUS_DONE;
}

int suspicions_report(const struct query *query)
{
    struct suspicions suspicions;
    if (query->sample != NULL)
        return misused("leaks: --sample takes several files; one is judged by the ages of what is "
                       "in use");
    struct profile *profile = query_open(query->words[0]);
    if (profile == NULL)
        return STATUS_FAILED;
    suspicions_find(&suspicions, profile);
    int status = report(query, profile, &suspicions);
    suspicions_free(&suspicions);
    profile_free(profile);
    return status;
}
