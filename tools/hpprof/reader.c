#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hpprof.h"
#include "inflate.h"

enum { FIRST_BYTES = 1 << 16 };

struct bytes {
    uint8_t *data;
    size_t count, capacity;
};

static bool read_all(int fd, struct bytes *bytes)
{
    for (;;) {
        if (bytes->capacity - bytes->count < FIRST_BYTES / 2) {
            bytes->capacity = bytes->capacity != 0 ? 2 * bytes->capacity : FIRST_BYTES;
            uint8_t *larger = realloc(bytes->data, bytes->capacity);
            if (larger == NULL)
                return false;
            bytes->data = larger;
        }
        ssize_t count = read(fd, bytes->data + bytes->count, bytes->capacity - bytes->count);
        if (count < 0 && errno != EINTR)
            return false;
        if (count == 0)
            return true;
        bytes->count += count > 0 ? (size_t)count : 0;
        if (bytes->count > INFLATE_BYTES_MAX) {
            errno = EFBIG;
            return false;
        }
    }
}

static bool read_file(const char *path, struct bytes *bytes)
{
    bool is_input = strcmp(path, "-") == 0;
    int fd = is_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    bool done = fd >= 0 && read_all(fd, bytes);
    if (!done)
        failed("%s: %s", path, strerror(errno));
    if (fd >= 0 && !is_input)
        close(fd);
    return done;
}

static bool unpack(struct bytes *bytes, const char **trouble)
{
    if (bytes->count == 0) {
        *trouble = "it is empty";
        return false;
    }
    if (inflate_wrapping(bytes->data, bytes->count) == WRAPPING_NONE)
        return true;
    struct bytes plain = {0};
    plain.data = inflate_all(bytes->data, bytes->count, &plain.count, trouble);
    if (plain.data == NULL)
        return false;
    free(bytes->data);
    *bytes = plain;
    return true;
}

static bool begins_with(const struct bytes *bytes, const char *text)
{
    return bytes->count >= strlen(text) && memcmp(bytes->data, text, strlen(text)) == 0;
}

static bool read_any(struct profile *profile, const struct bytes *bytes, const char **trouble)
{
    if (legacyread_is_one(bytes->data, bytes->count))
        return legacyread(profile, bytes->data, bytes->count, trouble);
    if (begins_with(bytes, "hpmalloc ")) {
        *trouble = "it is the text for people; dump as pprof (the same data), or legacy";
        return false;
    }
    if (foldedread_is_one(bytes->data, bytes->count))
        return foldedread(profile, bytes->data, bytes->count, trouble);
    return protoread(profile, bytes->data, bytes->count, trouble);
}

struct profile *reader_open(const char *path)
{
    struct bytes bytes = {0};
    struct profile *profile = NULL;
    const char *trouble = NULL;
    if (read_file(path, &bytes)) {
        profile = profile_alloc(path);
        if (!unpack(&bytes, &trouble) || !read_any(profile, &bytes, &trouble)) {
            failed("%s: %s", path, trouble);
            profile_free(profile);
            profile = NULL;
        }
    }
    free(bytes.data);
    return profile;
}
