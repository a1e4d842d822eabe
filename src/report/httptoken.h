/* The bearer token that requests must carry. It is never printed.
 *
 * Fails: a negative errno. */
#ifndef HPM_REPORT_HTTPTOKEN_H
#define HPM_REPORT_HTTPTOKEN_H

#include "report/httpparse.h"

/* Shorter ones could be guessed. */
enum { HTTPTOKEN_MIN = 16, HTTPTOKEN_MAX = 512 };

struct http_token {
    size_t length; // 0: none is asked for
    char bytes[HTTPTOKEN_MAX];
};

/* -EINVAL: too short, too long, or with characters that are not visible. */
int httptoken_set(struct http_token *token, const char *text, size_t length);

/* From a file that only this user, root and perhaps a group may read and nobody else may write:
 * -EPERM when it is another. White space at its end does not count. */
int httptoken_read(struct http_token *token, const char *path);

/* Whether an Authorization field carries it, in a time that does not tell how much of it is right.
 */
bool httptoken_is_carried(const struct http_token *token, struct http_text authorization);

#endif
