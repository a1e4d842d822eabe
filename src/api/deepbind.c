#define _GNU_SOURCE
#include "api/deepbind.h"

#include <dlfcn.h>

#include "base/base.h"
#include "prof/unwind_cache.h"

#if defined(HPM_REPLACE) && defined(PIC) && defined(RTLD_DEEPBIND)
static void *(*next_dlopen)(const char *, int);
static int (*next_dlclose)(void *);

void deepbind_init(void)
{
    *(void **)&next_dlopen = dlsym(RTLD_NEXT, "dlopen");
    *(void **)&next_dlclose = dlsym(RTLD_NEXT, "dlclose");
}

/* Leaves by a jump: the C library looks at the return address to learn whose search path counts. */
HPM_EXPORT __attribute__((optimize("O2", "omit-frame-pointer"))) void *dlopen(const char *path,
                                                                               int flags)
{
    if (unlikely(next_dlopen == NULL))
        deepbind_init();
    return next_dlopen(path, flags & ~RTLD_DEEPBIND);
}
HPM_EXPORT int dlclose(void *library)
{
    if (unlikely(next_dlclose == NULL))
        deepbind_init();
    int status = next_dlclose(library);
    unwind_cache_forget();
    return status;
}
#else
void deepbind_init(void)
{
}
#endif
