/* How output looks: colour on a terminal only, JSON for scripts. */
#ifndef HPPROF_STYLE_H
#define HPPROF_STYLE_H

#include <stdbool.h>
#include <stdint.h>

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_RED, STYLE_GREEN, STYLE_YELLOW };

/* What switches to a style on stdout: "" where that is no terminal, or NO_COLOR is set. */
const char *style_text(enum style style);

/* Bytes of the UTF-8 character that text begins with, 0 when it is none. */
unsigned style_character_length(const char *text);

/* One JSON value after another, with commas where they belong. A key is NULL inside a list. */
void json_open(const char *key, char bracket);
void json_close(char bracket);
void json_text(const char *key, const char *text);
void json_number(const char *key, int64_t number);
void json_bool(const char *key, bool is_true);
void json_real(const char *key, double number); // null where it is none

#endif
