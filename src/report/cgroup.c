#include "report/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/print.h"

enum { GROUP_PATH_MAX = 1024, LINE_MAX_BYTES = 4096 };

/* From here up a version 1 limit says that there is none. */
#define V1_NO_LIMIT ((uint64_t)1 << 62)

struct version {
    const char *limit, *use, *inactive;
};

static const struct version versions[] = {
    {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
    {"memory.max", "memory.current", "inactive_file "},
};

static struct {
    char root[GROUP_PATH_MAX];
    const struct version *version; // NULL: no group
    char mount[GROUP_PATH_MAX];    // where the groups are mounted
    char group[GROUP_PATH_MAX];    // this process's, below it; empty: that itself
    char mounted_root[GROUP_PATH_MAX];

    char path[3 * GROUP_PATH_MAX], text[LINE_MAX_BYTES];
} cgroup;

/* Calls `take` with each line of a file, its end cut off, until that answers true. Lines that are
 * too long are left out. */
static bool find_line(const char *path, bool (*take)(char *line))
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_found = false, is_too_long = false;
    size_t held = 0;
    while (fd >= 0 && !is_found) {
        ssize_t length = read(fd, cgroup.text + held, sizeof(cgroup.text) - held);
        if (length <= 0 && !(length < 0 && errno == EINTR))
            break;
        char *line = cgroup.text, *limit = cgroup.text + held + (length > 0 ? length : 0);
        for (char *end; !is_found && (end = memchr(line, '\n', (size_t)(limit - line))) != NULL;
             line = end + 1) {
            *end = '\0';
            is_found = !is_too_long && take(line);
            is_too_long = false;
        }
        held = (size_t)(limit - line);
        memmove(cgroup.text, line, held);
        if (held == sizeof(cgroup.text)) {
            is_too_long = true;
            held = 0;
        }
    }
    if (fd >= 0)
        close(fd);
    return is_found;
}

/* Cuts the text at its first `c`; returns what is behind, or NULL. */
static char *cut(char *text, char c)
{
    char *at = text != NULL ? strchr(text, c) : NULL;
    if (at != NULL)
        *at++ = '\0';
    return at;
}

static bool has_word(const char *words, const char *word)
{
    size_t length = strlen(word);
    while (words != NULL) {
        if (strncmp(words, word, length) == 0 && (words[length] == ',' || words[length] == '\0'))
            return true;
        words = strchr(words, ',');
        words += words != NULL;
    }
    return false;
}

static bool copy_path(char *target, const char *path)
{
    return print_format(target, GROUP_PATH_MAX, "%s", path) < GROUP_PATH_MAX - 1;
}

/* Lines of /proc/self/cgroup: ID:CONTROLLERS:PATH, of version 2 without controllers. */
static bool take_group_v1(char *line)
{
    char *controllers = cut(line, ':'), *path = cut(controllers, ':');
    return path != NULL && has_word(controllers, "memory") && copy_path(cgroup.group, path);
}

static bool take_group_v2(char *line)
{
    return strncmp(line, "0::", 3) == 0 && copy_path(cgroup.group, line + 3);
}

/* Lines of /proc/self/mountinfo: ID PARENT DEVICE ROOT MOUNT OPTIONS ... - TYPE SOURCE OPTIONS */
static bool take_mount(char *line)
{
    char *kind = strstr(line, " - "), *root = line;
    if (kind == NULL)
        return false;
    for (int i = 0; i < 3; i++)
        root = cut(root, ' ');
    char *mount = cut(root, ' '), *source, *options;
    cut(mount, ' ');
    kind += 3;
    source = cut(kind, ' ');
    options = cut(source, ' ');
    bool is_v1 = cgroup.version == &versions[0];
    if (strcmp(kind, is_v1 ? "cgroup" : "cgroup2") != 0 || (is_v1 && !has_word(options, "memory")))
        return false;
    return mount != NULL && copy_path(cgroup.mounted_root, root) && copy_path(cgroup.mount, mount);
}

static const char *path_of(const char *name)
{
    print_format(cgroup.path, sizeof(cgroup.path), "%s%s", cgroup.root, name);
    return cgroup.path;
}

/* What is mounted may be a group and not all of them: in a container often its own. Who is told of
 * a group that is not below it uses the one that is mounted. */
static void make_group_relative(void)
{
    size_t length = strlen(cgroup.mounted_root);
    if (strcmp(cgroup.mounted_root, "/") == 0)
        length = 0;
    if (strncmp(cgroup.group, cgroup.mounted_root, length) != 0 ||
        strstr(cgroup.group, "..") != NULL)
        cgroup.group[0] = '\0';
    memmove(cgroup.group, cgroup.group + min_size(length, strlen(cgroup.group)),
            strlen(cgroup.group) - min_size(length, strlen(cgroup.group)) + 1);
    if (strcmp(cgroup.group, "/") == 0)
        cgroup.group[0] = '\0';
}

void cgroup_init(const char *root)
{
    bool (*const take[])(char *) = {take_group_v1, take_group_v2};
    copy_path(cgroup.root, root);
    for (unsigned i = 0; i < array_count(versions); i++) {
        cgroup.version = &versions[i];
        if (find_line(path_of("/proc/self/cgroup"), take[i]) &&
            find_line(path_of("/proc/self/mountinfo"), take_mount)) {
            make_group_relative();
            return;
        }
    }
    cgroup.version = NULL;
}

/* The group's path without its last `level` parts. */
static bool length_of_level(unsigned level, size_t *length)
{
    *length = strlen(cgroup.group);
    for (; level > 0; level--) {
        if (*length == 0)
            return false;
        while (cgroup.group[--*length] != '/')
            continue;
    }
    return true;
}

static uint64_t number_in(const char *text)
{
    uint64_t number = 0;
    if (*text < '0' || *text > '9')
        return CGROUP_NO_LIMIT;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (uint64_t)(*text - '0');
    return number;
}

static uint64_t found_number;
static const char *found_key;

static bool take_number(char *line)
{
    size_t length = strlen(found_key);
    if (strncmp(line, found_key, length) != 0)
        return false;
    found_number = number_in(line + length);
    return true;
}

/* The number behind a key at a line's beginning; `otherwise` when there is none. */
static uint64_t read_number(size_t group_length, const char *file, const char *key,
                            uint64_t otherwise)
{
    print_format(cgroup.path, sizeof(cgroup.path), "%s%s%.*s/%s", cgroup.root, cgroup.mount,
                 (int)group_length, cgroup.group, file);
    found_key = key;
    return find_line(cgroup.path, take_number) ? found_number : otherwise;
}

bool cgroup_read(unsigned level, struct cgroup_memory *memory)
{
    size_t length;
    if (cgroup.version == NULL || !length_of_level(level, &length))
        return false;
    memory->used_bytes = 0;
    memory->limit_bytes = read_number(length, cgroup.version->limit, "", CGROUP_NO_LIMIT);
    if (memory->limit_bytes >= V1_NO_LIMIT)
        memory->limit_bytes = CGROUP_NO_LIMIT;
    if (memory->limit_bytes == CGROUP_NO_LIMIT)
        return true;
    uint64_t used = read_number(length, cgroup.version->use, "", 0);
    uint64_t inactive = read_number(length, "memory.stat", cgroup.version->inactive, 0);
    memory->used_bytes = used > inactive ? used - inactive : 0;
    return true;
}
