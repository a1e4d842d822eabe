/* A terminal that is drawn on: its second screen, keys one by one, and all as it was afterwards,
 * whatever ends us.
 *
 *   watch  --text-->  screen  --escapes-->  terminal
 *
 * Signals: TSTP gives the terminal back meanwhile, CONT takes it again. INT, TERM, HUP and QUIT are
 * only noted, the second of them ends us at once. All of them interrupt a poll. */
#ifndef HPPROF_SCREEN_H
#define HPPROF_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

struct screen_size {
    unsigned columns, rows;
};

/* Notes signals from here on; `live`: takes the terminal. */
void screen_open(bool live);
void screen_close(void);

/* Whether stdout is a terminal that understands escapes. */
bool screen_is_there(void);

/* Of the terminal; 80 x 24 when it does not say. */
struct screen_size screen_size(void);

/* The signal that is to end us, or 0. */
int screen_signal(void);

/* True once after each time that what is shown is out of date. */
bool screen_is_stale(void);

/* Lines, of which each is cut where the terminal ends; the text has no escapes but for style's. */
void screen_draw(const char *text);

/* Whether stdin is to be polled for keys. */
bool screen_has_keys(void);

/* A key that was typed, or 0; -1: there will be no more. Waits for none. */
int screen_key(void);

/* Whether the terminal's characters are UTF-8, by LC_ALL, LC_CTYPE or LANG. */
bool screen_has_utf8(void);

/* Columns that a character takes: 0, 1 or 2. */
unsigned screen_width(const char *text, unsigned length);

#endif
