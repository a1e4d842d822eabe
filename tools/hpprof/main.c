#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hpmalloc.h"
#include "hpprof.h"

struct command {
    const char *name, *summary;
    int (*run)(int count, char **arguments);
};

static const struct command commands[] = {
    {"run", "run a program under hpmalloc", command_run},
    {"dump", "ask a running process for a profile", command_dump},
    {"watch", "what a running program holds, live in the terminal", command_watch},
    {"top", "what holds memory, by function", command_top},
    {"tree", "each function between its callers and callees", command_tree},
    {"peek", "the same for functions of a name", command_peek},
    {"list", "source lines with what they allocated", command_list},
    {"diff", "what changed from one profile to another", command_diff},
    {"leaks", "leak or not, from several profiles in time", command_leaks},
    {"convert", "a profile from one format to another", command_convert},
    {"merge", "add profiles up", command_merge},
    {"symbolize", "add names and lines to a profile", command_symbolize},
    {"flame", "a flame graph, as SVG", command_flame},
    {"report", "one or more profiles as a page for the browser", command_report},
    {"doctor", "why a process gives no profile, or poor stacks", command_doctor},
    {"options", "list the options of the library", command_options},
};

static int say(int status, const char *ending, const char *format, va_list arguments)
{
    fflush(stdout);
    fputs("hpprof: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs(ending, stderr);
    return status;
}

int failed(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int status = say(STATUS_FAILED, "\n", format, arguments);
    va_end(arguments);
    return status;
}

int misused(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int status = say(STATUS_MISUSED, "; see --help\n", format, arguments);
    va_end(arguments);
    return status;
}

bool is_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

const char *option_variable(const struct option *option, char *buffer, size_t size)
{
    snprintf(buffer, size, "HPMALLOC_%s", option->name);
    return buffer;
}

static int help(void)
{
    puts("Usage: hpprof COMMAND [ARGUMENTS]\n");
    for (size_t i = 0; i < array_count(commands); i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    puts("\n  --version  print the version\n"
         "  --help     this text; after a command, that command's\n\n"
         "Example: hpprof run --dump-at-exit 1 -- sort --parallel=4 words.txt\n\n"
         "Exit status: 0 done, 1 could not, 2 called wrongly.");
    return STATUS_DONE;
}

static int run(int count, char **arguments)
{
    if (count < 2)
        return misused("no command");
    if (is_help(arguments[1]))
        return help();
    if (strcmp(arguments[1], "--version") == 0)
        return printf("hpprof %s\n", HPM_VERSION) > 0 ? STATUS_DONE : STATUS_FAILED;
    for (size_t i = 0; i < array_count(commands); i++) {
        if (strcmp(arguments[1], commands[i].name) == 0)
            return commands[i].run(count - 1, arguments + 1);
    }
    return misused("there is no command '%s'", arguments[1]);
}

/* What failed on the way, as with much output, does not fail again at the end. */
int main(int count, char **arguments)
{
    int status = run(count, arguments);
    bool is_written = fflush(stdout) == 0 && !ferror(stdout);
    return is_written || status != STATUS_DONE ? status : failed("the output could not be written");
}
