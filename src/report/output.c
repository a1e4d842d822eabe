#include "report/output.h"

#include <errno.h>
#include <string.h>

enum { PRINT_MAX = 1000 };

void output_begin(struct output *output, int fd)
{
    output->fd = fd;
    output->error = 0;
    output->used = 0;
}

static void flush(struct output *output)
{
    if (output->error == 0 && !print_write_all(output->fd, output->bytes, output->used))
        output->error = errno != 0 ? errno : EIO;
    output->used = 0;
}

void output_write(struct output *output, const void *data, size_t bytes)
{
    for (const char *at = data; bytes > 0;) {
        if (output->used == sizeof(output->bytes))
            flush(output);
        size_t part = min_size(bytes, sizeof(output->bytes) - output->used);
        memcpy(output->bytes + output->used, at, part);
        output->used += part;
        at += part;
        bytes -= part;
    }
}

void output_text(struct output *output, const char *text)
{
    output_write(output, text, strlen(text));
}

void output_decimal(struct output *output, uint64_t number)
{
    char text[20], *end = text + sizeof(text), *at = end;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    output_write(output, at, (size_t)(end - at));
}

void output_hex(struct output *output, uint64_t number, unsigned digits)
{
    char text[16], *end = text + sizeof(text), *at = end;
    do {
        *--at = "0123456789abcdef"[number % 16];
        number /= 16;
    } while (number != 0 || end - at < (ptrdiff_t)digits);
    output_write(output, at, (size_t)(end - at));
}

/* Straight into the buffer: there is no stack for a second one. */
void output_print(struct output *output, const char *format, ...)
{
    va_list arguments;
    if (sizeof(output->bytes) - output->used <= PRINT_MAX)
        flush(output);
    va_start(arguments, format);
    output->used +=
        print_format_list(output->bytes + output->used, PRINT_MAX + 1, format, arguments);
    va_end(arguments);
}

bool output_finish(struct output *output)
{
    flush(output);
    errno = output->error != 0 ? output->error : errno;
    return output->error == 0;
}
