/* Text without malloc, stdio or locale: for lines on stderr, dumps, and last words.
 *
 * Formats understand %s %.*s %c %d %u %x %p %f %% with the length marks l, ll and z, a width,
 * a leading 0 or -, and a precision for %f (0 to 6, default 1).
 * Signal: every call is async-signal-safe. */
#ifndef HPM_BASE_PRINT_H
#define HPM_BASE_PRINT_H

#include <stdarg.h>

#include "base/base.h"

#define HPM_PRINTF(text, first) __attribute__((format(printf, text, first)))

/* Writes at most `size` bytes with the closing NUL; returns the length written. */
size_t print_format(char *buffer, size_t size, const char *format, ...) HPM_PRINTF(3, 4);
size_t print_format_list(char *buffer, size_t size, const char *format, va_list arguments);

/* One line on stderr, "hpmalloc: " before it and a newline after it. Silent once quiet. */
void print_line(const char *format, ...) HPM_PRINTF(1, 2);

/* The same for a line that is whole already, its newline included: where the stack is too small
 * for the buffer of print_line (512 bytes). */
void print_ready_line(const char *line);
void print_set_quiet(bool quiet);

/* Whether lines on stderr are written at all. */
bool print_is_heard(void);

/* Whether there is one: for what is said quiet or not. */
bool print_has_stderr(void);

/* As the program begins: without a stderr now, nothing is ever written to one, for the number will
 * be that of a file the program opens. */
void print_init(void);

/* The program erred or memory is broken: one line, quiet or not, then abort(). */
_Noreturn void die(const char *format, ...) HPM_PRINTF(1, 2);

/* A moment of os_wall_clock_ns in UTC, as 20260102T030405Z; returns the length written. */
size_t print_time(char *buffer, size_t size, uint64_t wall_clock_ns);

/* Writes all of it, through short writes and EINTR. False on an error; errno says which. */
bool print_write_all(int fd, const void *data, size_t bytes);

#endif
