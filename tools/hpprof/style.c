#include "style.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool has_colour(void)
{
    const char *terminal = getenv("TERM"), *off = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && terminal != NULL && strcmp(terminal, "dumb") != 0 &&
           (off == NULL || *off == '\0');
}

const char *style_text(enum style style)
{
    static const char *const codes[] = {"\033[0m",  "\033[1m",  "\033[2m",
                                        "\033[31m", "\033[32m", "\033[33m"};
    static int known = -1;
    if (known < 0)
        known = has_colour();
    return known ? codes[style] : "";
}

static bool json_needs_comma;
static unsigned json_depth;

static void put_string(const char *text);

static void begin(const char *key)
{
    if (json_needs_comma)
        putchar(',');
    if (json_depth > 0 && json_depth <= 2)
        putchar('\n');
    json_needs_comma = true;
    if (key == NULL)
        return;
    put_string(key);
    fputs(": ", stdout);
}

unsigned style_character_length(const char *characters)
{
    const unsigned char *text = (const unsigned char *)characters;
    unsigned length = text[0] < 0x80                       ? 1
                      : text[0] >= 0xc2 && text[0] < 0xe0  ? 2
                      : (text[0] & 0xf0) == 0xe0           ? 3
                      : text[0] >= 0xf0 && text[0] <= 0xf4 ? 4
                                                           : 0;
    for (unsigned i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    bool is_long = (text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xf0 && text[1] < 0x90);
    bool is_none = (text[0] == 0xed && text[1] >= 0xa0) || (text[0] == 0xf4 && text[1] >= 0x90);
    return length > 1 && (is_long || is_none) ? 0 : length;
}

static void put_string(const char *text)
{
    putchar('"');
    while (*text != '\0') {
        unsigned length = style_character_length(text);
        if (*text == '"' || *text == '\\')
            putchar('\\');
        if (length == 0 || (unsigned char)*text < ' ')
            printf("\\u%04x", length == 0 ? 0xfffd : (unsigned)*text);
        else
            fwrite(text, 1, length, stdout);
        text += length != 0 ? length : 1;
    }
    putchar('"');
}

void json_open(const char *key, char bracket)
{
    begin(key);
    putchar(bracket);
    json_needs_comma = false;
    json_depth++;
}

void json_close(char bracket)
{
    json_depth--;
    if (json_depth < 2)
        putchar('\n');
    putchar(bracket);
    json_needs_comma = json_depth > 0;
    if (json_depth == 0)
        putchar('\n');
}

void json_text(const char *key, const char *text)
{
    begin(key);
    put_string(text);
}

void json_number(const char *key, int64_t number)
{
    begin(key);
    printf("%lld", (long long)number);
}

void json_bool(const char *key, bool is_true)
{
    begin(key);
    fputs(is_true ? "true" : "false", stdout);
}

void json_real(const char *key, double number)
{
    begin(key);
    if (isfinite(number))
        printf("%.15g", number);
    else
        fputs("null", stdout);
}
