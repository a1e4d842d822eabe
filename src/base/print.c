#include "base/print.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

struct sink {
    char *at, *limit; // limit leaves room for the closing NUL
};

struct directive {
    bool left, zero;
    int width, precision; // precision -1: none given
    int longs;            // 0 int, 1 long or size_t, 2 long long
};

static bool is_quiet;
static bool is_mute; // there was no stderr when the program began

static void put(struct sink *sink, char c)
{
    if (sink->at < sink->limit)
        *sink->at++ = c;
}

static void put_text(struct sink *sink, const char *text, size_t length, const struct directive *d)
{
    size_t pad = (size_t)d->width > length ? (size_t)d->width - length : 0;
    for (size_t i = 0; !d->left && i < pad; i++)
        put(sink, ' ');
    for (size_t i = 0; i < length; i++)
        put(sink, text[i]);
    for (size_t i = 0; d->left && i < pad; i++)
        put(sink, ' ');
}

static void put_digits(struct sink *sink, uint64_t value, unsigned base, bool negative,
                       struct directive *d)
{
    char digits[24];
    size_t at = sizeof(digits);
    size_t floor = d->zero && !d->left ? sizeof(digits) - min_size((size_t)d->width, 20) : at - 1;
    if (negative && d->zero)
        floor++;
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0 || at > floor);
    if (negative)
        digits[--at] = '-';
    put_text(sink, digits + at, sizeof(digits) - at, d);
}

/* Writes the digits from the last to the first, for stack is scarce where lines are made. */
static HPM_NOINLINE void put_double(struct sink *sink, double value, struct directive *d)
{
    static const uint64_t powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
    int places = d->precision < 0 ? 1 : d->precision > 6 ? 6 : d->precision;
    bool negative = value < 0;
    double magnitude = (negative ? -value : value) * (double)powers[places] + 0.5;
    char text[24], *at = text + sizeof(text);
    if (!(magnitude < 1.8e19)) {
        put_text(sink, "huge", 4, d);
        return;
    }
    uint64_t scaled = (uint64_t)magnitude;
    negative = negative && scaled != 0;
    for (int written = 0; written <= places || scaled != 0; written++) {
        if (written == places && places > 0)
            *--at = '.';
        *--at = (char)('0' + scaled % 10);
        scaled /= 10;
    }
    if (negative)
        *--at = '-';
    put_text(sink, at, (size_t)(text + sizeof(text) - at), d);
}

static uint64_t take_unsigned(va_list *arguments, int longs)
{
    if (longs == 0)
        return va_arg(*arguments, unsigned);
    return longs == 1 ? va_arg(*arguments, unsigned long) : va_arg(*arguments, unsigned long long);
}

static int64_t take_signed(va_list *arguments, int longs)
{
    if (longs == 0)
        return va_arg(*arguments, int);
    return longs == 1 ? va_arg(*arguments, long) : va_arg(*arguments, long long);
}

static void put_string(struct sink *sink, const char *text, struct directive *d)
{
    if (text == NULL)
        text = "(null)";
    size_t length = d->precision < 0 ? strlen(text) : strnlen(text, (size_t)d->precision);
    put_text(sink, text, length, d);
}

static void put_signed(struct sink *sink, int64_t value, struct directive *d)
{
    put_digits(sink, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, value < 0, d);
}

static void put_directive(struct sink *sink, char kind, struct directive *d, va_list *arguments)
{
    switch (kind) {
    case 's':
        put_string(sink, va_arg(*arguments, const char *), d);
        break;
    case 'c':
        put(sink, (char)va_arg(*arguments, int));
        break;
    case 'd':
        put_signed(sink, take_signed(arguments, d->longs), d);
        break;
    case 'u':
        put_digits(sink, take_unsigned(arguments, d->longs), 10, false, d);
        break;
    case 'x':
        put_digits(sink, take_unsigned(arguments, d->longs), 16, false, d);
        break;
    case 'p':
        put(sink, '0');
        put(sink, 'x');
        put_digits(sink, (uintptr_t)va_arg(*arguments, void *), 16, false, d);
        break;
    case 'f':
        put_double(sink, va_arg(*arguments, double), d);
        break;
    default:
        put(sink, kind);
    }
}

static int take_number(const char **format, va_list *arguments)
{
    if (**format == '*') {
        (*format)++;
        return va_arg(*arguments, int);
    }
    int number = 0;
    while (**format >= '0' && **format <= '9')
        number = number * 10 + (*(*format)++ - '0');
    return number;
}

static struct directive take_directive(const char **format, va_list *arguments)
{
    struct directive d = {.precision = -1};
    for (; **format == '-' || **format == '0'; (*format)++)
        *(**format == '-' ? &d.left : &d.zero) = true;
    d.width = take_number(format, arguments);
    if (**format == '.') {
        (*format)++;
        d.precision = take_number(format, arguments);
    }
    for (; **format == 'l' || **format == 'z'; (*format)++)
        d.longs++;
    return d;
}

static void print_arguments(struct sink *sink, const char *format, va_list *arguments)
{
    while (*format != '\0') {
        if (*format != '%') {
            put(sink, *format++);
            continue;
        }
        format++;
        struct directive d = take_directive(&format, arguments);
        if (*format != '\0')
            put_directive(sink, *format++, &d, arguments);
    }
}

size_t print_format_list(char *buffer, size_t size, const char *format, va_list arguments)
{
    if (size == 0)
        return 0;
    struct sink sink = {buffer, buffer + size - 1};
    va_list copy;
    va_copy(copy, arguments);
    print_arguments(&sink, format, &copy);
    va_end(copy);
    *sink.at = '\0';
    return (size_t)(sink.at - buffer);
}

size_t print_format(char *buffer, size_t size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t length = print_format_list(buffer, size, format, arguments);
    va_end(arguments);
    return length;
}

static bool is_leap(unsigned year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned days_of_month(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year));
}

size_t print_time(char *buffer, size_t size, uint64_t wall_clock_ns)
{
    uint64_t seconds = wall_clock_ns / 1000000000u;
    unsigned second = (unsigned)(seconds % 86400), day = (unsigned)(seconds / 86400);
    unsigned year = 1970, month = 1;
    for (; day >= 365u + is_leap(year); year++)
        day -= 365u + is_leap(year);
    for (; day >= days_of_month(year, month); month++)
        day -= days_of_month(year, month);
    return print_format(buffer, size, "%04u%02u%02uT%02u%02u%02uZ", year, month, day + 1,
                        second / 3600, second / 60 % 60, second % 60);
}

static bool write_all(int fd, const void *data, size_t bytes)
{
    for (const char *at = data; bytes > 0;) {
        ssize_t written = write(fd, at, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        at += written;
        bytes -= (size_t)written;
    }
    return true;
}

bool print_write_all(int fd, const void *data, size_t bytes)
{
    int cancel = os_put_cancel_off();
    bool done = write_all(fd, data, bytes);
    os_allow_cancel(cancel);
    return done;
}

static void write_line(const char *format, va_list arguments)
{
    int saved = errno;
    char line[512];
    size_t length = print_format(line, sizeof(line), "hpmalloc: ");
    length += print_format_list(line + length, sizeof(line) - 1 - length, format, arguments);
    line[length++] = '\n';
    if (!is_mute)
        print_write_all(STDERR_FILENO, line, length);
    errno = saved;
}

void print_line(const char *format, ...)
{
    if (is_quiet)
        return;
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
}

void print_ready_line(const char *line)
{
    int saved = errno;
    if (!is_quiet && !is_mute)
        print_write_all(STDERR_FILENO, line, strlen(line));
    errno = saved;
}

void print_init(void)
{
    int saved = errno;
    is_mute = fcntl(STDERR_FILENO, F_GETFD) < 0;
    errno = saved;
}

void print_set_quiet(bool quiet)
{
    is_quiet = quiet;
}

bool print_has_stderr(void)
{
    return !is_mute;
}

bool print_is_heard(void)
{
    return !is_quiet && !is_mute;
}

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
    abort();
}
