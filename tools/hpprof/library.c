#define _GNU_SOURCE
#include "library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

/* Beside hpprof in a build tree, in the folder for libraries when installed: below the same prefix
 * first, for one that was moved as a whole. */
const char *library_find(char path[PATH_MAX])
{
    static const char *const places[] = {".libs/libhpmalloc.so", "../lib/libhpmalloc.so",
                                         "../lib64/libhpmalloc.so", HPPROF_LIBDIR "/libhpmalloc.so",
                                         HPPROF_LIBDIR "/libhpmalloc.so.0"};
    char folder[PATH_MAX], candidate[2 * PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof(folder) - 1);
    folder[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        *slash = '\0';
    for (size_t i = 0; i < array_count(places); i++) {
        snprintf(candidate, sizeof(candidate), places[i][0] == '/' ? "%.0s%s" : "%s/%s", folder,
                 places[i]);
        if (access(candidate, R_OK) == 0 && realpath(candidate, path) != NULL)
            return path;
    }
    return NULL;
}
