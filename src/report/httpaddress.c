#define _GNU_SOURCE
#include "report/httpaddress.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/print.h"
#include "report/httpfiles.h"

enum { BACKLOG = 32, NAME_MAX_BYTES = 256 };

/* The path of a socket; false: it is too long, not absolute, or has an unknown directive. */
static bool expand_path(char *path, size_t size, const char *pattern)
{
    size_t length = 0;
    for (; *pattern != '\0' && length + 1 < size; pattern++) {
        if (*pattern != '%') {
            path[length++] = *pattern;
            continue;
        }
        pattern++;
        if (*pattern == 'e')
            length +=
                print_format(path + length, size - length, "%s", program_invocation_short_name);
        else if (*pattern == 'p')
            length += print_format(path + length, size - length, "%d", (int)getpid());
        else if (*pattern == '%')
            path[length++] = '%';
        else
            return false;
    }
    path[length] = '\0';
    return *pattern == '\0' && path[0] == '/' && length + 1 < size;
}

static bool parse_local(struct http_address *address, const char *path)
{
    struct sockaddr_un *local = &address->socket.local;
    local->sun_family = AF_UNIX;
    address->reach = HTTP_REACH_USER;
    address->socket_bytes = sizeof(*local);
    return expand_path(local->sun_path, sizeof(local->sun_path), path);
}

static bool is_loopback_v6(const struct in6_addr *address)
{
    return IN6_IS_ADDR_LOOPBACK(address) ||
           (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127);
}

static bool is_loopback_v4(const struct in_addr *address)
{
    return ntohl(address->s_addr) >> 24 == 127;
}

/* An address without port, in brackets or not. */
static bool parse_numeric(struct http_address *address, struct http_text host)
{
    char text[INET6_ADDRSTRLEN + 2];
    if (httpparse_is_any_case(host, "localhost"))
        host = (struct http_text){"127.0.0.1", strlen("127.0.0.1")};
    bool is_v6 = host.length > 2 && host.at[0] == '[' && host.at[host.length - 1] == ']';
    if (is_v6)
        host = (struct http_text){host.at + 1, host.length - 2};
    if (!httpparse_copy(host, text, sizeof(text)))
        return false;
    if (is_v6) {
        struct sockaddr_in6 *v6 = &address->socket.v6;
        v6->sin6_family = AF_INET6;
        address->socket_bytes = sizeof(*v6);
        if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
            return false;
        address->reach = is_loopback_v6(&v6->sin6_addr) ? HTTP_REACH_MACHINE : HTTP_REACH_NETWORK;
        return true;
    }
    struct sockaddr_in *v4 = &address->socket.v4;
    v4->sin_family = AF_INET;
    address->socket_bytes = sizeof(*v4);
    if (inet_pton(AF_INET, text, &v4->sin_addr) != 1)
        return false;
    address->reach = is_loopback_v4(&v4->sin_addr) ? HTTP_REACH_MACHINE : HTTP_REACH_NETWORK;
    return true;
}

/* Cuts the port off a host, where it has one. */
static bool split_port(struct http_text *host, uint64_t *port)
{
    const char *colon = host->length != 0 ? memrchr(host->at, ':', host->length) : NULL;
    const char *bracket = host->length != 0 ? memrchr(host->at, ']', host->length) : NULL;
    if (colon == NULL || (bracket != NULL && bracket > colon))
        return false;
    struct http_text digits = {colon + 1, host->length - (size_t)(colon + 1 - host->at)};
    host->length = (size_t)(colon - host->at);
    return httpparse_number(digits, port) && *port <= UINT16_MAX;
}

bool httpaddress_parse(struct http_address *address, const char *text)
{
    uint64_t port;
    memset(address, 0, sizeof(*address));
    if (strncmp(text, "unix:", 5) == 0)
        return parse_local(address, text + 5);
    struct http_text host = {text, strlen(text)};
    if (!split_port(&host, &port) || !parse_numeric(address, host))
        return false;
    /* At the same place in both families. */
    static_assert(offsetof(struct sockaddr_in, sin_port) ==
                      offsetof(struct sockaddr_in6, sin6_port),
                  "one port");
    address->socket.v4.sin_port = htons((uint16_t)port);
    return true;
}

/* Nobody listens at a socket that was left behind. */
static bool is_left_behind(const struct http_address *address)
{
    struct stat status;
    if (lstat(address->socket.local.sun_path, &status) != 0 || !S_ISSOCK(status.st_mode) ||
        status.st_uid != geteuid())
        return false;
    int fd = httpfiles_socket(AF_UNIX);
    bool is_refused = fd >= 0 && connect(fd, &address->socket.any, address->socket_bytes) != 0 &&
                      errno == ECONNREFUSED;
    httpfiles_close(fd);
    return is_refused;
}

/* The file's mode is that of the socket before: no other way is safe from the program's umask. */
static int bind_local(int fd, struct http_address *address)
{
    const char *path = address->socket.local.sun_path;
    if (fchmod(fd, 0600) != 0)
        return -errno;
    if (is_left_behind(address))
        unlink(path);
    if (bind(fd, &address->socket.any, address->socket_bytes) != 0)
        return -errno;
    if (lstat(path, &address->status) != 0)
        return -errno;
    if ((address->status.st_mode & 07777 & ~0600u) == 0)
        return 0;
    unlink(path);
    return -EPERM;
}

static int bind_network(int fd, struct http_address *address)
{
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, &address->socket.any, address->socket_bytes) != 0 ||
        getsockname(fd, &address->socket.any, &address->socket_bytes) != 0)
        return -errno;
    return 0;
}

int httpaddress_listen(struct http_address *address)
{
    int fd = httpfiles_socket(address->socket.any.sa_family);
    if (fd < 0)
        return fd;
    int error =
        address->reach == HTTP_REACH_USER ? bind_local(fd, address) : bind_network(fd, address);
    if (error == 0 && listen(fd, BACKLOG) != 0) {
        error = -errno;
        httpaddress_remove(address);
    }
    if (error == 0)
        return fd;
    httpfiles_close(fd);
    return error;
}

void httpaddress_remove(const struct http_address *address)
{
    struct stat status;
    if (address->reach == HTTP_REACH_USER && lstat(address->socket.local.sun_path, &status) == 0 &&
        status.st_dev == address->status.st_dev && status.st_ino == address->status.st_ino)
        unlink(address->socket.local.sun_path);
}

void httpaddress_print(const struct http_address *address, char *buffer, size_t size)
{
    char host[INET6_ADDRSTRLEN];
    unsigned port = ntohs(address->socket.v4.sin_port);
    if (address->reach == HTTP_REACH_USER) {
        print_format(buffer, size, "unix:%s", address->socket.local.sun_path);
    } else if (address->socket.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address->socket.v6.sin6_addr, host, sizeof(host));
        print_format(buffer, size, "http://[%s]:%u", host, port);
    } else {
        inet_ntop(AF_INET, &address->socket.v4.sin_addr, host, sizeof(host));
        print_format(buffer, size, "http://%s:%u", host, port);
    }
}

/* With or without the domain behind it. */
static bool is_machine_name(struct http_text host)
{
    char name[NAME_MAX_BYTES];
    if (gethostname(name, sizeof(name)) != 0)
        return false;
    name[sizeof(name) - 1] = '\0';
    size_t length = strlen(name);
    if (host.length > length && host.at[length] == '.')
        host.length = length;
    return length != 0 && httpparse_is_any_case(host, name);
}

bool httpaddress_is_own_host(const struct http_address *address, struct http_text host)
{
    uint64_t port;
    struct http_address named = {0};
    bool has_colon = host.length != 0 && memchr(host.at, ':', host.length) != NULL;
    bool is_bare_v6 = host.length != 0 && host.at[host.length - 1] == ']';
    if (has_colon && !is_bare_v6 && !split_port(&host, &port))
        return false;
    if (parse_numeric(&named, host))
        return address->reach != HTTP_REACH_MACHINE || named.reach == HTTP_REACH_MACHINE;
    return address->reach != HTTP_REACH_MACHINE && is_machine_name(host);
}

bool httpaddress_is_same_user(int fd)
{
    struct ucred peer;
    socklen_t bytes = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 && peer.uid == geteuid();
}
