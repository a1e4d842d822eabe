/* Profiles and statistics served over HTTP, by a thread of its own that exists only meanwhile.
 *
 *   control, lifecycle  --address, token-->  http  --connections-->  httpconn  --requests-->  dump
 *
 * Who may ask: over loopback every process of this machine, over a socket on the file system those
 * of this user, over a network who carries the token; where there is a token, everybody must. A
 * browser is kept from asking for a page of another site (Host, Origin).
 *
 * The child of a fork does not serve, unless it starts to.
 *
 * Thread: it takes no signal and allocates nothing.
 * Fails:  a negative errno, and one line that says what to do. */
#ifndef HPM_REPORT_HTTP_H
#define HPM_REPORT_HTTP_H

#include "base/base.h"

/* As the options say, if they ask for it. `release_memory` stands for hpm_release_memory. */
void http_init(size_t (*release_memory)(size_t bytes));

/* A token of NULL is the options'; a time of 0 has no end. -EINVAL: the address or the token is
 * none; -EACCES: a network may not be served without a token; -EALREADY: it serves already; else
 * what the system said. */
int http_start(const char *address, const char *token, uint64_t ttl_ns);

/* Ends it, after a request under way. -EALREADY: nothing is served. */
int http_stop(void);

void http_fork_prepare(void);
void http_fork_parent(void);
void http_fork_child(void);

#endif
