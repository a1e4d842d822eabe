#include <stdio.h>
#include <string.h>

#include "hpprof.h"

static const char help[] =
    "Usage: hpprof options [--json | --man]\n"
    "\n"
    "Lists the options of the library: environment variables, with defaults in brackets. `hpprof\n"
    "run` takes each as --sample-interval and so on.\n"
    "\n"
    "  --json  the same for scripts\n"
    "  --man   the same as the section of hpmalloc(3)\n"
    "\n"
    "Example: hpprof options | grep -A 2 SIGNAL\n";

static const char *initial_of(const struct option *option)
{
    return option->initial != NULL ? option->initial : "none";
}

static void put_text(const struct option *option, const char *variable)
{
    printf("%s [%s]\n    %s\n    takes %s\n", variable, initial_of(option), option->help,
           option->accepted);
}

/* No text of the table holds what JSON would want escaped but quotes and backslashes. */
static void put_json_string(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
    putchar('"');
}

static void put_json_field(const char *name, const char *text, const char *ending)
{
    printf("\"%s\": ", name);
    if (text != NULL)
        put_json_string(text);
    else
        fputs("null", stdout);
    fputs(ending, stdout);
}

static void put_json(const struct option *option, const char *variable)
{
    fputs(option == option_table ? "[\n {" : ",\n {", stdout);
    put_json_field("variable", variable, ", ");
    put_json_field("default", option->initial, ", ");
    put_json_field("accepted", option->accepted, ", ");
    put_json_field("help", option->help, "}");
    if (option == &option_table[OPTION_COUNT - 1])
        puts("\n]");
}

/* A hyphen that is to be typed, and a backslash, are written out; so is a point that begins a
 * line, which none of the texts does. */
static void put_roff(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '-' || *text == '\\')
            putchar('\\');
        putchar(*text == '\\' ? 'e' : *text);
    }
}

static void put_man(const struct option *option, const char *variable)
{
    printf(".TP\n.BR %s \" [", variable);
    put_roff(initial_of(option));
    fputs("]\"\n", stdout);
    put_roff(option->help);
    fputs(".\nTakes ", stdout);
    put_roff(option->accepted);
    fputs(".\n", stdout);
}

static int put_all(void (*put)(const struct option *, const char *))
{
    char variable[64];
    for (size_t i = 0; i < OPTION_COUNT; i++)
        put(&option_table[i], option_variable(&option_table[i], variable, sizeof(variable)));
    return STATUS_DONE;
}

int command_options(int count, char **arguments)
{
    if (count == 1)
        return put_all(put_text);
    if (count > 2)
        return misused("options: takes one argument at most");
    if (is_help(arguments[1]))
        return fputs(help, stdout) >= 0 ? STATUS_DONE : STATUS_FAILED;
    if (strcmp(arguments[1], "--json") == 0)
        return put_all(put_json);
    if (strcmp(arguments[1], "--man") == 0)
        return put_all(put_man);
    return misused("options: '%s' is not known", arguments[1]);
}
