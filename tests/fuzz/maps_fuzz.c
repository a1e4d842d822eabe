/* libFuzzer's target for the reader of /proc/self/maps: each mapping it finds has a beginning
 * before its end, and a path that is one. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "prof/mappings.h"

static void check_mapping(const struct mapping *mapping)
{
    size_t length = strnlen(mapping->path, sizeof(mapping->path));
    bool is_path = mapping->path[0] == '/' || strcmp(mapping->path, "[vdso]") == 0;
    if (mapping->start >= mapping->limit || !is_path || length == sizeof(mapping->path))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static int fd = -1;
    static char path[64];
    struct mapping_list list;
    if (fd < 0) {
        fd = memfd_create("maps", 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    if (ftruncate(fd, 0) != 0 || pwrite(fd, input, size, 0) != (ssize_t)size)
        return 0;
    mappings_read(&list, path);
    for (size_t i = 0; i < list.count; i++)
        check_mapping(&list.mappings[i]);
    mappings_free(&list);
    return 0;
}
