/* A connection: bytes in, one request after the other, bytes out. It never blocks, and each of its
 * states ends in time whatever the peer does.
 *
 *   http  --readiness-->  httpconn  --bytes-->  httpparse
 *                             \--request-->  httpanswer
 *
 * Lock: none: the server's thread only. */
#ifndef HPM_REPORT_HTTPCONN_H
#define HPM_REPORT_HTTPCONN_H

#include "report/httpaddress.h"
#include "report/httpanswer.h"
#include "report/httptoken.h"

enum { HTTP_IN_BYTES = 8192, HTTP_OUT_BYTES = 1024 };

enum httpconn_state {
    HTTPCONN_FREE,
    HTTPCONN_READING, // a head
    HTTPCONN_READY,   // waits for its turn to be answered
    HTTPCONN_BODY,    // reads the body
    HTTPCONN_WAITING, // for the time that the request asked for
    HTTPCONN_SENDING,
    HTTPCONN_DRAINING, // all is sent: lets the peer read it before the end
};

struct httpconn {
    enum httpconn_state state;
    int fd;
    bool is_last;                   // ends after this answer
    bool is_peer_done;              // it sends no more
    uint64_t deadline_ns, since_ns; // since_ns: in this state
    struct http_exchange exchange;

    /* The body of a request that has no room behind its head. */
    char *body;
    size_t body_mapped_bytes, body_used;

    uint64_t sent; // of the answer's body
    size_t in_used, out_used, out_sent;
    char in[HTTP_IN_BYTES], out[HTTP_OUT_BYTES];
};

/* What all connections share. */
struct http_service {
    struct http_address address;
    struct http_token token;

    /* The next request is answered from then on. Each moves it on by twice what it took, or by a
     * millisecond: at most half of a processor, and a thousand a second; short of that no request
     * waits. */
    uint64_t ready_ns;
    unsigned waiting; // connections in HTTPCONN_WAITING
};

void httpconn_begin(struct httpconn *connection, int fd, uint64_t now_ns);
void httpconn_end(struct httpconn *connection);

/* What to poll for. */
short httpconn_events(const struct httpconn *connection);

/* When it is to be looked at again even if nothing comes. */
uint64_t httpconn_due_ns(const struct httpconn *connection, const struct http_service *service);

/* Goes on as far as it can. `events` is what poll found. */
void httpconn_step(struct httpconn *connection, struct http_service *service, short events,
                   uint64_t now_ns);

#endif
