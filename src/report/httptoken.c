#include "report/httptoken.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int httptoken_set(struct http_token *token, const char *text, size_t length)
{
    if (length < HTTPTOKEN_MIN || length > HTTPTOKEN_MAX)
        return -EINVAL;
    for (size_t i = 0; i < length; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return -EINVAL;
    }
    memcpy(token->bytes, text, length);
    token->length = length;
    return 0;
}

static int check(int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return -errno;
    bool is_safe = S_ISREG(status.st_mode) && (status.st_mode & 027) == 0 &&
                   (status.st_uid == geteuid() || status.st_uid == 0);
    return is_safe ? 0 : -EPERM;
}

static int read_open(struct http_token *token, int fd)
{
    char text[HTTPTOKEN_MAX + 2];
    int error = check(fd);
    if (error != 0)
        return error;
    ssize_t length = read(fd, text, sizeof(text));
    if (length < 0)
        return -errno;
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
        length--;
    return httptoken_set(token, text, (size_t)length);
}

int httptoken_read(struct http_token *token, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    int error = read_open(token, fd);
    close(fd);
    return error;
}

bool httptoken_is_carried(const struct http_token *token, struct http_text authorization)
{
    static const char scheme[] = "Bearer ";
    enum { SCHEME_BYTES = sizeof(scheme) - 1 };
    if (authorization.length < SCHEME_BYTES)
        return false;
    struct http_text word = {authorization.at, SCHEME_BYTES};
    if (!httpparse_is_any_case(word, scheme))
        return false;
    const char *given = authorization.at + SCHEME_BYTES;
    size_t given_bytes = authorization.length - SCHEME_BYTES;
    volatile unsigned char differs = given_bytes != token->length;
    for (size_t i = 0; i < token->length; i++)
        differs |= (unsigned char)(token->bytes[i] ^ (i < given_bytes ? given[i] : 0));
    return differs == 0;
}
