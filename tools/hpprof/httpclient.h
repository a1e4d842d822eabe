/* A client for what the library serves over HTTP: one request, one answer, one connection.
 *
 *   source  --URL, path-->  httpclient  --body-->  a file
 *
 * Nothing that comes back is believed: a head has its bound, a body its length, all of it its time.
 * Fails: STATUS_FAILED or HTTPCLIENT_GONE, with one line said, in which no token is. */
#ifndef HPPROF_HTTPCLIENT_H
#define HPPROF_HTTPCLIENT_H

#include <limits.h>
#include <stdio.h>
#include <sys/types.h>

#include "hpprof.h"
#include "report/httptoken.h"

enum {
    HTTPCLIENT_GONE = STATUS_MISUSED + 1, // nobody listens there, or not any more
    HTTPCLIENT_NAME_MAX = PATH_MAX + 8
};

struct httpclient {
    char name[HTTPCLIENT_NAME_MAX]; // for lines: without its token
    char path[PATH_MAX];            // of a unix socket; "": it is a host
    char host[256], port[8];
    char prefix[256]; // of all paths: what stands before /debug/pprof
    pid_t peer;       // who must be at the other end of a unix socket; 0: whoever it is
    struct http_token token;
};

/* From `http://host:port`, with `?token=` or not, or `unix:/path`. Returns what is wrong with it,
 * as the end of a line, or NULL. */
const char *httpclient_parse(struct httpclient *client, const char *url);

/* Whether somebody listens there, and the one who should. Says nothing. */
bool httpclient_is_answered(const struct httpclient *client);

/* STATUS_FAILED: what the file holds is no token. */
int httpclient_read_token(struct httpclient *client, const char *path);

/* Writes what is at `path` to the file. */
int httpclient_get(const struct httpclient *client, const char *path, FILE *output);

#endif
