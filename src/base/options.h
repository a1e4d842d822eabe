/* The options: one table that feeds the parser, the range check, `hpprof options` and the man
 * page. An option's variable is HPMALLOC_ and its name.
 *
 * A bad value costs one line on stderr, and the default stands. Everything is ignored in a program
 * that runs with raised privileges. */
#ifndef HPM_BASE_OPTIONS_H
#define HPM_BASE_OPTIONS_H

#include "base/base.h"

enum option_id {
    OPTION_SAMPLE_INTERVAL,
    OPTION_SAMPLE_BUDGET,
    OPTION_DUMP_SIGNAL,
    OPTION_DUMP_PATH,
    OPTION_DUMP_FORMAT,
    OPTION_DUMP_PROFILE,
    OPTION_DUMP_LABELS,
    OPTION_DUMP_AT_EXIT,
    OPTION_DUMP_EVERY,
    OPTION_DUMP_ON_GROWTH,
    OPTION_DUMP_ON_LIMIT,
    OPTION_DUMP_KEEP,
    OPTION_HTTP,
    OPTION_HTTP_TOKEN_FILE,
    OPTION_HTTP_TTL,
    OPTION_SYMBOLIZE,
    OPTION_HEAP_LIMIT,
    OPTION_RELEASE,
    OPTION_THP,
    OPTION_PROGRAM,
    OPTION_HARDENED,
    OPTION_GUARD,
    OPTION_STATS,
    OPTION_RECORD,
    OPTION_QUIET,
    OPTION_COUNT
};

enum option_kind {
    OPTION_BYTES,        // number: bytes
    OPTION_WHOLE,        // number: itself
    OPTION_SHARE,        // number: percent
    OPTION_EVERY,        // number: bytes, or with OPTION_EVERY_TIME in it, nanoseconds
    OPTION_SWITCH,       // number: 0 or 1
    OPTION_SIGNAL,       // number: the signal, 0 for none
    OPTION_CHOICE,       // number: index into choices
    OPTION_SET,          // number: bit mask over choices
    OPTION_RELEASE_TIME, // number: nanoseconds; 0 now; UINT64_MAX never
    OPTION_TIME,         // number: nanoseconds
    OPTION_TEXT,         // text only
};

struct option {
    const char *name;     // without HPMALLOC_
    const char *initial;  // as a user would write it; NULL: none
    const char *accepted; // what a value may be, for errors and the manual
    const char *help;
    const char *nothing; // a word for 0, which the range does not hold for then; NULL: none
    const char *choices; // words between spaces, for OPTION_CHOICE and OPTION_SET
    enum option_kind kind;
    uint64_t min, max;
};

#define OPTION_EVERY_TIME ((uint64_t)1 << 63)

extern const struct option option_table[OPTION_COUNT];

/* Reads the environment. Called once, before any value is asked for by another room; until then
 * every number is 0 and every text NULL. Values are copied: the program may change its environment.
 */
void options_init(void);

uint64_t option_number(enum option_id id);
const char *option_text(enum option_id id); // as written; NULL when unset and without default
bool option_was_refused(enum option_id id); // the environment had a value that is not accepted

/* Parses one value as the environment would be: false when it is not accepted. */
bool option_parse(const struct option *option, const char *text, uint64_t *number);

/* What HPMALLOC_HARDENED says, for who cannot wait for options_init. Silent. */
bool options_want_hardened(void);

/* Whether HPMALLOC_PROGRAM (`*` and `?` stand for any text and any character) names this program
 * (NULL: the running one); true when it is unset. Others that inherit the environment are
 * allocated for, quietly: options_init silences print where it does not match. */
bool options_program_matches(const char *program_name);

/* As HPMALLOC_PROGRAM's value is held against a name. */
bool option_pattern_matches(const char *pattern, const char *text);

/* Choices of OPTION_DUMP_FORMAT and OPTION_DUMP_PROFILE, in the table's order. */
enum { DUMP_FORMAT_PPROF, DUMP_FORMAT_TEXT, DUMP_FORMAT_LEGACY, DUMP_FORMAT_COLLAPSED };
enum {
    DUMP_PROFILE_HEAP,
    DUMP_PROFILE_ALLOCS,
    DUMP_PROFILE_PEAK,
    DUMP_PROFILE_LIFETIME,
    DUMP_PROFILE_PINNED,
};
enum { STATS_OFF, STATS_TEXT, STATS_JSON };
enum { DUMP_LABEL_AGE, DUMP_LABEL_THREAD }; // of OPTION_DUMP_LABELS
enum { SYMBOLIZE_AUTO, SYMBOLIZE_ON, SYMBOLIZE_OFF };

#endif
