#include <string.h>

#include "reader.h"

enum { PROBE_BYTES = 4096 };

/* Where a line's value begins: behind its last blank. NULL: the line is no stack with a value. */
static const char *find_value(const char *line, const char *end)
{
    const char *at = end;
    while (at > line && at[-1] >= '0' && at[-1] <= '9')
        at--;
    return at < end && at - 1 > line && at[-1] == ' ' ? at : NULL;
}

static const char *end_of_line(const char *line, const char *limit)
{
    const char *end = memchr(line, '\n', (size_t)(limit - line));
    return end != NULL ? end : limit;
}

static bool to_number(const char *digits, const char *end, int64_t *value)
{
    *value = 0;
    for (; digits < end; digits++) {
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, *digits - '0', value))
            return false;
    }
    return true;
}

static uint32_t location_of(struct profile *profile, struct index *functions, const char *name,
                            size_t length)
{
    uint32_t string = profile_intern(profile, name, length);
    uint32_t next = (uint32_t)profile->location_count;
    uint32_t location = index_add(functions, string, next);
    if (location != next)
        return location;
    uint32_t function =
        profile_add_function(profile, (struct function){.name = string, .system_name = string});
    profile_add_location(profile, 0, MODEL_NONE);
    profile_add_line(profile, location, function, 0);
    return location;
}

static void add_stack(struct profile *profile, struct index *functions, const char *stack,
                      const char *end)
{
    while (end > stack) {
        const char *start = end;
        while (start > stack && start[-1] != ';')
            start--;
        profile_add_frame(profile, location_of(profile, functions, start, (size_t)(end - start)));
        end = start > stack ? start - 1 : stack;
    }
}

bool foldedread(struct profile *profile, const uint8_t *data, size_t bytes, const char **trouble)
{
    const char *line = (const char *)data, *limit = line + bytes;
    struct index functions = {0};
    int64_t number;
    profile_add_type(profile, "inuse_space", "bytes");
    for (const char *end; line < limit && *trouble == NULL; line = end + 1) {
        end = end_of_line(line, limit);
        const char *value = find_value(line, end);
        if (value == NULL || !to_number(value, end, &number)) {
            if (end > line)
                *trouble = "it is broken: a line is not `frame;frame value`";
            continue;
        }
        profile_add_sample(profile, &number);
        add_stack(profile, &functions, line, value - 1);
    }
    index_drain(&functions);
    return *trouble == NULL;
}

/* Text, and its first line is a stack. */
bool foldedread_is_one(const uint8_t *data, size_t bytes)
{
    const char *text = (const char *)data;
    for (size_t i = 0; i < min_size(bytes, PROBE_BYTES); i++) {
        if ((data[i] < ' ' && data[i] != '\n' && data[i] != '\t') || data[i] == 0x7f)
            return false;
    }
    return bytes > 0 && find_value(text, end_of_line(text, text + bytes)) != NULL;
}
