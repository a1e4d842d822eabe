#include "picture.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hpprof.h"
#include "style.h"

static bool is_stdout(const char *output)
{
    return output == NULL || strcmp(output, "-") == 0;
}

FILE *picture_open(const char *output)
{
    if (is_stdout(output))
        return stdout;
    FILE *file = fopen(output, "w");
    if (file == NULL)
        failed("%s: %s", output, strerror(errno));
    return file;
}

int picture_close(FILE *file, const char *output)
{
    if (file == stdout)
        return STATUS_DONE;
    struct stat found;
    bool is_regular = fstat(fileno(file), &found) == 0 && S_ISREG(found.st_mode);
    bool is_bad = ferror(file) != 0;
    is_bad |= fclose(file) != 0;
    if (!is_bad)
        return STATUS_DONE;
    int error = errno;
    if (is_regular)
        unlink(output);
    return failed("%s: %s", output, strerror(error));
}

/* U+FFFE and U+FFFF, which XML takes for none. */
static bool is_none(const char *text, unsigned length)
{
    return length == 3 && memcmp(text, "\xef\xbf", 2) == 0 && (unsigned char)text[2] >= 0xbe;
}

size_t picture_characters(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; count++) {
        unsigned length = style_character_length(text);
        text += length != 0 ? length : 1;
    }
    return count;
}

static void put_character(FILE *file, const char *text, unsigned length)
{
    bool is_control = length == 1 && ((unsigned char)*text < ' ' || *text == 0x7f);
    if (length == 0 || is_control || is_none(text, length))
        fputs("\xef\xbf\xbd", file);
    else if (length == 1 && strchr("<>&\"'", *text) != NULL)
        fprintf(file, "&#%d;", *text);
    else
        fwrite(text, 1, length, file);
}

void picture_put_xml(FILE *file, const char *text, size_t most)
{
    bool is_cut = picture_characters(text) > most;
    size_t left = is_cut ? most - (most < 2 ? most : 2) : most;
    for (; *text != '\0' && left > 0; left--) {
        unsigned length = style_character_length(text);
        put_character(file, text, length);
        text += length != 0 ? length : 1;
    }
    if (is_cut)
        fputs("..", file);
}

void picture_put_json(FILE *file, const char *text)
{
    putc('"', file);
    while (*text != '\0') {
        unsigned length = style_character_length(text);
        unsigned char c = (unsigned char)*text;
        if (length == 0 || is_none(text, length))
            fputs("\\ufffd", file);
        else if (length == 1 && (c < ' ' || c == 0x7f || strchr("<>&\"'\\", c) != NULL))
            fprintf(file, "\\u%04x", c);
        else
            fwrite(text, 1, length, file);
        text += length != 0 ? length : 1;
    }
    putc('"', file);
}

const char *picture_program(const struct profile *profile)
{
    const char *program = profile_program(profile);
    return *program != '\0' ? program : profile_base_name(profile->name);
}
