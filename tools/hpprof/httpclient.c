#define _GNU_SOURCE
#include "httpclient.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { SILENCE_SECONDS = 10, ANSWER_SECONDS = 60, HEAD_BYTES = 8192, SAID_BYTES = 200 };

#define BODY_BYTES_MAX ((uint64_t)256 << 20)

struct answer {
    char head[HEAD_BYTES + 1]; // and what came with it of the body
    size_t bytes, head_bytes;
    int status;
    bool has_length;
    uint64_t length, received; // of the body
};

static const char scheme[] = "http://";

/* Cuts `host:port`, `[v6]:port` or `host` up to `end` in two. */
static bool parse_place(struct httpclient *client, const char *text, const char *end)
{
    const char *bracket = *text == '[' ? memchr(text, ']', (size_t)(end - text)) : NULL;
    const char *host_end = bracket != NULL ? bracket : text + strcspn(text, ":/?");
    const char *host = bracket != NULL ? text + 1 : text;
    const char *port = bracket != NULL ? bracket + 1 : host_end;
    if (*text == '[' && bracket == NULL)
        return false;
    size_t host_bytes = (size_t)(host_end - host);
    size_t port_bytes = port < end ? (size_t)(end - port - 1) : 0;
    if (host_bytes == 0 || host_bytes >= sizeof(client->host) ||
        port_bytes >= sizeof(client->port) || (port < end && (*port != ':' || port_bytes == 0)) ||
        memchr(host, '@', host_bytes) != NULL ||
        (port < end && strspn(port + 1, "0123456789") < port_bytes) ||
        (port < end && strtoul(port + 1, NULL, 10) > UINT16_MAX))
        return false;
    snprintf(client->host, sizeof(client->host), "%.*s", (int)host_bytes, host);
    snprintf(client->port, sizeof(client->port), "%.*s", (int)(port < end ? port_bytes : 2),
             port < end ? port + 1 : "80");
    return true;
}

/* What follows host and port: `/prefix/debug/pprof/...?token=...`. */
static bool parse_rest(struct httpclient *client, const char *rest)
{
    const char *query = rest + strcspn(rest, "?#");
    const char *end = strstr(rest, "/debug/pprof");
    if (end == NULL || end > query)
        end = query;
    while (end > rest && end[-1] == '/')
        end--;
    if ((size_t)(end - rest) >= sizeof(client->prefix) || strpbrk(rest, " \t\r\n") != NULL)
        return false;
    snprintf(client->prefix, sizeof(client->prefix), "%.*s", (int)(end - rest), rest);
    const char *token = *query == '?' ? strstr(query, "token=") : NULL;
    if (token == NULL)
        return true;
    token += strlen("token=");
    return httptoken_set(&client->token, token, strcspn(token, "&#")) == 0;
}

static const char *parse_http(struct httpclient *client, const char *url)
{
    const char *place = url + sizeof(scheme) - 1, *end = place + strcspn(place, "/?#");
    snprintf(client->name, sizeof(client->name), "%s%.*s", scheme, (int)(end - place), place);
    if (!parse_place(client, place, end))
        return "is not http://HOST:PORT";
    if (!parse_rest(client, end))
        return "has a path that is none, or a token that is not 16 to 512 visible characters";
    return NULL;
}

const char *httpclient_parse(struct httpclient *client, const char *url)
{
    *client = (struct httpclient){.peer = 0};
    if (strncasecmp(url, scheme, sizeof(scheme) - 1) == 0)
        return parse_http(client, url);
    if (strncasecmp(url, "https://", 8) == 0)
        return "is https, which is not spoken here: ask where there is no TLS yet";
    if (strncmp(url, "unix:", 5) != 0 || url[5] == '\0')
        return "is no process id, http://HOST:PORT or unix:/PATH";
    if (strlen(url + 5) >= sizeof(client->path))
        return "is too long a path";
    snprintf(client->path, sizeof(client->path), "%s", url + 5);
    snprintf(client->name, sizeof(client->name), "unix:%s", client->path);
    return NULL;
}

int httpclient_read_token(struct httpclient *client, const char *path)
{
    int error = httptoken_read(&client->token, path);
    if (error == 0)
        return STATUS_DONE;
    if (error == -EINVAL)
        return failed("%s: it holds no token of %d to %d visible characters", path, HTTPTOKEN_MIN,
                      HTTPTOKEN_MAX);
    if (error == -EPERM)
        return failed("%s: a token's file belongs to its user, and others may not read it", path);
    return failed("%s: %s", path, strerror(-error));
}

static int complain(const struct httpclient *client, int error)
{
    bool is_gone = error == ECONNREFUSED || error == ENOENT || error == ECONNRESET;
    bool is_late = error == EAGAIN || error == EINPROGRESS || error == ETIMEDOUT;
    failed("%s: %s", client->name, is_late ? "it does not answer" : strerror(error));
    return is_gone ? HTTPCLIENT_GONE : STATUS_FAILED;
}

/* Neither connecting nor a byte may take longer. */
static bool limit_silence(int fd)
{
    struct timeval most = {.tv_sec = SILENCE_SECONDS};
    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most)) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most)) == 0;
}

static bool is_peer(const struct httpclient *client, int fd)
{
    struct ucred peer;
    socklen_t bytes = sizeof(peer);
    return client->peer == 0 || (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 &&
                                 peer.pid == client->peer);
}

/* Named by a descriptor, a path may be longer than an address holds. Returns a negative errno. */
static int connect_local(const struct httpclient *client)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int place = open(client->path, O_PATH | O_CLOEXEC);
    if (place < 0)
        return -errno;
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", place);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = 0;
    if (fd < 0 || !limit_silence(fd) ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        error = errno;
    else if (!is_peer(client, fd))
        error = ECONNREFUSED;
    close(place);
    if (error == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -error;
}

static int connect_network(const struct addrinfo *list)
{
    int error = EADDRNOTAVAIL;
    for (; list != NULL; list = list->ai_next) {
        int fd = socket(list->ai_family, list->ai_socktype | SOCK_CLOEXEC, list->ai_protocol);
        if (fd >= 0 && limit_silence(fd) && connect(fd, list->ai_addr, list->ai_addrlen) == 0)
            return fd;
        error = errno;
        if (fd >= 0)
            close(fd);
    }
    return -error;
}

/* A descriptor, or a negative errno; or -1 where *trouble says more. */
static int open_connection(const struct httpclient *client, const char **trouble)
{
    *trouble = NULL;
    if (client->path[0] != '\0')
        return connect_local(client);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int error = getaddrinfo(client->host, client->port, &hints, &list);
    if (error != 0) {
        *trouble = gai_strerror(error);
        return -1;
    }
    int fd = connect_network(list);
    freeaddrinfo(list);
    return fd;
}

bool httpclient_is_answered(const struct httpclient *client)
{
    const char *trouble;
    int fd = open_connection(client, &trouble);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Version 1.0: the answer ends with the connection, in one piece. */
static bool send_request(const struct httpclient *client, const char *path, int fd)
{
    char *text;
    bool is_v6 = strchr(client->host, ':') != NULL, has_token = client->token.length != 0;
    int length = asprintf(
        &text, "GET %s%s HTTP/1.0\r\nHost: %s%s%s%s%s\r\nUser-Agent: hpprof\r\n%s%.*s%s\r\n",
        client->prefix, path, is_v6 ? "[" : "",
        client->path[0] != '\0' ? "localhost" : client->host, is_v6 ? "]" : "",
        client->port[0] != '\0' ? ":" : "", client->port, has_token ? "Authorization: Bearer " : "",
        (int)client->token.length, client->token.bytes, has_token ? "\r\n" : "");
    if (length < 0) {
        errno = ENOMEM;
        return false;
    }
    ssize_t sent = send(fd, text, (size_t)length, MSG_NOSIGNAL);
    free(text);
    return sent == length;
}

static const char *find_field(const struct answer *answer, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = strstr(answer->head, "\r\n"); at != NULL; at = strstr(at, "\r\n")) {
        at += 2;
        if (strncasecmp(at, name, length) == 0 && at[length] == ':')
            return at + length + 1;
    }
    return NULL;
}

/* False: errno is 0 where it was no HTTP. */
static bool receive_head(struct answer *answer, int fd)
{
    const char *end = NULL;
    while (end == NULL) {
        ssize_t count = recv(fd, answer->head + answer->bytes, HEAD_BYTES - answer->bytes, 0);
        if (count < 0)
            return false;
        errno = 0;
        if (count == 0)
            return false;
        answer->bytes += (size_t)count;
        answer->head[answer->bytes] = '\0';
        end = memmem(answer->head, answer->bytes, "\r\n\r\n", 4);
    }
    answer->head_bytes = (size_t)(end - answer->head) + 4;
    if (sscanf(answer->head, "HTTP/1.%*1[01] %3d", &answer->status) != 1)
        return false;
    const char *length = find_field(answer, "Content-Length");
    answer->has_length = length != NULL && length < end;
    answer->length = answer->has_length ? strtoull(length, NULL, 10) : BODY_BYTES_MAX;
    return true;
}

/* Writes what has come and is of the body. */
static void keep(struct answer *answer, const char *data, size_t bytes, FILE *output)
{
    uint64_t left = answer->length - answer->received;
    size_t kept = bytes < left ? bytes : (size_t)left;
    fwrite(data, 1, kept, output);
    answer->received += kept;
}

static bool receive_body(struct answer *answer, int fd, FILE *output)
{
    char piece[1 << 16];
    time_t begin = time(NULL);
    keep(answer, answer->head + answer->head_bytes, answer->bytes - answer->head_bytes, output);
    while (answer->received < answer->length) {
        ssize_t count = recv(fd, piece, sizeof(piece), 0);
        if (count < 0)
            return false;
        if (count == 0)
            break;
        keep(answer, piece, (size_t)count, output);
        if (time(NULL) - begin > ANSWER_SECONDS) {
            errno = ETIMEDOUT;
            return false;
        }
    }
    errno = EPIPE;
    return !answer->has_length || answer->received == answer->length;
}

/* The first line of what the server said instead. */
static int refuse(const struct httpclient *client, const struct answer *answer)
{
    char said[SAID_BYTES];
    snprintf(said, sizeof(said), "%s", answer->head + answer->head_bytes);
    said[strcspn(said, "\r\n")] = '\0';
    for (char *c = said; *c != '\0'; c++)
        *c = *c >= ' ' && *c < 0x7f ? *c : '?';
    if (answer->status == 401)
        return failed("%s: it asks for a token%s: see --token-file", client->name,
                      client->token.length != 0 ? ", and the one given is not it" : "");
    return failed("%s: it refuses with %d: %s", client->name, answer->status, said);
}

static int exchange(const struct httpclient *client, const char *path, int fd, FILE *output)
{
    struct answer answer = {.bytes = 0};
    if (!send_request(client, path, fd))
        return complain(client, errno);
    if (!receive_head(&answer, fd))
        return errno != 0 ? complain(client, errno)
                          : failed("%s: what answers there does not speak HTTP", client->name);
    if (answer.status != 200)
        return refuse(client, &answer);
    if (answer.length > BODY_BYTES_MAX)
        return failed("%s: the answer is too long", client->name);
    if (!receive_body(&answer, fd, output))
        return errno == EPIPE ? failed("%s: the answer was cut off", client->name)
                              : complain(client, errno);
    return fflush(output) == 0 && !ferror(output) ? STATUS_DONE : failed("no room for the answer");
}

int httpclient_get(const struct httpclient *client, const char *path, FILE *output)
{
    const char *trouble;
    int fd = open_connection(client, &trouble);
    if (trouble != NULL)
        return failed("%s: %s", client->name, trouble);
    if (fd < 0)
        return complain(client, -fd);
    int status = exchange(client, path, fd, output);
    close(fd);
    return status;
}
