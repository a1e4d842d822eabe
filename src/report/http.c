#define _GNU_SOURCE
#include "report/http.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/meta.h"
#include "base/options.h"
#include "base/os.h"
#include "base/print.h"
#include "report/httpconn.h"
#include "report/httpfiles.h"

#define SECOND_NS   1000000000u
#define NEVER       UINT64_MAX
#define STACK_BYTES (256 * KiB)
#define STOP_NS     (10 * (uint64_t)SECOND_NS)
#define LOOK_NS     (2 * (uint64_t)SECOND_NS) // whether the socket is still ours, and it is to stop
#define EVICTION_NS (SECOND_NS / 2)

enum { CONNECTIONS = 16, ADDRESS_TEXT = 160 };

enum state { STATE_NONE, STATE_STARTING, STATE_RUNS, STATE_STOPPING, STATE_ENDED };

static struct {
    _Atomic uint32_t state;
    _Atomic bool is_asked_to_stop;
    _Atomic pid_t pid; // of the process it runs in: a raw clone copies all this but the thread
    pthread_t thread;

    /* Of who starts it, then the thread's own. */
    struct http_service service;
    int listener;
    uint64_t end_ns;
    struct httpconn *connections; // CONNECTIONS of them; kept for the next start
    unsigned first;               // to be looked at: each in its turn
} server = {.listener = -1};

static bool is_free(const struct httpconn *connection)
{
    return connection->state == HTTPCONN_FREE;
}

static struct httpconn *find_free(void)
{
    for (size_t i = 0; i < CONNECTIONS; i++) {
        if (is_free(&server.connections[i]))
            return &server.connections[i];
    }
    return NULL;
}

/* The one that has kept us waiting for a request the longest. */
static struct httpconn *find_idlest(uint64_t now_ns)
{
    struct httpconn *idlest = NULL;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        struct httpconn *connection = &server.connections[i];
        if (connection->state == HTTPCONN_READING &&
            (idlest == NULL || connection->since_ns < idlest->since_ns))
            idlest = connection;
    }
    return idlest != NULL && now_ns - idlest->since_ns >= EVICTION_NS ? idlest : NULL;
}

/* Who sends nothing makes room for who comes. */
static void accept_connections(uint64_t now_ns)
{
    struct httpconn *connection;
    while ((connection = find_free()) != NULL || (connection = find_idlest(now_ns)) != NULL) {
        int fd = httpfiles_accept(server.listener);
        if (fd < 0)
            return;
        if (!is_free(connection))
            httpconn_end(connection);
        if (server.service.address.reach == HTTP_REACH_USER && !httpaddress_is_same_user(fd)) {
            httpfiles_close(fd);
            continue;
        }
        int one = 1;
        if (server.service.address.reach != HTTP_REACH_USER)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        httpconn_begin(connection, fd, now_ns);
    }
}

static int poll_timeout(uint64_t now_ns)
{
    uint64_t due = now_ns + LOOK_NS;
    if (server.end_ns < due)
        due = server.end_ns;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        const struct httpconn *connection = &server.connections[i];
        if (is_free(connection))
            continue;
        uint64_t its = httpconn_due_ns(connection, &server.service);
        due = its < due ? its : due;
    }
    return due <= now_ns ? 0 : (int)((due - now_ns) / 1000000) + 1;
}

/* The listener's entry is the last. With no room for a connection it is not asked for any until one
 * may be evicted. */
static void wait_for_events(struct pollfd polled[CONNECTIONS + 1])
{
    uint64_t now_ns = os_clock_ns();
    server.service.waiting = 0;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        const struct httpconn *connection = &server.connections[i];
        server.service.waiting += connection->state == HTTPCONN_WAITING;
        polled[i] = (struct pollfd){.fd = is_free(connection) ? -1 : connection->fd,
                                    .events = httpconn_events(connection)};
    }
    bool has_room = find_free() != NULL || find_idlest(now_ns) != NULL;
    polled[CONNECTIONS] = (struct pollfd){.fd = server.listener, .events = has_room ? POLLIN : 0};
    int timeout = poll_timeout(now_ns);
    if (!has_room && timeout > 100)
        timeout = 100;
    if (poll(polled, CONNECTIONS + 1, timeout) <= 0) {
        for (size_t i = 0; i <= CONNECTIONS; i++)
            polled[i].revents = 0;
    }
}

static void step_all(const struct pollfd *polled)
{
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        unsigned at = (server.first + i) % CONNECTIONS;
        struct httpconn *connection = &server.connections[at];
        if (is_free(connection))
            continue;
        if (httpfiles_is_ours(connection->fd))
            httpconn_step(connection, &server.service, polled[at].revents, os_clock_ns());
        else
            httpconn_end(connection);
    }
    server.first = (server.first + 1) % CONNECTIONS;
}

/* Returns why it ends. */
static const char *serve(void)
{
    struct pollfd polled[CONNECTIONS + 1];
    for (;;) {
        wait_for_events(polled);
        if (atomic_load(&server.is_asked_to_stop))
            return NULL;
        if (os_clock_ns() >= server.end_ns)
            return "its time is over";
        if (!httpfiles_is_ours(server.listener))
            return "the program has closed its socket";
        step_all(polled);
        if ((polled[CONNECTIONS].revents & POLLIN) != 0)
            accept_connections(os_clock_ns());
    }
}

static void close_all(void)
{
    for (size_t i = 0; i < CONNECTIONS; i++) {
        if (!is_free(&server.connections[i]))
            httpconn_end(&server.connections[i]);
    }
    httpanswer_forget();
    httpaddress_remove(&server.service.address);
    httpfiles_close(server.listener);
    memset(&server.service.token, 0, sizeof(server.service.token));
}

static void *run(void *unused)
{
    char text[ADDRESS_TEXT];
    prctl(PR_SET_NAME, "hpm-http");
    const char *why = serve();
    httpaddress_print(&server.service.address, text, sizeof(text));
    close_all();
    if (why != NULL)
        print_line("no longer serving at %s: %s", text, why);
    atomic_store(&server.state, STATE_ENDED);
    os_wake(&server.state, 1);
    return unused;
}

/* Some programs have more thread-local memory than a small stack holds: then the usual size. */
static int create_thread(void)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return -error;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&server.thread, &attributes, run, NULL);
    if (error == EINVAL)
        error = pthread_create(&server.thread, NULL, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -error;
}

static const char *describe(int error)
{
    static const struct trouble {
        int error;
        const char *text;
    } troubles[] = {
        {EADDRINUSE, "the address is taken; choose another port or path"},
        {EADDRNOTAVAIL, "this machine has no such address"},
        {EACCES, "permission denied; choose a port from 1024 on, or a folder that this process may "
                 "write to"},
        {EPERM, "not permitted here"},
        {ENOENT, "no such folder"},
        {ENOTDIR, "a part of the path is no folder"},
        {EROFS, "the file system is read-only"},
        {EAFNOSUPPORT, "this system does not know such addresses"},
        {EMFILE, "too many open files in this process"},
        {EAGAIN, "no thread can be made for it"},
        {ENOMEM, "no memory for it"},
    };
    for (size_t i = 0; i < array_count(troubles); i++) {
        if (troubles[i].error == -error)
            return troubles[i].text;
    }
    return "the system refused";
}

static int complain(const char *address, int error, const char *why)
{
    print_line("not serving at %.120s: %s (error %d)", address, why, -error);
    return error;
}

static bool make_connections(void)
{
    if (server.connections == NULL)
        server.connections = meta_alloc(CONNECTIONS * sizeof(*server.connections));
    return server.connections != NULL;
}

static int take_token(const char *address, const char *token)
{
    const char *path = option_text(OPTION_HTTP_TOKEN_FILE);
    struct http_token *kept = &server.service.token;
    kept->length = 0;
    if (token == NULL && option_was_refused(OPTION_HTTP_TOKEN_FILE))
        return complain(address, -EINVAL, "the name of the token's file is not accepted");
    if (token == NULL && path == NULL)
        return 0;
    int error =
        token != NULL ? httptoken_set(kept, token, strlen(token)) : httptoken_read(kept, path);
    if (error == -EINVAL)
        complain(address, error, "a token has 16 to 512 visible characters");
    else if (error == -EPERM && token == NULL)
        complain(address, error,
                 "the token's file must be this user's or root's, not to be read by others, nor "
                 "written by anybody else");
    else if (error != 0)
        complain(address, error, "the token's file cannot be read");
    return error;
}

static int listen_and_serve(const char *address)
{
    char text[ADDRESS_TEXT];
    if (!make_connections())
        return complain(address, -ENOMEM, describe(-ENOMEM));
    server.listener = httpaddress_listen(&server.service.address);
    if (server.listener < 0)
        return complain(address, server.listener, describe(server.listener));
    httpaddress_print(&server.service.address, text, sizeof(text));
    atomic_store(&server.is_asked_to_stop, false);
    atomic_store(&server.pid, getpid());
    atomic_store(&server.state, STATE_RUNS);
    int error = create_thread();
    if (error != 0) {
        close_all();
        return complain(address, error, "no thread can be made for it");
    }
    print_line("serving profiles at %s", text);
    return 0;
}

static int start_owned(const char *address, const char *token, uint64_t ttl_ns)
{
    struct http_service *service = &server.service;
    service->ready_ns = 0;
    uint64_t now_ns = os_clock_ns();
    server.end_ns = ttl_ns == 0 || ttl_ns > NEVER - now_ns ? NEVER : now_ns + ttl_ns;
    if (address == NULL || !httpaddress_parse(&service->address, address))
        return complain(address != NULL ? address : "no address", -EINVAL,
                        "an address is like 127.0.0.1:6060, [::1]:6060 or unix:/path, with %e and "
                        "%p in the path");
    int error = take_token(address, token);
    if (error != 0)
        return error;
    if (service->address.reach == HTTP_REACH_NETWORK && service->token.length == 0)
        return complain(address, -EACCES,
                        "other machines could reach it; set HPMALLOC_HTTP_TOKEN_FILE");
    return listen_and_serve(address);
}

/* One that has ended by itself is joined by who comes next. */
static bool take_over(enum state target)
{
    uint32_t none = STATE_NONE, ended = STATE_ENDED;
    if (atomic_compare_exchange_strong(&server.state, &none, target))
        return true;
    if (!atomic_compare_exchange_strong(&server.state, &ended, target))
        return false;
    pthread_join(server.thread, NULL);
    return true;
}

int http_start(const char *address, const char *token, uint64_t ttl_ns)
{
    int saved = errno;
    if (lock_held_count() != 0)
        return -EDEADLK;
    if (!take_over(STATE_STARTING))
        return -EALREADY;
    int error = start_owned(address, token, ttl_ns);
    if (error != 0)
        atomic_store(&server.state, STATE_NONE);
    errno = saved;
    return error;
}

/* A poll that waits for the listener wakes up when it is shut down. Not by pthread_join alone: a
 * request that hangs must not hold the program's end up for ever. */
static void stop_thread(void)
{
    atomic_store(&server.is_asked_to_stop, true);
    if (httpfiles_is_ours(server.listener))
        shutdown(server.listener, SHUT_RDWR);
    uint64_t limit = os_clock_ns() + STOP_NS;
    for (uint64_t now; atomic_load(&server.state) != STATE_ENDED && (now = os_clock_ns()) < limit;)
        os_wait_for(&server.state, STATE_STOPPING, limit - now);
}

HPM_EARLY int http_stop(void)
{
    uint32_t runs = STATE_RUNS;
    int saved = errno;
    if (lock_held_count() != 0)
        return -EDEADLK;
    if (atomic_load(&server.pid) != 0 && atomic_load(&server.pid) == getpid() &&
        atomic_compare_exchange_strong(&server.state, &runs, STATE_STOPPING)) {
        stop_thread();
        runs = STATE_STOPPING;
    }
    bool stopped = take_over(STATE_STARTING);
    if (stopped)
        atomic_store(&server.state, STATE_NONE);
    errno = saved;
    return stopped && runs == STATE_STOPPING ? 0 : -EALREADY;
}

HPM_EARLY void http_init(size_t (*release_memory)(size_t bytes))
{
    const char *address = option_text(OPTION_HTTP);
    httpanswer_init(release_memory);
    if (address != NULL)
        http_start(address, NULL, option_number(OPTION_HTTP_TTL));
}

void http_fork_prepare(void)
{
    httpfiles_fork_prepare();
}

void http_fork_parent(void)
{
    httpfiles_fork_parent();
}

/* What the parent's thread was at work on, pictures included, is left as it is. */
void http_fork_child(void)
{
    httpfiles_fork_child();
    httpanswer_fork_child();
    for (size_t i = 0; server.connections != NULL && i < CONNECTIONS; i++)
        server.connections[i].state = HTTPCONN_FREE;
    server.listener = -1;
    atomic_store(&server.state, STATE_NONE);
}
