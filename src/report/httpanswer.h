/* What is served under which path: a request becomes an answer, its body a file in memory, so that
 * a slow client holds up nothing but itself.
 *
 *   httpconn  --request-->  httpanswer  --order-->  dump, statsfile
 *
 * Lock: none: the server's thread only. */
#ifndef HPM_REPORT_HTTPANSWER_H
#define HPM_REPORT_HTTPANSWER_H

#include "prof/profile.h"
#include "report/httpparse.h"

enum { HTTP_BODY_MAX = 1 << 20, HTTP_SECONDS_MAX = 3600 };

struct http_exchange {
    struct http_request request;
    struct http_text body; // of the request
    bool has_token;        // one is asked for, and the request carries it
    bool is_local;         // it came over a socket on the file system

    /* Of a change over some time, after the first httpanswer_make. */
    struct snapshot since; // rows NULL: none was taken
    uint64_t wait_ns;      // until httpanswer_make is to be called again; 0: the answer is there

    /* The answer. */
    int status;
    const char *type, *file_name, *allow; // file_name, allow: NULL for none
    const char *text;                     // a short body; NULL: it is in fd
    int fd;                               // of httpfiles, or -1
    uint64_t bytes;
};

/* `release_memory` gives caches and free memory back, as hpm_release_memory. */
void httpanswer_init(size_t (*release_memory)(size_t bytes));

/* Makes it a refusal, with a sentence for people or NULL. */
void httpanswer_refuse(struct http_exchange *exchange, int status, const char *text);

/* Whether there is such a path, for this method and with these rights: else it is refused. Needs no
 * body yet. */
bool httpanswer_accepts(struct http_exchange *exchange);

void httpanswer_make(struct http_exchange *exchange);
void httpanswer_end(struct http_exchange *exchange);

/* Forgets what was scraped last. */
void httpanswer_forget(void);
void httpanswer_fork_child(void);

const char *httpanswer_reason(int status); // as "Not Found"

#endif
