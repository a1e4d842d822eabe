/* libFuzzer's target for what users write into variables: values, patterns, addresses, tokens.
 * Whatever the text, none beside it is read, a value that is accepted lies in its option's range and
 * means the same when read again, and a pattern matches what fnmatch says it does.
 *
 * An input is a byte that says which option, then text; at a NUL a second text begins. */
#define _GNU_SOURCE
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "report/httpaddress.h"
#include "report/httptoken.h"

static void fail(const char *what, const char *text)
{
    fprintf(stderr, "ERROR: %s: %s\n", what, text);
    abort();
}

static bool is_number(const struct option *option)
{
    return option->kind == OPTION_BYTES || option->kind == OPTION_WHOLE ||
           option->kind == OPTION_SHARE || option->kind == OPTION_TIME;
}

static void try_option(const struct option *option, const char *text)
{
    uint64_t number = 0, again = 0;
    bool is_accepted = option_parse(option, text, &number);
    if (option_parse(option, text, &again) != is_accepted || (is_accepted && number != again))
        fail("it means another thing now", text);
    if (is_accepted && is_number(option) && (number < option->min || number > option->max) &&
        (option->nothing == NULL || number != 0))
        fail("accepted, but out of range", text);
    if (is_accepted && option->kind == OPTION_SWITCH && number > 1)
        fail("a switch is 0 or 1", text);
}

/* fnmatch knows more signs than ours. */
static void try_pattern(const char *pattern, const char *text)
{
    bool matches = option_pattern_matches(pattern, text);
    if (strpbrk(pattern, "[\\") == NULL && strspn(pattern, "*") < 8 && strlen(pattern) < 20 &&
        matches != (fnmatch(pattern, text, FNM_NOESCAPE) == 0))
        fail("fnmatch says another thing", pattern);
}

static void try_address(const char *text)
{
    struct http_address address;
    char printed[200];
    if (!httpaddress_parse(&address, text))
        return;
    httpaddress_print(&address, printed, sizeof(printed));
    if (strlen(printed) >= sizeof(printed) || address.socket_bytes > sizeof(address.socket))
        fail("an address without end", text);
}

static void try_token(const char *text, const char *carried)
{
    struct http_token token;
    if (httptoken_set(&token, text, strlen(text)) == 0)
        httptoken_is_carried(&token, (struct http_text){carried, strlen(carried)});
}

/* A block of its own, so that the sanitizer sees a read before it as well as behind it. */
static char *copy(const uint8_t *data, size_t bytes)
{
    char *text = malloc(bytes + 1);
    memcpy(text, data, bytes);
    text[bytes] = '\0';
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 1)
        return 0;
    char *text = copy(input + 1, size - 1);
    size_t length = strlen(text);
    char *second = copy(input + 1 + length, size - 1 - length);
    char *other = length + 1 < size ? second + 1 : second;
    try_option(&option_table[input[0] % OPTION_COUNT], text);
    try_pattern(text, other);
    try_address(text);
    try_token(text, other);
    free(text);
    free(second);
    return 0;
}
