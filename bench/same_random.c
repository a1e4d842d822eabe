/* Preloaded into a program whose work is to be counted: /dev/urandom gives zeros, so that what it
 * seeds from there, its hash tables for one, is alike in every run. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*next)(const char *, const char *) =
        (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
    return next(strcmp(path, "/dev/urandom") == 0 ? "/dev/zero" : path, mode);
}

#ifdef __GLIBC__ // elsewhere it is the same function
FILE *fopen64(const char *path, const char *mode)
{
    return fopen(path, mode);
}
#endif
