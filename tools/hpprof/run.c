#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hpprof.h"
#include "library.h"
#include "runreport.h"

enum { NAME_BYTES = 64 };

static const char help[] =
    "Usage: hpprof run [OPTIONS] [--] PROGRAM [ARGUMENTS]\n"
    "\n"
    "Runs a program under hpmalloc: sets the environment and LD_PRELOAD, and becomes the program.\n"
    "\n"
    "  --library PATH  the library to preload (default: the one that came with hpprof)\n"
    "  --report FILE   waits for the program, and writes FILE, a page for the browser, of what it\n"
    "                  held each second (--dump-every says otherwise), or at its end: what leaks,\n"
    "                  and where\n"
    "  --progress      waits for the program, and shows on the terminal how long it runs, what is\n"
    "                  live and how many samples were taken; --report does so too\n";

static const char example[] =
    "\n"
    "Programs that run with raised privileges (setuid) or are linked statically cannot be\n"
    "preloaded.\n"
    "\n"
    "Example: hpprof run --sample-interval 64k --dump-at-exit 1 -- python3 script.py\n";

/* As the option is typed: `--sample-interval`. */
static const char *argument_of(const struct option *option, char *buffer)
{
    size_t at = (size_t)snprintf(buffer, NAME_BYTES, "--%s", option->name);
    for (char *c = buffer; at > 0; at--, c++)
        *c = *c == '_' ? '-' : (char)tolower((unsigned char)*c);
    return buffer;
}

static int print_help(void)
{
    char name[NAME_BYTES];
    fputs(help, stdout);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        printf("  %s VALUE\n                  %s\n", argument_of(&option_table[i], name),
               option_table[i].help);
    fputs(example, stdout);
    return STATUS_DONE;
}

/* The value of `--name value` or `--name=value` at *at, which then is its last argument; NULL when
 * the argument has another name. A value that is missing is an empty one. */
static const char *value_of(const char *name, int count, char **arguments, int *at)
{
    size_t length = strlen(name);
    const char *argument = arguments[*at];
    if (strncmp(argument, name, length) != 0)
        return NULL;
    if (argument[length] == '=')
        return argument + length + 1;
    if (argument[length] != '\0')
        return NULL;
    return *at + 1 < count ? arguments[++*at] : "";
}

static int set_option(const struct option *option, const char *name, const char *value)
{
    char variable[NAME_BYTES];
    uint64_t number;
    if (value[0] == '\0')
        return misused("run: %s needs a value", name);
    if (!option_parse(option, value, &number))
        return misused("run: %s %.80s is not accepted, it takes %s", name, value, option->accepted);
    if (setenv(option_variable(option, variable, sizeof(variable)), value, 1) != 0)
        return failed("no memory");
    return STATUS_DONE;
}

struct choices {
    const char *library, *report; // or NULL
    bool progress;
};

static int take_path(const char *name, const char *value, const char **path)
{
    *path = value;
    return value[0] != '\0' ? STATUS_DONE : misused("run: %s needs a path", name);
}

static int take_argument(int count, char **arguments, int *at, struct choices *choices)
{
    char name[NAME_BYTES];
    const char *argument = arguments[*at];
    const char *value = value_of("--library", count, arguments, at);
    if (value != NULL)
        return take_path("--library", value, &choices->library);
    value = value_of("--report", count, arguments, at);
    if (value != NULL)
        return take_path("--report", value, &choices->report);
    if (strcmp(argument, "--progress") == 0) {
        choices->progress = true;
        return STATUS_DONE;
    }
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        value = value_of(argument_of(&option_table[i], name), count, arguments, at);
        if (value != NULL)
            return set_option(&option_table[i], name, value);
    }
    return misused("run: '%s' is not known", argument);
}

static int set_preload(const char *library)
{
    char found[PATH_MAX];
    const char *before = getenv("LD_PRELOAD");
    char *value;
    if (library == NULL) {
        library = library_find(found);
        if (library == NULL)
            return failed("libhpmalloc.so is not where hpprof was installed with it; name it with "
                          "--library");
    } else if (realpath(library, found) == NULL || access(found, R_OK) != 0) {
        return failed("%s: %s", library, strerror(errno));
    } else {
        library = found;
    }
    if (strpbrk(library, " :") != NULL)
        return failed("%s: LD_PRELOAD takes no path with a space or a colon", library);
    bool has_before = before != NULL && before[0] != '\0';
    if (asprintf(&value, "%s%s%s", library, has_before ? ":" : "", has_before ? before : "") < 0 ||
        setenv("LD_PRELOAD", value, 1) != 0)
        return failed("no memory");
    free(value);
    return STATUS_DONE;
}

static int become(char **arguments, const char *library)
{
    int status = set_preload(library);
    if (status != STATUS_DONE)
        return status;
    execvp(arguments[0], arguments);
    return failed("%s: %s", arguments[0], strerror(errno));
}

int command_run(int count, char **arguments)
{
    struct choices choices = {0};
    int at = 1;
    for (; at < count && arguments[at][0] == '-'; at++) {
        if (strcmp(arguments[at], "--") == 0) {
            at++;
            break;
        }
        if (is_help(arguments[at]))
            return print_help();
        int status = take_argument(count, arguments, &at, &choices);
        if (status != STATUS_DONE)
            return status;
    }
    if (at >= count)
        return misused("run: no program to run");
    if (choices.report != NULL || choices.progress)
        return runreport(arguments + at, choices.library, choices.report, become);
    return become(arguments + at, choices.library);
}
