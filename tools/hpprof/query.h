/* What the commands that read profiles are asked: options, files, and how they are opened. */
#ifndef HPPROF_QUERY_H
#define HPPROF_QUERY_H

#include <regex.h>

#include "graph.h"
#include "hpprof.h"
#include "model.h"

/* Which options a command takes, but for --help. */
enum query_option {
    QUERY_SAMPLE = 1 << 0,
    QUERY_FILTER = 1 << 1, // --focus, --ignore
    QUERY_CUM = 1 << 2,
    QUERY_COUNT = 1 << 3, // -n
    QUERY_BASE = 1 << 4,
    QUERY_JSON = 1 << 5,
    QUERY_OUTPUT = 1 << 6, // -o
    QUERY_FORMAT = 1 << 7,
};

struct query {
    const char *command;
    const char *sample, *base, *output, *format;
    bool has_focus, has_ignore, by_cum, json;
    regex_t focus, ignore;
    long count;   // of rows; -1: as many as usual
    char **words; // the others: files, functions
    int word_count;
};

/* False: the command is over, with *status: --help was printed, or it was called wrongly. */
bool query_parse(struct query *query, int count, char **arguments, unsigned options,
                 const char *help, int *status);
void query_free(struct query *query);

/* How many words there have to be. */
bool query_needs(const struct query *query, int least, int most, const char *what, int *status);

/* Opens a file, with names as they are shown. NULL: one line said why. */
struct profile *query_open(const char *path);

/* The column of values that --sample names. -1: one line said what there is. */
int query_type(const struct query *query, const struct profile *profile);

/* A profile and, with --base, the one it is compared to. */
struct query_input {
    struct profile *profile, *base;
    struct graph_input inputs[2];
    size_t count;
};

/* False: *status; there is nothing to close. */
bool query_load(const struct query *query, const char *path, const char *base,
                struct query_input *input, int *status);
void query_close(struct query_input *input);

/* A regular expression as pprof takes them, where POSIX can say it. False: one line said why. */
bool query_compile(regex_t *expression, const char *text, const char *what);

#endif
