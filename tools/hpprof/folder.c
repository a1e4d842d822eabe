#include "folder.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool folder_make(char folder[PATH_MAX], const char *preferred)
{
    char above[PATH_MAX];
    const char *place = getenv("TMPDIR");
    if (preferred != NULL && access(preferred, W_OK | X_OK) == 0)
        place = preferred;
    return realpath(place != NULL && *place != '\0' ? place : "/tmp", above) != NULL &&
           (size_t)snprintf(folder, PATH_MAX, "%s/hpprof.XXXXXX", above) < PATH_MAX &&
           mkdtemp(folder) != NULL;
}

void folder_remove(const char *folder)
{
    char pattern[PATH_MAX + 32];
    glob_t found;
    snprintf(pattern, sizeof(pattern), "%s/*", folder);
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            unlink(found.gl_pathv[i]);
        globfree(&found);
    }
    rmdir(folder);
}
