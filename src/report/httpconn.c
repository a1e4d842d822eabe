#define _GNU_SOURCE
#include "report/httpconn.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"
#include "base/print.h"
#include "report/httpdate.h"
#include "report/httpfiles.h"

#define SECOND_NS   1000000000u
#define IDLE_NS     (30 * (uint64_t)SECOND_NS)
#define HEAD_NS     (5 * (uint64_t)SECOND_NS)
#define BODY_NS     (10 * (uint64_t)SECOND_NS)
#define SENDING_NS  (10 * (uint64_t)SECOND_NS) // without a byte going out
#define ANSWER_NS   (120 * (uint64_t)SECOND_NS)
#define DRAINING_NS (1 * (uint64_t)SECOND_NS)
#define COST_MIN_NS (SECOND_NS / 1000)
#define BURST_NS    ((uint64_t)SECOND_NS)

enum { WAITING_MAX = 8, CHUNK_BYTES = 32768, DRAINED_MAX = 64 };

static void enter(struct httpconn *connection, enum httpconn_state state, uint64_t now_ns,
                  uint64_t limit_ns)
{
    connection->state = state;
    connection->since_ns = now_ns;
    connection->deadline_ns = now_ns + limit_ns;
}

void httpconn_begin(struct httpconn *connection, int fd, uint64_t now_ns)
{
    connection->fd = fd;
    connection->is_last = connection->is_peer_done = false;
    connection->exchange = (struct http_exchange){.fd = -1};
    connection->in_used = connection->out_used = connection->out_sent = 0;
    connection->body = NULL;
    enter(connection, HTTPCONN_READING, now_ns, HEAD_NS);
}

static void forget_body(struct httpconn *connection)
{
    if (connection->body != NULL)
        os_unmap(connection->body, connection->body_mapped_bytes);
    connection->body = NULL;
}

void httpconn_end(struct httpconn *connection)
{
    forget_body(connection);
    httpanswer_end(&connection->exchange);
    httpfiles_close(connection->fd);
    connection->state = HTTPCONN_FREE;
}

short httpconn_events(const struct httpconn *connection)
{
    switch (connection->state) {
    case HTTPCONN_READING:
    case HTTPCONN_BODY:
    case HTTPCONN_DRAINING:
        return POLLIN;
    case HTTPCONN_WAITING:
        return POLLRDHUP;
    case HTTPCONN_SENDING:
        return POLLOUT;
    default:
        return 0;
    }
}

uint64_t httpconn_due_ns(const struct httpconn *connection, const struct http_service *service)
{
    if (connection->state == HTTPCONN_READY)
        return service->ready_ns > BURST_NS ? service->ready_ns - BURST_NS : 0;
    return connection->deadline_ns;
}

/* The status line and the fields; a short body goes with it. */
static void print_head(struct httpconn *connection)
{
    const struct http_exchange *exchange = &connection->exchange;
    char *at = connection->out, *end = at + sizeof(connection->out);
    char date[HTTPDATE_BYTES];
    httpdate_print(date, os_wall_clock_ns());
    at += print_format(at, (size_t)(end - at),
                       "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %lu\r\n"
                       "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
                       exchange->status, httpanswer_reason(exchange->status), date, exchange->type,
                       exchange->bytes);
    if (exchange->file_name != NULL)
        at += print_format(at, (size_t)(end - at),
                           "Content-Disposition: attachment; filename=\"%s\"\r\n",
                           exchange->file_name);
    if (exchange->allow != NULL)
        at += print_format(at, (size_t)(end - at), "Allow: %s\r\n", exchange->allow);
    if (exchange->status == 401)
        at += print_format(at, (size_t)(end - at), "WWW-Authenticate: Bearer\r\n");
    if (exchange->status == 503)
        at += print_format(at, (size_t)(end - at), "Retry-After: 1\r\n");
    if (connection->is_last)
        at += print_format(at, (size_t)(end - at), "Connection: close\r\n");
    else if (exchange->request.is_version_1_0)
        at += print_format(at, (size_t)(end - at), "Connection: keep-alive\r\n");
    at += print_format(at, (size_t)(end - at), "\r\n");
    if (exchange->text != NULL && exchange->request.method != HTTP_HEAD)
        at += print_format(at, (size_t)(end - at), "%s", exchange->text);
    connection->out_used = (size_t)(at - connection->out);
}

static void begin_sending(struct httpconn *connection, uint64_t now_ns)
{
    forget_body(connection);
    connection->is_last |= !connection->exchange.request.is_persistent || connection->is_peer_done;
    connection->out_sent = 0;
    connection->sent = 0;
    print_head(connection);
    enter(connection, HTTPCONN_SENDING, now_ns, SENDING_NS);
}

/* What follows in the connection cannot be trusted, or is too much to read: it ends. */
static void refuse_and_end(struct httpconn *connection, int status, const char *text,
                           uint64_t now_ns)
{
    connection->is_last = true;
    httpanswer_refuse(&connection->exchange, status, text);
    begin_sending(connection, now_ns);
}

/* False: nothing more for now, or the connection is over. */
static bool receive_into(struct httpconn *connection, char *target, size_t room, size_t *used)
{
    ssize_t bytes = recv(connection->fd, target, room, 0);
    if (bytes > 0) {
        *used += (size_t)bytes;
        return true;
    }
    if (bytes == 0)
        connection->is_peer_done = true;
    else if (errno != EAGAIN && errno != EINTR)
        httpconn_end(connection);
    return false;
}

static size_t body_end(const struct httpconn *connection)
{
    const struct http_request *request = &connection->exchange.request;
    return request->head_bytes + (size_t)request->body_bytes;
}

static bool is_body_whole(const struct httpconn *connection)
{
    return connection->body != NULL
               ? connection->body_used == connection->exchange.request.body_bytes
               : connection->in_used >= body_end(connection);
}

/* Bytes that nobody will look at; a peer that never stops is cut off. */
static void drain(struct httpconn *connection)
{
    static char ignored[CHUNK_BYTES];
    size_t used = 0;
    if (!receive_into(connection, ignored, sizeof(ignored), &used) && connection->is_peer_done)
        httpconn_end(connection);
    else if (++connection->out_sent > DRAINED_MAX)
        httpconn_end(connection);
}

static void receive(struct httpconn *connection)
{
    if (connection->state == HTTPCONN_DRAINING)
        drain(connection);
    else if (connection->state == HTTPCONN_BODY && connection->body != NULL)
        receive_into(connection, connection->body + connection->body_used,
                     (size_t)connection->exchange.request.body_bytes - connection->body_used,
                     &connection->body_used);
    else
        receive_into(connection, connection->in + connection->in_used,
                     sizeof(connection->in) - connection->in_used, &connection->in_used);
}

/* False: the head is not whole. */
static bool read_head(struct httpconn *connection, uint64_t now_ns)
{
    int status = httpparse_head(&connection->exchange.request, connection->in, connection->in_used);
    if (status == HTTP_WHOLE) {
        enter(connection, HTTPCONN_READY, now_ns, 0);
        return true;
    }
    if (status == HTTP_INCOMPLETE && connection->in_used < sizeof(connection->in)) {
        if (connection->is_peer_done)
            httpconn_end(connection);
        return false;
    }
    refuse_and_end(connection, status == HTTP_INCOMPLETE ? 431 : status, NULL, now_ns);
    return true;
}

/* Who may ask at all. */
static bool is_welcome(struct http_exchange *exchange, const struct http_service *service)
{
    const struct http_request *request = &exchange->request;
    exchange->is_local = service->address.reach == HTTP_REACH_USER;
    exchange->has_token = service->token.length != 0 && request->has_authorization &&
                          httptoken_is_carried(&service->token, request->authorization);
    if (request->has_host && !httpaddress_is_own_host(&service->address, request->host))
        httpanswer_refuse(exchange, 403, "the Host field does not name this server");
    else if (request->has_origin || request->is_cross_site)
        httpanswer_refuse(exchange, 403, "not for pages of other sites");
    else if (service->token.length != 0 && !exchange->has_token)
        httpanswer_refuse(exchange, 401, "this needs the bearer token");
    else
        return true;
    return false;
}

static void make_answer(struct httpconn *connection, struct http_service *service)
{
    struct http_exchange *exchange = &connection->exchange;
    const char *body =
        connection->body != NULL ? connection->body : connection->in + exchange->request.head_bytes;
    exchange->body = (struct http_text){body, (size_t)exchange->request.body_bytes};
    uint64_t begun_ns = os_clock_ns();
    httpanswer_make(exchange);
    service->ready_ns += 2 * (os_clock_ns() - begun_ns);
    if (exchange->wait_ns == 0) {
        begin_sending(connection, os_clock_ns());
    } else if (service->waiting == WAITING_MAX) {
        exchange->wait_ns = 0;
        httpanswer_refuse(exchange, 503, "too many requests wait for some seconds already");
        begin_sending(connection, os_clock_ns());
    } else {
        service->waiting++;
        enter(connection, HTTPCONN_WAITING, os_clock_ns(), exchange->wait_ns);
    }
}

static void begin_body(struct httpconn *connection, uint64_t now_ns)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const struct http_request *request = &connection->exchange.request;
    enter(connection, HTTPCONN_BODY, now_ns, BODY_NS);
    if (body_end(connection) > sizeof(connection->in)) {
        connection->body_mapped_bytes = (size_t)request->body_bytes;
        connection->body = os_map(connection->body_mapped_bytes);
        if (connection->body == NULL) {
            refuse_and_end(connection, 503, "no memory for the body", now_ns);
            return;
        }
        connection->body_used = connection->in_used - request->head_bytes;
        memcpy(connection->body, connection->in + request->head_bytes, connection->body_used);
        connection->in_used = request->head_bytes;
    }
    if (request->expects_continue && !is_body_whole(connection))
        send(connection->fd, go_on, strlen(go_on), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* False: its turn has not come. */
static bool take_turn(struct httpconn *connection, struct http_service *service, uint64_t now_ns)
{
    if (now_ns + BURST_NS < service->ready_ns)
        return false;
    service->ready_ns = (service->ready_ns > now_ns ? service->ready_ns : now_ns) + COST_MIN_NS;
    struct http_exchange *exchange = &connection->exchange;
    if (is_welcome(exchange, service) && httpanswer_accepts(exchange)) {
        begin_body(connection, now_ns);
    } else {
        connection->is_last |= exchange->request.body_bytes != 0;
        begin_sending(connection, now_ns);
    }
    return true;
}

/* False: the body is not whole. */
static bool read_body(struct httpconn *connection, struct http_service *service)
{
    if (is_body_whole(connection)) {
        make_answer(connection, service);
        return true;
    }
    if (connection->is_peer_done)
        httpconn_end(connection);
    return false;
}

/* What came behind the request is the next one's beginning. */
static void end_answer(struct httpconn *connection, uint64_t now_ns)
{
    size_t used =
        body_end(connection) < connection->in_used ? body_end(connection) : connection->in_used;
    httpanswer_end(&connection->exchange);
    if (connection->is_last) {
        shutdown(connection->fd, SHUT_WR);
        connection->out_sent = 0;
        enter(connection, HTTPCONN_DRAINING, now_ns, DRAINING_NS);
        return;
    }
    memmove(connection->in, connection->in + used, connection->in_used - used);
    connection->in_used -= used;
    enter(connection, HTTPCONN_READING, now_ns, connection->in_used != 0 ? HEAD_NS : IDLE_NS);
}

/* A piece of the answer. 0: the end. */
static ssize_t send_piece(struct httpconn *connection)
{
    static char chunk[CHUNK_BYTES];
    const struct http_exchange *exchange = &connection->exchange;
    bool has_body = exchange->text == NULL && exchange->request.method != HTTP_HEAD;
    if (connection->out_sent < connection->out_used)
        return send(connection->fd, connection->out + connection->out_sent,
                    connection->out_used - connection->out_sent,
                    MSG_NOSIGNAL | (has_body ? MSG_MORE : 0));
    if (!has_body || connection->sent == exchange->bytes)
        return 0;
    ssize_t bytes =
        pread(exchange->fd, chunk, min_size(sizeof(chunk), exchange->bytes - connection->sent),
              (off_t)connection->sent);
    return bytes > 0 ? send(connection->fd, chunk, (size_t)bytes, MSG_NOSIGNAL) : -1;
}

/* False: the peer takes no more for now, or is gone. */
static bool send_answer(struct httpconn *connection, uint64_t now_ns)
{
    ssize_t bytes = send_piece(connection);
    if (bytes == 0) {
        end_answer(connection, now_ns);
        return true;
    }
    if (bytes < 0) {
        if (errno != EAGAIN && errno != EINTR)
            httpconn_end(connection);
        return false;
    }
    if (connection->out_sent < connection->out_used)
        connection->out_sent += (size_t)bytes;
    else
        connection->sent += (uint64_t)bytes;
    connection->deadline_ns = now_ns + SENDING_NS;
    if (connection->deadline_ns > connection->since_ns + ANSWER_NS)
        connection->deadline_ns = connection->since_ns + ANSWER_NS;
    return true;
}

static bool is_late(const struct httpconn *connection, uint64_t now_ns)
{
    return connection->state != HTTPCONN_READY && connection->state != HTTPCONN_WAITING &&
           now_ns >= connection->deadline_ns;
}

static void give_up(struct httpconn *connection, uint64_t now_ns)
{
    bool is_asking = connection->state == HTTPCONN_BODY ||
                     (connection->state == HTTPCONN_READING && connection->in_used != 0);
    if (is_asking)
        refuse_and_end(connection, 408, NULL, now_ns);
    else
        httpconn_end(connection);
}

/* One step of a state. False: it waits. */
static bool advance(struct httpconn *connection, struct http_service *service, uint64_t now_ns)
{
    switch (connection->state) {
    case HTTPCONN_READING:
        return read_head(connection, now_ns);
    case HTTPCONN_READY:
        return take_turn(connection, service, now_ns);
    case HTTPCONN_BODY:
        return read_body(connection, service);
    case HTTPCONN_WAITING:
        if (now_ns >= connection->deadline_ns)
            make_answer(connection, service);
        return connection->state != HTTPCONN_WAITING;
    case HTTPCONN_SENDING:
        return send_answer(connection, now_ns);
    default:
        return false;
    }
}

void httpconn_step(struct httpconn *connection, struct http_service *service, short events,
                   uint64_t now_ns)
{
    enum { STEPS_MAX = 64 };
    bool had_head = connection->in_used != 0;
    if ((events & (POLLIN | POLLHUP | POLLERR)) != 0 && httpconn_events(connection) == POLLIN)
        receive(connection);
    else if ((events & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0)
        httpconn_end(connection);
    if (connection->state == HTTPCONN_READING && !had_head && connection->in_used != 0)
        enter(connection, HTTPCONN_READING, now_ns, HEAD_NS);
    if (is_late(connection, now_ns))
        give_up(connection, now_ns);
    for (int step = 0; step < STEPS_MAX && advance(connection, service, now_ns); step++)
        continue;
}
