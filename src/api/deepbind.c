#define _GNU_SOURCE
#include "api/deepbind.h"

#include <dlfcn.h>

#include "base/base.h"

#if defined(HPM_REPLACE) && defined(PIC) && defined(RTLD_DEEPBIND)
static void *(*next_dlopen)(const char *, int);

void deepbind_init(void)
{
    *(void **)&next_dlopen = dlsym(RTLD_NEXT, "dlopen");
}

/* Leaves by a jump: the C library looks at the return address to learn whose search path counts. */
HPM_EXPORT __attribute__((optimize("O2", "omit-frame-pointer"))) void *dlopen(const char *path,
                                                                               int flags)
{
    if (unlikely(next_dlopen == NULL))
        deepbind_init();
    return next_dlopen(path, flags & ~RTLD_DEEPBIND);
}
#else
void deepbind_init(void)
{
}
#endif
