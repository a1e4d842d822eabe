/* The head of an HTTP/1 request, read from a buffer: what it asks for, and the few fields that
 * count.
 *
 * Strict, for what is doubtful may be read in two ways: lines end with CR LF, no field is folded,
 * none that counts comes twice, bodies have a length. Everything it yields points into the buffer.
 *
 * Signal: async-signal-safe; pure functions of their arguments. */
#ifndef HPM_REPORT_HTTPPARSE_H
#define HPM_REPORT_HTTPPARSE_H

#include "base/base.h"

/* A part of the buffer, without a NUL behind it. */
struct http_text {
    const char *at;
    size_t length;
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_OTHER };

struct http_request {
    enum http_method method;
    struct http_text path, query; // as they were sent; the query without its question mark
    struct http_text host, authorization;
    bool has_host, has_authorization, has_length, has_origin;
    bool is_cross_site; // a browser says that another site's page asks
    bool is_version_1_0;
    bool is_persistent;    // the connection is to stay
    bool expects_continue; // the body comes once it is asked for
    uint64_t body_bytes;
    size_t head_bytes; // the empty line included
};

/* What httpparse_head answers when it has no refusal. */
enum { HTTP_INCOMPLETE = 0, HTTP_WHOLE = 200 };

/* HTTP_INCOMPLETE, HTTP_WHOLE, or the status code to refuse with, found as early as it can be. */
int httpparse_head(struct http_request *request, const char *data, size_t bytes);

/* The value of `name` in a query of the form a=1&b=2. False: it is not there. */
bool httpparse_find(struct http_text query, const char *name, struct http_text *value);

bool httpparse_is(struct http_text text, const char *word);
bool httpparse_is_any_case(struct http_text text, const char *word);

/* Digits and nothing else, below 2^63. */
bool httpparse_number(struct http_text text, uint64_t *number);

/* A copy with a NUL behind it. False: it does not fit. */
bool httpparse_copy(struct http_text text, char *buffer, size_t size);

#endif
