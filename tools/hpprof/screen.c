#define _GNU_SOURCE
#include "screen.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/base.h"
#include "style.h"

static const char enter[] = "\033[?1049h\033[?25l\033[2J"; // second screen, no cursor, empty
static const char leave[] = "\033[0m\033[?25h\033[?1049l";

static struct {
    bool is_live, has_keys;
    volatile sig_atomic_t is_shown, is_stale, signal;
    struct termios before;
} screen;

/* In handlers too: nothing can be done about a terminal that takes no more. */
static void put(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t count = write(STDOUT_FILENO, text, length);
        if (count < 0 && errno != EINTR)
            return;
        text += count > 0 ? count : 0;
        length -= count > 0 ? (size_t)count : 0;
    }
}

static void show(void)
{
    struct termios raw = screen.before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    if (screen.has_keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    put(enter, sizeof(enter) - 1);
    screen.is_shown = screen.is_stale = 1;
}

static void hide(void)
{
    if (!screen.is_shown)
        return;
    put(leave, sizeof(leave) - 1);
    if (screen.has_keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &screen.before);
    screen.is_shown = 0;
}

static void note_end(int number)
{
    int saved = errno;
    if (screen.signal != 0) {
        hide();
        _exit(128 + number);
    }
    screen.signal = number;
    errno = saved;
}

static void note_size(int number)
{
    (void)number;
    screen.is_stale = 1;
}

static void set_handler(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

static void stop(int number)
{
    int saved = errno;
    sigset_t only;
    hide();
    /* By the signal itself, so that what may not be stopped is not. */
    set_handler(number, SIG_DFL);
    sigemptyset(&only);
    sigaddset(&only, number);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &only, NULL);
    set_handler(number, stop);
    if (screen.is_live && !screen.is_shown)
        show();
    errno = saved;
}

/* After a SIGSTOP, which cannot be noted, the terminal may be the shell's way. */
static void go_on(int number)
{
    int saved = errno;
    (void)number;
    if (screen.is_live && screen.is_shown)
        show();
    errno = saved;
}

void screen_open(bool live)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    screen.is_live = live;
    screen.has_keys = live && isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &screen.before) == 0;
    for (size_t i = 0; i < array_count(ends); i++) {
        struct sigaction before;
        if (sigaction(ends[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            set_handler(ends[i], note_end);
    }
    if (!live)
        return;
    set_handler(SIGWINCH, note_size);
    set_handler(SIGTSTP, stop);
    set_handler(SIGCONT, go_on);
    show();
}

void screen_close(void)
{
    hide();
    screen.is_live = false;
}

bool screen_is_there(void)
{
    const char *terminal = getenv("TERM");
    return isatty(STDOUT_FILENO) && terminal != NULL && *terminal != '\0' &&
           strcmp(terminal, "dumb") != 0;
}

struct screen_size screen_size(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        return (struct screen_size){80, 24};
    return (struct screen_size){size.ws_col, size.ws_row};
}

int screen_signal(void)
{
    return screen.signal;
}

bool screen_is_stale(void)
{
    bool is_stale = screen.is_stale;
    screen.is_stale = 0;
    return is_stale;
}

bool screen_has_utf8(void)
{
    static const char *const variables[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < array_count(variables); i++) {
        const char *value = getenv(variables[i]);
        if (value != NULL && *value != '\0')
            return strcasestr(value, "UTF-8") != NULL || strcasestr(value, "UTF8") != NULL;
    }
    return false;
}

static uint32_t code_of(const char *text, unsigned length)
{
    static const unsigned char first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = (unsigned char)text[0] & first_bits[length];
    for (unsigned i = 1; i < length; i++)
        code = code << 6 | ((unsigned char)text[i] & 0x3f);
    return code;
}

unsigned screen_width(const char *text, unsigned length)
{
    static const struct {
        uint32_t first, last, width;
    } ranges[] = {
        {0x300, 0x36f, 0},     {0x200b, 0x200f, 0}, {0xfe00, 0xfe0f, 0},   {0x1100, 0x115f, 2},
        {0x2e80, 0xa4cf, 2},   {0xac00, 0xd7a3, 2}, {0xf900, 0xfaff, 2},   {0xfe30, 0xfe6f, 2},
        {0xff00, 0xff60, 2},   {0xffe0, 0xffe6, 2}, {0x1f300, 0x1f64f, 2}, {0x1f900, 0x1f9ff, 2},
        {0x20000, 0x3fffd, 2},
    };
    uint32_t code = code_of(text, length);
    for (size_t i = 0; i < array_count(ranges); i++) {
        if (code >= ranges[i].first && code <= ranges[i].last)
            return ranges[i].width;
    }
    return 1;
}

/* Of what style_text has put there; 0: none. */
static size_t style_bytes(const char *text)
{
    if (text[0] != '\033' || text[1] != '[')
        return 0;
    size_t digits = strspn(text + 2, "0123456789");
    return text[2 + digits] == 'm' ? digits + 3 : 0;
}

/* One line up to its end, at most so many columns of it. What a terminal would take for a command,
 * or not know, is a question mark. */
static const char *put_line(FILE *out, const char *text, unsigned columns, bool has_utf8)
{
    unsigned used = 0;
    while (*text != '\0' && *text != '\n') {
        size_t style = style_bytes(text);
        if (style != 0) {
            fwrite(text, 1, style, out);
            text += style;
            continue;
        }
        unsigned length = style_character_length(text);
        bool is_plain = length == 1 ? (unsigned char)*text >= ' ' && *text != 0x7f
                                    : length > 1 && has_utf8 && code_of(text, length) >= 0xa0;
        unsigned width = is_plain ? screen_width(text, length) : 1;
        if (used + width <= columns) {
            used += width;
            fwrite(is_plain ? text : "?", 1, is_plain ? length : 1, out);
        } else {
            used = columns;
        }
        text += length != 0 ? length : 1;
    }
    return *text == '\n' ? text + 1 : text;
}

void screen_draw(const char *text)
{
    char *frame = NULL;
    size_t bytes = 0;
    struct screen_size size = screen_size();
    bool has_utf8 = screen_has_utf8();
    FILE *out = open_memstream(&frame, &bytes);
    if (out == NULL)
        return;
    fputs("\033[H", out);
    for (unsigned row = 0; row < size.rows && *text != '\0'; row++) {
        fputs(row > 0 ? "\r\n" : "", out);
        text = put_line(out, text, size.columns, has_utf8);
        fputs("\033[0m\033[K", out);
    }
    fputs("\033[J", out);
    if (fclose(out) == 0 && screen.is_shown)
        put(frame, bytes);
    free(frame);
}

bool screen_has_keys(void)
{
    return screen.has_keys;
}

int screen_key(void)
{
    unsigned char key;
    if (!screen.has_keys)
        return 0;
    ssize_t count = read(STDIN_FILENO, &key, 1);
    if (count == 1 && key != '\033')
        return key;
    /* An arrow sends ESC, [ or O, and up to a letter or ~; what was typed behind it is another. */
    if (count == 1 && read(STDIN_FILENO, &key, 1) == 1 && (key == '[' || key == 'O')) {
        while (read(STDIN_FILENO, &key, 1) == 1 && (key < '@' || key > '~'))
            ;
    }
    if (count == 1)
        return 0;
    return count < 0 && errno != EINTR && errno != EAGAIN ? -1 : 0;
}
