/* What the library was asked to do, as the environment says. */
#define _GNU_SOURCE
#include <string.h>

#include "doctor.h"
#include "units.h"

/* From here on there are few samples in a usual process. */
#define SPARSE_BYTES (64 * MiB)

static const char prefix[] = "HPMALLOC_";

static const struct option *find_option(const char *setting)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        size_t length = strlen(option_table[i].name);
        if (strncmp(setting, option_table[i].name, length) == 0 && setting[length] == '=')
            return &option_table[i];
    }
    return NULL;
}

static void check_setting(struct doctor *doctor, const char *setting)
{
    const struct option *option = find_option(setting);
    const char *value = strchr(setting, '=');
    uint64_t number;
    if (value == NULL)
        return;
    if (option == NULL)
        doctor_find(doctor, "option-unknown", "see hpprof options for those there are",
                    "%s%.*s is no option of the library", prefix, (int)(value - setting), setting);
    else if (value[1] != '\0' && !option_parse(option, value + 1, &number))
        doctor_find(doctor, "option-refused", doctor_text(doctor, "give it %s", option->accepted),
                    "%s%.200s is not accepted: its default, %s, is used", prefix, setting,
                    option->initial != NULL ? option->initial : "none");
}

/* Programs that write their title over their environment leave something that is none, and no word
 * of how the library came in. */
static bool is_intact(const struct doctor *doctor)
{
    const char *first = doctor->process.environment;
    return strchr(first, '=') != NULL ||
           (*first == '\0' &&
            (!doctor->is_preloaded || process_variable(&doctor->process, "LD_PRELOAD") != NULL));
}

static void check_interval(struct doctor *doctor)
{
    char text[UNITS_TEXT_MAX];
    uint64_t bytes = 0;
    process_option(&doctor->process, OPTION_SAMPLE_INTERVAL, &bytes);
    if (bytes == 0)
        doctor_find(doctor, "sampling-off",
                    "start it without that: the default, 512k, costs next to nothing",
                    "HPMALLOC_SAMPLE_INTERVAL=0 turns profiling off: profiles are empty");
    else if (bytes >= SPARSE_BYTES)
        doctor_find(doctor, "sampling-sparse", "start it with 512k, the default, or less",
                    "HPMALLOC_SAMPLE_INTERVAL asks for one sample in %s: profiles hold few stacks, "
                    "or none",
                    units_bytes(text, (double)bytes));
}

static void check_program(struct doctor *doctor)
{
    uint64_t unused;
    const char *pattern = process_option(&doctor->process, OPTION_PROGRAM, &unused);
    if (pattern != NULL && !option_pattern_matches(pattern, doctor->program))
        doctor_find(
            doctor, "program-pattern",
            doctor_text(doctor, "start it with HPMALLOC_PROGRAM=%s, or without", doctor->program),
            "HPMALLOC_PROGRAM=%s does not match %s: it dumps, serves and says nothing", pattern,
            doctor->program);
}

void doctor_options(struct doctor *doctor)
{
    const char *environment = doctor->process.environment;
    if (doctor->has_options && !is_intact(doctor)) {
        doctor->has_options = false;
        doctor_note(doctor, "environment-gone", "its stderr, as it began, says what was refused",
                    "%s has written over the environment it began with: its options cannot be "
                    "read, and defaults are assumed",
                    doctor->program);
    }
    if (!doctor->has_options) {
        memset(doctor->process.environment, 0, 2);
        return;
    }
    for (const char *at = environment; *at != '\0'; at += strlen(at) + 1) {
        if (strncmp(at, prefix, strlen(prefix)) == 0)
            check_setting(doctor, at + strlen(prefix));
    }
    check_interval(doctor);
    check_program(doctor);
}
