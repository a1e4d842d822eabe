#include "names.h"

#include <ctype.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "query.h"

struct text {
    char *data;
    size_t count, capacity;
};

static void put(struct text *text, const char *data, size_t length)
{
    for (size_t i = 0; i < length; i++)
        *memory_push(text->data, text->count, text->capacity) = data[i];
}

static bool is_mangled(const char *name)
{
    return strncmp(name, "_Z", 2) == 0 || strncmp(name, "___Z", 4) == 0 ||
           strncmp(name, "_R", 2) == 0;
}

/* What the file itself shows differently from the linker is shown as the file has it. */
static bool is_open(const struct profile *profile, const struct function *function)
{
    return *profile_text(profile, function->name) == '\0' ||
           function->name == function->system_name;
}

/* The length of the operator's name that text begins with, when that has brackets which are none.
 */
static size_t operator_length(const char *text)
{
    static const char *const names[] = {"<=>", "<<=", ">>=", "->*", "<<", ">>",
                                        "<=",  ">=",  "->",  "<",   ">",  "()"};
    enum { WORD = sizeof("operator") - 1 };
    if (strncmp(text, "operator", WORD) != 0)
        return 0;
    for (size_t i = 0; i < array_count(names); i++) {
        if (strncmp(text + WORD, names[i], strlen(names[i])) == 0)
            return WORD + strlen(names[i]);
    }
    return 0;
}

/* Where the bracket that opens here closes, or NULL. */
static const char *find_end(const char *text, char open, char close)
{
    size_t depth = 0;
    while (*text != '\0') {
        size_t name = operator_length(text);
        depth += name == 0 && *text == open;
        if (name == 0 && *text == close && --depth == 0)
            return text;
        text += name != 0 ? name : 1;
    }
    return NULL;
}

static bool begins_word(const char *start, const char *at)
{
    return at == start || !(isalnum((unsigned char)at[-1]) || at[-1] == '_');
}

/* Into `shorter`: without what stands between < and >, clones' marks, and, where it says so,
 * between ( and ). */
static void strip(struct text *shorter, const char *name, bool has_parameters)
{
    shorter->count = 0;
    for (const char *at = name; *at != '\0';) {
        size_t operator_name = begins_word(name, at) ? operator_length(at) : 0;
        const char *end = NULL;
        if (operator_name != 0) {
            put(shorter, at, operator_name);
            at += operator_name;
            continue;
        }
        if (strncmp(at, " [clone ", 8) == 0)
            break;
        if (*at == '<' && at != name)
            end = find_end(at, '<', '>');
        if (has_parameters && *at == '(' && strncmp(at, "(anonymous", 10) != 0)
            end = find_end(at, '(', ')');
        if (end == NULL)
            put(shorter, at, 1);
        at = end != NULL ? end + 1 : at + 1;
    }
    put(shorter, "", 1);
}

static bool looks_demangled(const char *name)
{
    return strstr(name, ".<") == NULL && strstr(name, "]).") == NULL &&
           (strpbrk(name, "<>") != NULL || strstr(name, "::") != NULL);
}

/* The latter leaves parameters in. */
static char *undo_all(const struct text *names, bool *has_parameters)
{
    static char *const binutils[] = {"c++filt", "-p", NULL}, *const llvm[] = {"llvm-cxxfilt", NULL};
    size_t unused;
    char *output = child_filter(binutils, names->data, names->count, &unused);
    *has_parameters = output == NULL;
    return output != NULL ? output : child_filter(llvm, names->data, names->count, &unused);
}

/* Lines come back in the order they were sent in. */
static void set_undone(struct profile *profile, char *output, bool has_parameters)
{
    struct text shorter = {0};
    for (size_t i = 0; i < profile->function_count && *output != '\0'; i++) {
        struct function *function = &profile->functions[i];
        if (!is_open(profile, function) ||
            !is_mangled(profile_text(profile, function->system_name)))
            continue;
        char *end = strchr(output, '\n');
        if (end == NULL)
            break;
        *end = '\0';
        strip(&shorter, output, has_parameters);
        function->name = profile_intern_text(profile, shorter.data);
        output = end + 1;
    }
    memory_free(shorter.data);
}

static void shorten_plain(struct profile *profile)
{
    struct text shorter = {0};
    for (size_t i = 0; i < profile->function_count; i++) {
        struct function *function = &profile->functions[i];
        const char *name = profile_text(profile, function->system_name);
        if (!is_open(profile, function) || is_mangled(name) || !looks_demangled(name))
            continue;
        strip(&shorter, name, true);
        function->name = profile_intern_text(profile, shorter.data);
    }
    memory_free(shorter.data);
}

void names_shorten(struct profile *profile)
{
    struct text mangled = {0};
    for (size_t i = 0; i < profile->function_count; i++) {
        struct function *function = &profile->functions[i];
        const char *name = profile_text(profile, function->system_name);
        if (*name == '\0' || !is_open(profile, function))
            continue;
        function->name = function->system_name;
        if (is_mangled(name)) {
            put(&mangled, name, strlen(name));
            put(&mangled, "\n", 1);
        }
    }
    shorten_plain(profile);
    bool has_parameters;
    char *output = mangled.count != 0 ? undo_all(&mangled, &has_parameters) : NULL;
    if (output != NULL)
        set_undone(profile, output, has_parameters);
    free(output);
    memory_free(mangled.data);
}

/* What expressions for frames are held against: no parameters. */
static void simplify(struct text *text, const char *name)
{
    text->count = 0;
    name += *name == '.';
    const char *at = name;
    while (*at != '\0' && *at != '(') {
        size_t kept = operator_length(at);
        at += kept != 0 ? kept : 1;
        if (strncmp(at, "(anonymous namespace)", 21) == 0)
            at += 21;
    }
    put(text, name, (size_t)(at - name));
    put(text, "", 1);
}

struct dropper {
    struct profile *profile;
    regex_t drop, keep;
    bool has_keep;
    struct text text;
};

static bool is_dropped(struct dropper *dropper, uint32_t function)
{
    const char *name =
        function == MODEL_NONE
            ? ""
            : profile_text(dropper->profile, dropper->profile->functions[function].name);
    if (*name == '\0')
        return false;
    simplify(&dropper->text, name);
    return regexec(&dropper->drop, dropper->text.data, 0, NULL, 0) == 0 &&
           !(dropper->has_keep && regexec(&dropper->keep, dropper->text.data, 0, NULL, 0) == 0);
}

enum cut { CUT_NOT, CUT_WITH, CUT_BELOW };

/* The outermost of a location's lines decides. */
static enum cut cut_of(struct dropper *dropper, struct location *location)
{
    for (uint32_t i = location->line_count; i-- > 0;) {
        if (!is_dropped(dropper, dropper->profile->lines[location->first_line + i].function))
            continue;
        if (i + 1 == location->line_count)
            return CUT_WITH;
        location->first_line += i + 1;
        location->line_count -= i + 1;
        return CUT_BELOW;
    }
    return CUT_NOT;
}

/* From the outermost on, but not before a frame that stays. */
static void cut_sample(const struct profile *profile, struct sample *sample, const uint8_t *cuts)
{
    bool is_inside = false;
    for (uint32_t i = sample->frame_count; i-- > 0;) {
        enum cut cut = cuts[profile->frames[sample->first_frame + i]];
        if (cut == CUT_NOT) {
            is_inside = true;
        } else if (is_inside) {
            uint32_t count = cut == CUT_WITH ? i + 1 : i;
            sample->first_frame += count;
            sample->frame_count -= count;
            return;
        }
    }
}

static bool compile_whole(regex_t *expression, const char *text)
{
    char *whole = memory_alloc(strlen(text) + 5, 1);
    sprintf(whole, "^(%s)$", text);
    bool done = query_compile(expression, whole, "the profile's own drop_frames");
    memory_free(whole);
    return done;
}

static void cut_samples(struct dropper *dropper)
{
    struct profile *profile = dropper->profile;
    uint8_t *cuts = memory_alloc(profile->location_count, 1);
    bool is_any = false;
    for (size_t i = 0; i < profile->location_count; i++) {
        cuts[i] = (uint8_t)cut_of(dropper, &profile->locations[i]);
        is_any |= cuts[i] != CUT_NOT;
    }
    for (size_t i = 0; is_any && i < profile->sample_count; i++)
        cut_sample(profile, &profile->samples[i], cuts);
    memory_free(cuts);
}

void names_drop_frames(struct profile *profile)
{
    struct dropper dropper = {.profile = profile};
    const char *keep = profile_text(profile, profile->keep_frames);
    if (profile->drop_frames == STRING_EMPTY ||
        !compile_whole(&dropper.drop, profile_text(profile, profile->drop_frames)))
        return;
    dropper.has_keep = *keep != '\0' && compile_whole(&dropper.keep, keep);
    cut_samples(&dropper);
    regfree(&dropper.drop);
    if (dropper.has_keep)
        regfree(&dropper.keep);
    memory_free(dropper.text.data);
}
