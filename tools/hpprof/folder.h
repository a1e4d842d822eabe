/* A private folder for files that go away with us. */
#ifndef HPPROF_FOLDER_H
#define HPPROF_FOLDER_H

#include <limits.h>
#include <stdbool.h>

/* Below `preferred` where that can be written to (NULL: nowhere in particular), else where TMPDIR
 * says. False: errno says why. */
bool folder_make(char folder[PATH_MAX], const char *preferred);

/* With the files in it. */
void folder_remove(const char *folder);

#endif
