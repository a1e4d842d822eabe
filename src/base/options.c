#define _GNU_SOURCE
#include "base/options.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/print.h"

#define SECOND_NS         1000000000u
#define TRIGGER_MAX_BYTES (1024 * TiB)

const struct option option_table[OPTION_COUNT] = {
    [OPTION_SAMPLE_INTERVAL] = {.name = "SAMPLE_INTERVAL",
                                .kind = OPTION_BYTES,
                                .max = 1 * TiB,
                                .initial = "512k",
                                .accepted =
                                    "a number of bytes up to 1t, with k, m, g or t behind it",
                                .help = "mean bytes between samples; 0 turns profiling off"},
    [OPTION_SAMPLE_BUDGET] = {.name = "SAMPLE_BUDGET",
                              .kind = OPTION_SHARE,
                              .min = 1,
                              .max = 100,
                              .nothing = "off",
                              .initial = "5%",
                              .accepted = "a share from 1% to 100%, or off",
                              .help = "share of the processor time that sampling may take; past it "
                                      "the interval is widened, and dumps say so"},
    [OPTION_DUMP_SIGNAL] = {.name = "DUMP_SIGNAL",
                            .kind = OPTION_SIGNAL,
                            .initial = "USR2",
                            .accepted = "a signal's name or number, RTMIN+n, or none",
                            .help = "signal that dumps: name or number, USR2, RTMIN+3, none. A "
                                    "handler of the program's own is never replaced"},
    [OPTION_DUMP_PATH] = {.name = "DUMP_PATH",
                          .kind = OPTION_TEXT,
                          .initial = "hpmalloc.%e.%p.%n",
                          .accepted = "a path of at most 4000 characters",
                          .help = "where dumps go; %e program, %p pid, %n sequence, %r reason, %t "
                                  "UTC time, %h host; the ending comes from the format unless the "
                                  "pattern has one"},
    [OPTION_DUMP_FORMAT] = {.name = "DUMP_FORMAT",
                            .kind = OPTION_SET,
                            .choices = "pprof text legacy collapsed",
                            .initial = "pprof",
                            .accepted = "pprof, text, legacy, collapsed, or several with commas",
                            .help = "pprof (.pb.gz), text (.txt, for reading), legacy (.heap, for "
                                    "google-pprof and jeprof), collapsed (.folded, for flame "
                                    "graphs); several with commas"},
    [OPTION_DUMP_PROFILE] = {.name = "DUMP_PROFILE",
                             .kind = OPTION_SET,
                             .choices = "heap allocs peak lifetime pinned",
                             .initial = "heap",
                             .accepted = "heap, allocs, peak, lifetime, pinned, or several "
                                         "with commas",
                             .help = "heap (what is live), allocs (what was ever allocated), peak "
                                     "(what was live when live bytes stood highest), lifetime "
                                     "(how long objects lived), pinned (free memory that "
                                     "cannot go back, by who holds it); several with commas"},
    [OPTION_DUMP_LABELS] = {.name = "DUMP_LABELS",
                            .kind = OPTION_SET,
                            .choices = "age thread",
                            .nothing = "none",
                            .initial = "none",
                            .accepted = "none, age, thread, or both with a comma",
                            .help = "more labels in pprof files: age (median and oldest of a "
                                    "stack's live memory, and how much of it is suspected of a "
                                    "leak), thread (name of the one that allocated, also in text)"},
    [OPTION_DUMP_AT_EXIT] = {.name = "DUMP_AT_EXIT",
                             .kind = OPTION_SWITCH,
                             .initial = "0",
                             .accepted = "0 or 1",
                             .help = "dump when the program ends normally"},
    [OPTION_DUMP_EVERY] = {.name = "DUMP_EVERY",
                           .kind = OPTION_EVERY,
                           .nothing = "off",
                           .initial = "off",
                           .accepted = "bytes from 64k such as 500m or 4g, a time from 100ms such "
                                       "as 60s, 5min or 1h, or off",
                           .help = "dump each time this much was allocated (4g) or this much time "
                                   "went by (60s); m is MiB, min are minutes"},
    [OPTION_DUMP_ON_GROWTH] = {.name = "DUMP_ON_GROWTH",
                               .kind = OPTION_BYTES,
                               .min = 64 * KiB,
                               .max = TRIGGER_MAX_BYTES,
                               .nothing = "off",
                               .initial = "off",
                               .accepted = "a number of bytes from 64k, with k, m, g or t behind "
                                           "it, or off",
                               .help = "dump when live bytes rise this far above the last dump's"},
    [OPTION_DUMP_ON_LIMIT] = {.name = "DUMP_ON_LIMIT",
                              .kind = OPTION_SHARE,
                              .min = 1,
                              .max = 100,
                              .nothing = "off",
                              .initial = "off",
                              .accepted = "a share from 1% to 100%, or off",
                              .help = "dump when memory use passes this share of the cgroup's or "
                                      "HPMALLOC_HEAP_LIMIT's limit (90%)"},
    [OPTION_DUMP_KEEP] = {.name = "DUMP_KEEP",
                          .kind = OPTION_WHOLE,
                          .min = 1,
                          .max = 10000,
                          .nothing = "all",
                          .initial = "all",
                          .accepted = "a number from 1 to 10000, or all",
                          .help = "keep the newest N dump files of this process"},
    [OPTION_HTTP] = {.name = "HTTP",
                     .kind = OPTION_TEXT,
                     .accepted = "an address of at most 4000 characters",
                     .help = "serve profiles at 127.0.0.1:6060, [::1]:6060 or unix:/path (%e "
                             "program, %p pid); another machine's address needs a token"},
    [OPTION_HTTP_TOKEN_FILE] = {.name = "HTTP_TOKEN_FILE",
                                .kind = OPTION_TEXT,
                                .accepted = "a path of at most 4000 characters",
                                .help = "file with the bearer token that every request must "
                                        "carry"},
    [OPTION_HTTP_TTL] = {.name = "HTTP_TTL",
                         .kind = OPTION_TIME,
                         .min = SECOND_NS / 10,
                         .max = 365 * 24 * 3600 * (uint64_t)SECOND_NS,
                         .nothing = "none",
                         .initial = "none",
                         .accepted = "a time from 100ms such as 30s, 10m or 8h, or none",
                         .help = "stop serving after this time"},
    [OPTION_SYMBOLIZE] = {.name = "SYMBOLIZE",
                          .kind = OPTION_CHOICE,
                          .choices = "auto on off",
                          .initial = "auto",
                          .accepted = "auto, on or off",
                          .help = "put function names into dumps"},
    [OPTION_HEAP_LIMIT] = {.name = "HEAP_LIMIT",
                           .kind = OPTION_BYTES,
                           .min = 1 * MiB,
                           .max = TRIGGER_MAX_BYTES,
                           .nothing = "none",
                           .initial = "none",
                           .accepted = "a number of bytes from 1m, with k, m, g or t behind it, or "
                                       "none",
                           .help = "past it malloc returns NULL with ENOMEM"},
    [OPTION_RELEASE] = {.name = "RELEASE",
                        .kind = OPTION_RELEASE_TIME,
                        .max = 24 * 3600 * (uint64_t)SECOND_NS,
                        .initial = "10s",
                        .accepted = "a time up to 24h such as 500ms, 10s or 5m, or now, or never",
                        .help = "how freed memory goes back: after a time of decay, now, or never"},
    [OPTION_THP] = {.name = "THP",
                    .kind = OPTION_CHOICE,
                    .choices = "auto on off",
                    .initial = "auto",
                    .accepted = "auto, on or off",
                    .help = "transparent huge pages: for small blocks once the heap is large, for "
                            "all memory, or none"},
    [OPTION_PROGRAM] = {.name = "PROGRAM",
                        .kind = OPTION_TEXT,
                        .accepted = "a pattern of at most 4000 characters",
                        .help = "dump, serve and print only in programs whose name matches this "
                                "pattern (redis-*)"},
    [OPTION_HARDENED] = {.name = "HARDENED",
                         .kind = OPTION_SWITCH,
                         .initial = "0",
                         .accepted = "0 or 1",
                         .help = "1 turns on every check of the program's use of memory, at a "
                                 "price in time and memory; 0 keeps those that cost nothing"},
    [OPTION_GUARD] = {.name = "GUARD",
                      .kind = OPTION_WHOLE,
                      .min = 1,
                      .max = 1000000000,
                      .nothing = "off",
                      .initial = "off",
                      .accepted = "a number from 1 to 1000000000, or off",
                      .help = "put one in N samples between guard pages, where what is done beside "
                              "it or after it was freed ends the program with a report"},
    [OPTION_STATS] = {.name = "STATS",
                      .kind = OPTION_CHOICE,
                      .choices = "off text json",
                      .initial = "off",
                      .accepted = "text, json or off",
                      .help = "print statistics on stderr when the program ends normally"},
    [OPTION_RECORD] = {.name = "RECORD",
                       .kind = OPTION_TEXT,
                       .accepted = "a path of at most 4000 characters",
                       .help = "keep the live-sample table in this file (%e program, %p pid), "
                               "readable after a crash: hpprof dump --record FILE"},
    [OPTION_QUIET] = {.name = "QUIET",
                      .kind = OPTION_SWITCH,
                      .initial = "0",
                      .accepted = "0 or 1",
                      .help = "no lines on stderr, but for a detected memory error"},
};

enum { TEXT_MAX = 4000 };

static struct {
    uint64_t numbers[OPTION_COUNT];
    const char *texts[OPTION_COUNT];
    bool were_refused[OPTION_COUNT];
    char kept[8 * TEXT_MAX]; // what the environment said, one text after the other
    size_t kept_bytes;
} values;

struct word {
    const char *text;
    uint64_t value;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_same_word(const char *word, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (word[i] == '\0' || lower(word[i]) != lower(text[i]))
            return false;
    }
    return word[length] == '\0';
}

static const struct word *find_word(const struct word *words, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++) {
        if (is_same_word(words[i].text, text, strlen(text)))
            return &words[i];
    }
    return NULL;
}

/* Reads digits and moves past them. False: there are none, or too many. */
static bool take_digits(const char **text, uint64_t *number)
{
    if (!is_digit(**text))
        return false;
    *number = 0;
    for (; is_digit(**text); (*text)++) {
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(**text - '0'), number))
            return false;
    }
    return true;
}

static bool parse_scaled(const char *text, const struct word *units, size_t count, uint64_t *number)
{
    if (!take_digits(&text, number))
        return false;
    const struct word *unit = find_word(units, count, text);
    return unit != NULL && !__builtin_mul_overflow(*number, unit->value, number);
}

static bool parse_bytes(const char *text, uint64_t *number)
{
    static const struct word units[] = {{"", 1}, {"k", KiB}, {"m", MiB}, {"g", GiB}, {"t", TiB}};
    return parse_scaled(text, units, array_count(units), number);
}

static bool parse_time(const char *text, uint64_t *number)
{
    static const struct word units[] = {{"ms", SECOND_NS / 1000},
                                        {"s", SECOND_NS},
                                        {"m", 60 * (uint64_t)SECOND_NS},
                                        {"h", 3600 * (uint64_t)SECOND_NS}};
    return parse_scaled(text, units, array_count(units), number);
}

static bool parse_whole(const char *text, uint64_t *number)
{
    return take_digits(&text, number) && *text == '\0';
}

static bool parse_share(const char *text, uint64_t *number)
{
    return take_digits(&text, number) && text[0] == '%' && text[1] == '\0';
}

/* `m` would be both: it is MiB, and minutes are `min`. */
static bool parse_every(const char *text, uint64_t *number)
{
    static const struct word times[] = {{"ms", SECOND_NS / 1000},
                                        {"s", SECOND_NS},
                                        {"min", 60 * (uint64_t)SECOND_NS},
                                        {"h", 3600 * (uint64_t)SECOND_NS}};
    if (parse_bytes(text, number))
        return *number >= 64 * KiB && *number <= TRIGGER_MAX_BYTES;
    if (!parse_scaled(text, times, array_count(times), number) || *number < SECOND_NS / 10 ||
        *number > 365 * 24 * 3600 * (uint64_t)SECOND_NS)
        return false;
    *number |= OPTION_EVERY_TIME;
    return true;
}

static bool parse_switch(const char *text, uint64_t *number)
{
    *number = text[0] == '1';
    return (text[0] == '0' || text[0] == '1') && text[1] == '\0';
}

/* Not KILL and STOP, which cannot be caught, nor what libc keeps for itself below SIGRTMIN. */
static bool is_usable_signal(uint64_t number)
{
    return number > 0 && number <= (uint64_t)SIGRTMAX && number != SIGKILL && number != SIGSTOP &&
           (number < 32 || number >= (uint64_t)SIGRTMIN);
}

static bool parse_realtime_signal(const char *text, uint64_t *number)
{
    uint64_t steps = 0;
    if (!is_same_word("RTMIN", text, 5))
        return false;
    text += 5;
    if (*text == '+') {
        text++;
        if (!take_digits(&text, &steps))
            return false;
    }
    *number = (uint64_t)SIGRTMIN + steps;
    return *text == '\0' && steps < 64 && is_usable_signal(*number);
}

static bool parse_signal(const char *text, uint64_t *number)
{
    static const struct word names[] = {
        {"none", 0},       {"HUP", SIGHUP},   {"INT", SIGINT},     {"QUIT", SIGQUIT},
        {"TRAP", SIGTRAP}, {"ABRT", SIGABRT}, {"USR1", SIGUSR1},   {"USR2", SIGUSR2},
        {"PIPE", SIGPIPE}, {"ALRM", SIGALRM}, {"TERM", SIGTERM},   {"CHLD", SIGCHLD},
        {"CONT", SIGCONT}, {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN},   {"TTOU", SIGTTOU},
        {"URG", SIGURG},   {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},   {"VTALRM", SIGVTALRM},
        {"PROF", SIGPROF}, {"IO", SIGIO},     {"WINCH", SIGWINCH}, {"PWR", SIGPWR},
        {"SYS", SIGSYS},
    };
    if (is_digit(text[0]))
        return take_digits(&text, number) && *text == '\0' && is_usable_signal(*number);
    if (strlen(text) > 3 && is_same_word("SIG", text, 3))
        text += 3;
    const struct word *name = find_word(names, array_count(names), text);
    if (name == NULL)
        return strlen(text) >= 5 && parse_realtime_signal(text, number);
    *number = name->value;
    return true;
}

/* By hand: the C library's strcspn and strncmp bring pages of tables and variants into every small
 * program. */
static size_t length_before(const char *text, char end)
{
    size_t length = 0;
    while (text[length] != '\0' && text[length] != end)
        length++;
    return length;
}

static bool begins_with(const char *text, const char *word, size_t length)
{
    size_t same = 0;
    while (same < length && text[same] == word[same])
        same++;
    return same == length;
}

/* The place of a word among words between spaces. */
static bool find_choice(const char *choices, const char *text, size_t length, uint64_t *index)
{
    for (*index = 0; *choices != '\0'; (*index)++) {
        size_t choice_length = length_before(choices, ' ');
        if (choice_length == length && begins_with(choices, text, length))
            return true;
        choices += choice_length;
        choices += *choices == ' ';
    }
    return false;
}

static bool parse_set(const char *choices, const char *text, uint64_t *mask)
{
    *mask = 0;
    for (;; text++) {
        uint64_t index;
        size_t length = length_before(text, ',');
        if (!find_choice(choices, text, length, &index))
            return false;
        *mask |= (uint64_t)1 << index;
        text += length;
        if (*text == '\0')
            return true;
    }
}

static bool parse_release(const char *text, uint64_t *number)
{
    static const struct word words[] = {{"0", 0}, {"now", 0}, {"never", UINT64_MAX}};
    const struct word *word = find_word(words, array_count(words), text);
    if (word == NULL)
        return parse_time(text, number);
    *number = word->value;
    return true;
}

static bool is_in_range(const struct option *option, uint64_t number)
{
    if (option->kind == OPTION_RELEASE_TIME && number == UINT64_MAX)
        return true;
    return option->max == 0 || (number >= option->min && number <= option->max);
}

static bool parse_kind(const struct option *option, const char *text, uint64_t *number)
{
    switch (option->kind) {
    case OPTION_BYTES:
        return parse_bytes(text, number);
    case OPTION_WHOLE:
        return parse_whole(text, number);
    case OPTION_SHARE:
        return parse_share(text, number);
    case OPTION_EVERY:
        return parse_every(text, number);
    case OPTION_SWITCH:
        return parse_switch(text, number);
    case OPTION_SIGNAL:
        return parse_signal(text, number);
    case OPTION_CHOICE:
        return find_choice(option->choices, text, strlen(text), number);
    case OPTION_SET:
        return parse_set(option->choices, text, number);
    case OPTION_RELEASE_TIME:
        return parse_release(text, number);
    case OPTION_TIME:
        return parse_time(text, number);
    case OPTION_TEXT:
        *number = 0;
        return strlen(text) <= TEXT_MAX;
    }
    return false;
}

bool option_parse(const struct option *option, const char *text, uint64_t *number)
{
    const struct word nothing[] = {{"0", 0}, {option->nothing, 0}};
    if (option->nothing != NULL && find_word(nothing, array_count(nothing), text) != NULL) {
        *number = 0;
        return true;
    }
    return parse_kind(option, text, number) && is_in_range(option, *number);
}

/* Keeps a copy: the program may change its environment. NULL: it does not fit. */
static const char *keep(const char *text)
{
    size_t bytes = strlen(text) + 1;
    if (bytes > sizeof(values.kept) - values.kept_bytes)
        return NULL;
    char *copy = memcpy(values.kept + values.kept_bytes, text, bytes);
    values.kept_bytes += bytes;
    return copy;
}

static void set_initial(enum option_id id)
{
    const struct option *option = &option_table[id];
    values.texts[id] = option->initial;
    values.were_refused[id] = false;
    if (option->initial != NULL && !option_parse(option, option->initial, &values.numbers[id]))
        die("the default of HPMALLOC_%s is not accepted by its own rule", option->name);
}

/* An empty value counts as unset. */
static void read_option(enum option_id id)
{
    char variable[64];
    const struct option *option = &option_table[id];
    print_format(variable, sizeof(variable), "HPMALLOC_%s", option->name);
    const char *text = secure_getenv(variable);
    if (text == NULL || text[0] == '\0')
        return;
    uint64_t number;
    const char *kept = NULL;
    if (option_parse(option, text, &number) && (kept = keep(text)) != NULL) {
        values.numbers[id] = number;
        values.texts[id] = kept;
        return;
    }
    values.were_refused[id] = true;
    print_line("%s=%.80s is not accepted: %s; using %s", variable, text, option->accepted,
               option->initial != NULL ? option->initial : "none");
}

/* What decides whether we may complain comes first. */
void options_init(void)
{
    values.kept_bytes = 0;
    for (enum option_id id = 0; id < OPTION_COUNT; id++)
        set_initial(id);
    read_option(OPTION_QUIET);
    read_option(OPTION_PROGRAM);
    print_set_quiet(option_number(OPTION_QUIET) != 0 || !options_program_matches(NULL));
    for (enum option_id id = 0; id < OPTION_COUNT; id++) {
        if (id != OPTION_QUIET && id != OPTION_PROGRAM)
            read_option(id);
    }
}

bool options_want_hardened(void)
{
    uint64_t number;
    const char *text = secure_getenv("HPMALLOC_HARDENED");
    return text != NULL && option_parse(&option_table[OPTION_HARDENED], text, &number) &&
           number != 0;
}

bool option_was_refused(enum option_id id)
{
    return values.were_refused[id];
}

uint64_t option_number(enum option_id id)
{
    return values.numbers[id];
}

const char *option_text(enum option_id id)
{
    return values.texts[id];
}

/* On a mismatch the last star takes one character more, which is all the going back that is
 * ever needed. */
bool option_pattern_matches(const char *pattern, const char *text)
{
    const char *after_star = NULL, *star_text = NULL;
    while (*text != '\0') {
        if (*pattern == '*') {
            after_star = ++pattern;
            star_text = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++;
            text++;
        } else if (after_star != NULL) {
            pattern = after_star;
            text = ++star_text;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

bool options_program_matches(const char *program_name)
{
    const char *pattern = option_text(OPTION_PROGRAM);
    if (program_name == NULL)
        program_name = program_invocation_short_name;
    return pattern == NULL ||
           (program_name != NULL && option_pattern_matches(pattern, program_name));
}
