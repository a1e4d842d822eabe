/* Where to serve, and which names a client may call that place by.
 *
 *   http  --text-->  httpaddress  --socket-->  http
 *
 * A listening socket on the file system has mode 0600. One that is there already is replaced only
 * when it is of this user and nobody listens at it.
 *
 * Fails: a negative errno. */
#ifndef HPM_REPORT_HTTPADDRESS_H
#define HPM_REPORT_HTTPADDRESS_H

#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "report/httpparse.h"

enum http_reach {
    HTTP_REACH_USER,    // a socket on the file system: this user's processes
    HTTP_REACH_MACHINE, // loopback
    HTTP_REACH_NETWORK
};

struct http_address {
    enum http_reach reach;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } socket;
    socklen_t socket_bytes;
    struct stat status; // of the socket's file, once it listens
};

/* `127.0.0.1:6060`, `[::1]:6060`, `localhost:6060`, `unix:/path` with %e, %p and %%. False: it is
 * none. */
bool httpaddress_parse(struct http_address *address, const char *text);

/* The descriptor; a port of 0 becomes the one that was chosen. */
int httpaddress_listen(struct http_address *address);

/* Removes the socket's file, if it is still ours. */
void httpaddress_remove(const struct http_address *address);

/* As a client would write it: `http://127.0.0.1:6060`, `unix:/path`. */
void httpaddress_print(const struct http_address *address, char *buffer, size_t size);

/* Whether a Host field means this server: on loopback its names and addresses; elsewhere any
 * address, and the machine's name. A page of another site cannot make a browser send these. */
bool httpaddress_is_own_host(const struct http_address *address, struct http_text host);

/* Whether the other end of a connection to a socket on the file system is this user's. */
bool httpaddress_is_same_user(int fd);

#endif
