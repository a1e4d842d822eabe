#include "query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "reader.h"
#include "symbolize.h"

static const struct row {
    const char *name;
    enum query_option option;
    bool has_value;
} rows[] = {
    {"--sample", QUERY_SAMPLE, true}, {"--focus", QUERY_FILTER, true},
    {"--ignore", QUERY_FILTER, true}, {"--cum", QUERY_CUM, false},
    {"-n", QUERY_COUNT, true},        {"--base", QUERY_BASE, true},
    {"--json", QUERY_JSON, false},    {"-o", QUERY_OUTPUT, true},
    {"--format", QUERY_FORMAT, true},
};

static const struct row *find_row(const char *argument, unsigned options, const char **value)
{
    for (size_t i = 0; i < array_count(rows); i++) {
        size_t length = strlen(rows[i].name);
        bool has_value = rows[i].has_value && argument[1] == '-' && argument[length] == '=';
        if ((options & rows[i].option) == 0 || strncmp(argument, rows[i].name, length) != 0 ||
            (argument[length] != '\0' && !has_value))
            continue;
        *value = has_value ? argument + length + 1 : NULL;
        return &rows[i];
    }
    return NULL;
}

/* Perl's spellings that people are used to. */
static char *to_posix(const char *text, int *flags)
{
    char *posix = memory_alloc(6 * strlen(text) + 1, 1), *at = posix;
    if (strncmp(text, "(?i)", 4) == 0) {
        *flags |= REG_ICASE;
        text += 4;
    }
    for (; *text != '\0'; text++) {
        if (strncmp(text, "(?:", 3) == 0) {
            *at++ = '(';
            text += 2;
        } else if (text[0] == '\\' && text[1] == 'd') {
            at = stpcpy(at, "[0-9]");
            text++;
        } else {
            *at++ = *text;
        }
    }
    return posix;
}

bool query_compile(regex_t *expression, const char *text, const char *what)
{
    char message[128];
    int flags = REG_EXTENDED | REG_NOSUB;
    char *posix = to_posix(text, &flags);
    int trouble = regcomp(expression, posix, flags);
    memory_free(posix);
    if (trouble == 0)
        return true;
    regerror(trouble, expression, message, sizeof(message));
    misused("%s: '%s' is no regular expression: %s", what, text, message);
    return false;
}

static bool set_count(struct query *query, const char *text)
{
    char *end;
    query->count = strtol(text, &end, 10);
    if (*text != '\0' && *end == '\0' && query->count >= 0)
        return true;
    misused("%s: '%s' is no number of rows", query->command, text);
    return false;
}

static bool set(struct query *query, const struct row *row, const char *value)
{
    switch (row->option) {
    case QUERY_SAMPLE:
        query->sample = value;
        return true;
    case QUERY_FILTER:
        if (row->name[2] == 'f')
            return query->has_focus = query_compile(&query->focus, value, "--focus");
        return query->has_ignore = query_compile(&query->ignore, value, "--ignore");
    case QUERY_CUM:
        return query->by_cum = true;
    case QUERY_COUNT:
        return set_count(query, value);
    case QUERY_BASE:
        query->base = value;
        return true;
    case QUERY_JSON:
        return query->json = true;
    case QUERY_OUTPUT:
        query->output = value;
        return true;
    case QUERY_FORMAT:
        query->format = value;
        return true;
    }
    return false;
}

/* An argument that begins with a dash, from arguments[*at] on. */
static bool take_option(struct query *query, char **arguments, int *at, unsigned options)
{
    const char *value;
    const struct row *row = find_row(arguments[*at], options, &value);
    if (row == NULL) {
        misused("%s: there is no option '%s'", query->command, arguments[*at]);
        return false;
    }
    if (row->has_value && value == NULL)
        value = arguments[++*at];
    if (row->has_value && value == NULL) {
        misused("%s: %s needs a value", query->command, row->name);
        return false;
    }
    return set(query, row, value);
}

bool query_parse(struct query *query, int count, char **arguments, unsigned options,
                 const char *help, int *status)
{
    bool only_words = false;
    *query = (struct query){.command = arguments[0], .count = -1, .words = arguments};
    for (int i = 1; i < count; i++) {
        if (!only_words && is_help(arguments[i])) {
            *status = fputs(help, stdout) >= 0 ? STATUS_DONE : STATUS_FAILED;
            return false;
        }
        if (!only_words && strcmp(arguments[i], "--") == 0) {
            only_words = true;
        } else if (only_words || arguments[i][0] != '-' || arguments[i][1] == '\0') {
            query->words[query->word_count++] = arguments[i];
        } else if (!take_option(query, arguments, &i, options)) {
            *status = STATUS_MISUSED;
            query_free(query);
            return false;
        }
    }
    return true;
}

void query_free(struct query *query)
{
    if (query->has_focus)
        regfree(&query->focus);
    if (query->has_ignore)
        regfree(&query->ignore);
    query->has_focus = query->has_ignore = false;
}

bool query_needs(const struct query *query, int least, int most, const char *what, int *status)
{
    if (query->word_count >= least && query->word_count <= most)
        return true;
    *status = query->word_count == 0
                  ? misused("%s: takes %s", query->command, what)
                  : misused("%s: takes %s, not %d", query->command, what, query->word_count);
    return false;
}

struct profile *query_open(const char *path)
{
    struct profile *profile = reader_open(path);
    if (profile != NULL) {
        symbolize(profile, false);
        names_shorten(profile);
        names_drop_frames(profile);
    }
    return profile;
}

int query_type(const struct query *query, const struct profile *profile)
{
    char names[512] = "";
    int type = profile_type(profile, query->sample);
    if (type >= 0)
        return type;
    for (size_t i = 0; i < profile->type_count; i++) {
        size_t length = strlen(names);
        snprintf(names + length, sizeof(names) - length, "%s%s", i > 0 ? ", " : "",
                 profile_text(profile, profile->types[i].type));
    }
    failed("%s: there is no '%s' in it; there are: %s", profile->name, query->sample, names);
    return -1;
}

static bool is_same_type(const struct query_input *input)
{
    const struct graph_input *now = &input->inputs[0], *before = &input->inputs[1];
    struct value_type a = now->profile->types[now->type];
    struct value_type b = before->profile->types[before->type];
    return strcmp(profile_text(now->profile, a.type), profile_text(before->profile, b.type)) == 0 &&
           strcmp(profile_text(now->profile, a.unit), profile_text(before->profile, b.unit)) == 0;
}

static bool load_base(const struct query *query, const char *base, struct query_input *input)
{
    struct query same = *query;
    input->base = query_open(base);
    if (input->base == NULL)
        return false;
    if (same.sample == NULL)
        same.sample =
            profile_text(input->profile, input->profile->types[input->inputs[0].type].type);
    int type = query_type(&same, input->base);
    input->inputs[1] = (struct graph_input){.profile = input->base, .type = type, .sign = -1};
    input->count = 2;
    if (type >= 0 && !is_same_type(input))
        failed("%s and %s hold values of different types", base, input->profile->name);
    return type >= 0 && is_same_type(input);
}

bool query_load(const struct query *query, const char *path, const char *base,
                struct query_input *input, int *status)
{
    *input = (struct query_input){.profile = query_open(path), .count = 1};
    *status = STATUS_FAILED;
    if (input->profile == NULL)
        return false;
    int type = query_type(query, input->profile);
    input->inputs[0] = (struct graph_input){.profile = input->profile, .type = type, .sign = 1};
    if (type >= 0 && (base == NULL || load_base(query, base, input)))
        return true;
    query_close(input);
    return false;
}

void query_close(struct query_input *input)
{
    profile_free(input->profile);
    profile_free(input->base);
    *input = (struct query_input){0};
}
