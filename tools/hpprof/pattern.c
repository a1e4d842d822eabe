#include "pattern.h"

#include <stdio.h>
#include <string.h>

void pattern_put(struct pattern *pattern, const char *text)
{
    size_t length = strlen(text);
    if (length >= sizeof(pattern->text) - pattern->used) {
        pattern->is_too_long = true;
        return;
    }
    memcpy(pattern->text + pattern->used, text, length + 1);
    pattern->used += length;
}

static void put_literal(struct pattern *pattern, char c)
{
    char text[3] = {'\\', c, '\0'};
    pattern_put(pattern, strchr("*?[\\", c) != NULL ? text : text + 1);
}

void pattern_put_number(struct pattern *pattern, long number)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%ld", number);
    pattern_put(pattern, digits);
}

/* The pid is known, the others are whatever they are. */
static void put_directive(struct pattern *pattern, char directive, pid_t own_pid)
{
    if (directive == 'p')
        pattern_put_number(pattern, (long)own_pid);
    else if (strchr("enrth", directive) != NULL)
        pattern_put(pattern, "*");
    else
        put_literal(pattern, '%');
    if (directive != '%' && strchr("penrth", directive) == NULL)
        put_literal(pattern, directive);
}

void pattern_put_path(struct pattern *pattern, const char *path, const char *limit, pid_t own_pid)
{
    for (const char *at = path; at < limit; at++) {
        if (at[0] == '%' && at + 1 < limit)
            put_directive(pattern, *++at, own_pid);
        else
            put_literal(pattern, *at);
    }
}
