/* What is watched: where its profiles come from, again and again.
 *
 *   watch  --PID, URL-->  source  -->  httpclient, or ask  --profile, numbers-->  files
 *
 * A process is asked over its own socket or port, when it has one that can be reached, and else by
 * its dump signal: the file is fetched and removed, as nobody else has asked for it.
 * Fails: STATUS_FAILED, SOURCE_GONE or STATUS_MISUSED, with one line said. */
#ifndef HPPROF_SOURCE_H
#define HPPROF_SOURCE_H

#include "httpclient.h"
#include "process.h"

enum { SOURCE_GONE = HTTPCLIENT_GONE };

struct source {
    const char *name; // the process id, or the address
    bool has_process, is_served;
    struct process process;
    struct httpclient client; // when it is served
    char program[64];         // "": not known
};

/* `token_file`: NULL, or what HPMALLOC_HTTP_TOKEN_FILE would name. */
int source_open(struct source *source, const char *word, const char *token_file);
void source_close(struct source *source);

/* Files that one fetch leaves. */
struct source_files {
    const char *raw;   // the profile as it came
    const char *named; // the same as hpprof shows it: with names, and without frames of no interest
    const char *stats; // /stats.json; empty or missing where there is none
};

int source_fetch(const struct source *source, const struct source_files *files);

/* Known of processes only. */
bool source_has_ended(const struct source *source);

#endif
