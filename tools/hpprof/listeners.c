#define _GNU_SOURCE
#include "listeners.h"

#include <dirent.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "pattern.h"

enum { LISTENS_LOCAL = 0x10000, LISTENS_NETWORK = 0x0a };

/* Inodes of the sockets that a process has open. */
struct sockets {
    uint64_t *inodes;
    size_t count, capacity;
};

static void add_socket(struct sockets *sockets, int folder, const char *name)
{
    char target[64];
    uint64_t inode;
    ssize_t length = readlinkat(folder, name, target, sizeof(target) - 1);
    target[length > 0 ? length : 0] = '\0';
    if (sscanf(target, "socket:[%" SCNu64 "]", &inode) == 1)
        *memory_push(sockets->inodes, sockets->count, sockets->capacity) = inode;
}

static void list_sockets(struct sockets *sockets, const struct process *process)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%ld/fd", (long)process->pid);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        add_socket(sockets, dirfd(folder), entry->d_name);
    closedir(folder);
}

static bool holds(const struct sockets *sockets, uint64_t inode)
{
    for (size_t i = 0; i < sockets->count; i++) {
        if (sockets->inodes[i] == inode)
            return true;
    }
    return false;
}

/* Calls `take` for each line of a table of the process's network until it returns true. */
static bool find_line(const struct process *process, const char *table,
                      bool (*take)(const char *line, const struct sockets *sockets, void *wanted),
                      void *wanted)
{
    char path[64], line[512];
    bool found = false;
    struct sockets sockets = {0};
    snprintf(path, sizeof(path), "/proc/%ld/net/%s", (long)process->pid, table);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    list_sockets(&sockets, process);
    while (!found && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = take(line, &sockets, wanted);
    }
    fclose(file);
    memory_free(sockets.inodes);
    return found;
}

struct wanted_path {
    struct pattern pattern;
    char *path;
    size_t size;
};

static bool take_path(const char *line, const struct sockets *sockets, void *argument)
{
    struct wanted_path *wanted = argument;
    unsigned flags;
    uint64_t inode;
    int path = 0;
    if (sscanf(line, "%*s %*s %*s %x %*s %*s %" SCNu64 " %n", &flags, &inode, &path) < 2 ||
        path == 0 || (flags & LISTENS_LOCAL) == 0 || !holds(sockets, inode) ||
        fnmatch(wanted->pattern.text, line + path, 0) != 0)
        return false;
    return (size_t)snprintf(wanted->path, wanted->size, "%s", line + path) < wanted->size;
}

bool listeners_find_path(const struct process *process, const char *pattern, char *path,
                         size_t size)
{
    static struct wanted_path wanted;
    wanted = (struct wanted_path){.path = path, .size = size};
    pattern_put_path(&wanted.pattern, pattern, pattern + strlen(pattern), process->own_pid);
    return !wanted.pattern.is_too_long && find_line(process, "unix", take_path, &wanted);
}

struct wanted_port {
    unsigned port;  // 0: any
    unsigned found; // the last of them
    unsigned count;
};

/* The same port of both kinds of address is one. */
static bool take_port(const char *line, const struct sockets *sockets, void *argument)
{
    struct wanted_port *wanted = argument;
    unsigned port, state;
    uint64_t inode;
    if (sscanf(line, "%*s %*[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*s %*s %" SCNu64, &port, &state,
               &inode) == 3 &&
        state == LISTENS_NETWORK && (wanted->port == 0 || wanted->port == port) &&
        port != wanted->found && holds(sockets, inode)) {
        wanted->found = port;
        wanted->count++;
    }
    return false;
}

unsigned listeners_find_port(const struct process *process, unsigned port)
{
    struct wanted_port wanted = {.port = port};
    find_line(process, "tcp", take_port, &wanted);
    find_line(process, "tcp6", take_port, &wanted);
    return wanted.count == 1 ? wanted.found : 0;
}
