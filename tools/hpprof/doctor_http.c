/* Whether HPMALLOC_HTTP is served, and if not, why not. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "doctor.h"

static const char server_thread[] = "hpm-http\n";

static bool has_thread(const struct doctor *doctor, const char *name)
{
    char path[300];
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%ld/task", (long)doctor->process.pid);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder != NULL && !found && (entry = readdir(folder)) != NULL;) {
        snprintf(path, sizeof(path), "task/%.200s/comm", entry->d_name);
        char *text = process_read(doctor->process.pid, path);
        found = text != NULL && strcmp(text, name) == 0;
        free(text);
    }
    if (folder != NULL)
        closedir(folder);
    return found;
}

/* "127.0.0.1:6060", "[::1]:6060". */
static struct addrinfo *parse(const char *text)
{
    char host[256];
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM},
                    *list = NULL;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == '\0' || (size_t)(colon - text) >= sizeof(host))
        return NULL;
    size_t length = (size_t)(colon - text);
    bool has_brackets = length >= 2 && text[0] == '[' && text[length - 1] == ']';
    snprintf(host, sizeof(host), "%.*s", (int)(length - 2 * has_brackets), text + has_brackets);
    return getaddrinfo(host, colon + 1, &hints, &list) == 0 ? list : NULL;
}

static bool is_of_this_machine(const char *text)
{
    return strncmp(text, "127.", 4) == 0 || strncmp(text, "[::1]:", 6) == 0 ||
           strncmp(text, "[::ffff:127.", 12) == 0;
}

/* What bind(2) says of the address now, when nobody of its owner's binds it. */
static int try_to_bind(const struct addrinfo *address)
{
    int one = 1, error = 0;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0)
        error = errno;
    close(fd);
    return error;
}

static const char *token_file(const struct doctor *doctor)
{
    uint64_t unused;
    return process_option(&doctor->process, OPTION_HTTP_TOKEN_FILE, &unused);
}

/* As the library wants it: for nobody but its user. */
static bool check_token(struct doctor *doctor)
{
    const char *path = token_file(doctor);
    struct stat status;
    if (path == NULL)
        return true;
    int error = doctor_access(doctor, path, R_OK);
    if (error != 0)
        doctor_find(doctor, "http-token", "correct HPMALLOC_HTTP_TOKEN_FILE, or the file's rights",
                    "the token's file %s cannot be read: %s", path, strerror(error));
    else if (stat(doctor_reach(doctor, path), &status) == 0 &&
             (!S_ISREG(status.st_mode) || (status.st_mode & 027) != 0))
        doctor_find(doctor, "http-token", doctor_text(doctor, "chmod 600 %s", path),
                    "the token's file %s is no plain file, or others may read or change it", path);
    else
        return true;
    return false;
}

/* Who listens at it now; an address where nobody does may have been taken before. */
static void explain_bind(struct doctor *doctor, const char *text, int error)
{
    if (error == EADDRINUSE)
        doctor_find(doctor, "http-in-use",
                    "choose another port, or put %p into a socket's path; it is tried once, as the "
                    "program begins",
                    "HPMALLOC_HTTP=%s: the address is taken by another process", text);
    else if (error != 0)
        doctor_find(doctor, "http-address", "choose one that it may have",
                    "HPMALLOC_HTTP=%s cannot be served at: %s", text, strerror(error));
    else if (!doctor->is_planned)
        doctor_find(doctor, "http-not-serving", "its stderr said why, as it began; start it anew",
                    "HPMALLOC_HTTP=%s is not served: the address was taken then, its time "
                    "(HPMALLOC_HTTP_TTL) is over, or the program closed its socket",
                    text);
}

static void explain_network(struct doctor *doctor, const char *text)
{
    struct addrinfo *address = parse(text);
    if (address == NULL)
        doctor_find(doctor, "http-address", "give 127.0.0.1:6060, [::1]:6060 or unix:/path",
                    "HPMALLOC_HTTP=%s is no address", text);
    else if (!is_of_this_machine(text) && token_file(doctor) == NULL)
        doctor_find(doctor, "http-token", "set HPMALLOC_HTTP_TOKEN_FILE, or serve at 127.0.0.1",
                    "HPMALLOC_HTTP=%s is for other machines too, which takes a token", text);
    else
        explain_bind(doctor, text, doctor_shares(doctor, "net") ? try_to_bind(address) : 0);
    if (address != NULL)
        freeaddrinfo(address);
}

static const char *expand(struct doctor *doctor, const char *text)
{
    const char *path = "";
    for (; *text != '\0'; text++) {
        bool is_directive = text[0] == '%' && text[1] != '\0';
        text += is_directive;
        if (is_directive && *text == 'e')
            path = doctor_text(doctor, "%s%s", path, doctor->program);
        else if (is_directive && *text == 'p')
            path = doctor_text(doctor, "%s%ld", path, (long)doctor->process.own_pid);
        else
            path = doctor_text(doctor, "%s%c", path, *text);
    }
    return path;
}

static bool is_answered(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool done = false;
    if (fd >= 0 && strlen(path) < sizeof(address.sun_path)) {
        strcpy(address.sun_path, path);
        done = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    }
    if (fd >= 0)
        close(fd);
    return done;
}

static void explain_local(struct doctor *doctor, const char *text)
{
    struct sockaddr_un address;
    const char *path = expand(doctor, text + strlen("unix:"));
    const char *slash = strrchr(path, '/');
    if (*path != '/' || strlen(path) >= sizeof(address.sun_path)) {
        doctor_find(doctor, "http-address", "give one that begins with / and is short",
                    "HPMALLOC_HTTP=%s is no path of a socket", text);
        return;
    }
    const char *folder = doctor_text(doctor, "%.*s", (int)(slash - path) + 1, path);
    int error = doctor_access(doctor, folder, W_OK | X_OK);
    struct stat status;
    if (error == 0 && lstat(doctor_reach(doctor, path), &status) == 0 &&
        (!S_ISSOCK(status.st_mode) || is_answered(doctor_reach(doctor, path))))
        error = EADDRINUSE;
    explain_bind(doctor, text, error);
}

void doctor_http(struct doctor *doctor)
{
    uint64_t unused;
    const char *text = process_option(&doctor->process, OPTION_HTTP, &unused);
    if (text == NULL || doctor_has(doctor, "program-pattern") ||
        (!doctor->is_planned && has_thread(doctor, server_thread)) || !check_token(doctor))
        return;
    if (strncmp(text, "unix:", strlen("unix:")) == 0)
        explain_local(doctor, text);
    else
        explain_network(doctor, text);
}
