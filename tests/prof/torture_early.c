/* Preloaded behind the library, so that its constructor runs first: it opens the library $EARLY, and
 * main() (of the program that is made of this file with -DPROGRAM) has it closed and opens another,
 * named as its argument, which may come to lie in the same place. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

#ifdef PROGRAM
int main(int count, char **arguments)
{
    int (*close_early)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "close_early");
    if (count != 2 || close_early == NULL || close_early() != 0)
        return 2;
    void *library = dlopen(arguments[1], RTLD_NOW);
    if (library == NULL)
        return 3;
    void *(*allocate)(size_t) = (void *(*)(size_t))dlsym(library, "plugin_allocate");
    return allocate == NULL || allocate(5000) == NULL;
}
#else
static void *early;

__attribute__((constructor)) static void open_early(void)
{
    early = dlopen(getenv("EARLY"), RTLD_NOW);
}

int close_early(void)
{
    return early == NULL ? -1 : dlclose(early);
}
#endif
