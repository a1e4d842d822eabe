#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { READ_BYTES = 1 << 16 };

/* A file rather than a pipe: nobody has to read while writing. */
static FILE *make_input(const char *input, size_t bytes)
{
    FILE *file = tmpfile();
    if (file == NULL)
        return NULL;
    if (fwrite(input, 1, bytes, file) == bytes && fflush(file) == 0 &&
        lseek(fileno(file), 0, SEEK_SET) == 0)
        return file;
    fclose(file);
    return NULL;
}

static bool start(pid_t *child, char *const *arguments, int input, int output)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return false;
    bool done =
        posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO) == 0 &&
        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO) == 0 &&
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0) == 0 &&
        posix_spawnp(child, arguments[0], &actions, NULL, arguments, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    return done;
}

static char *read_all(int fd, size_t *output_bytes)
{
    size_t used = 0, capacity = 2 * READ_BYTES;
    char *text = malloc(capacity);
    while (text != NULL) {
        ssize_t count = read(fd, text + used, READ_BYTES);
        if (count <= 0 && !(count < 0 && errno == EINTR)) {
            text[used] = '\0';
            *output_bytes = used;
            return text;
        }
        used += count > 0 ? (size_t)count : 0;
        if (capacity - used > READ_BYTES)
            continue;
        capacity *= 2;
        char *larger = realloc(text, capacity);
        if (larger == NULL)
            free(text);
        text = larger;
    }
    return NULL;
}

static bool has_succeeded(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return false;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

char *child_filter(char *const *arguments, const char *input, size_t input_bytes,
                   size_t *output_bytes)
{
    int ends[2];
    char *output = NULL;
    pid_t child;
    FILE *file = make_input(input, input_bytes);
    if (file == NULL)
        return NULL;
    if (pipe2(ends, O_CLOEXEC) == 0) {
        bool started = start(&child, arguments, fileno(file), ends[1]);
        close(ends[1]);
        if (started) {
            output = read_all(ends[0], output_bytes);
            if (!has_succeeded(child)) {
                free(output);
                output = NULL;
            }
        }
        close(ends[0]);
    }
    fclose(file);
    return output;
}

bool child_exists(const char *program)
{
    char path[PATH_MAX];
    const char *folders = getenv("PATH");
    for (const char *at = folders != NULL ? folders : "/usr/bin:/bin"; *at != '\0';) {
        size_t length = strcspn(at, ":");
        int used = snprintf(path, sizeof(path), "%.*s/%s", (int)length, at, program);
        if (used > 0 && (size_t)used < sizeof(path) && access(path, X_OK) == 0)
            return true;
        at += length + (at[length] == ':');
    }
    return false;
}
