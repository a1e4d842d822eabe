/* dlopen without RTLD_DEEPBIND: a library that binds malloc to the C library's own would hand its
 * blocks to our free, and ours to the C library's. And dlclose, to tell the unwinder that code is
 * gone. The C library's own are looked up at the first call: most programs make none. In a static
 * program there is nothing to do. */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "base/base.h"
#include "prof/unwind_cache.h"

#if defined(HPM_REPLACE) && defined(PIC) && defined(RTLD_DEEPBIND)
typedef void *dlopen_function(const char *, int);
typedef int dlclose_function(void *);

static dlopen_function *next_dlopen(void)
{
    static dlopen_function *_Atomic next;
    if (unlikely(next == NULL))
        next = (dlopen_function *)dlsym(RTLD_NEXT, "dlopen");
    return next;
}

static dlclose_function *next_dlclose(void)
{
    static dlclose_function *_Atomic next;
    if (unlikely(next == NULL))
        next = (dlclose_function *)dlsym(RTLD_NEXT, "dlclose");
    return next;
}

/* Leaves by a jump: the C library looks at the return address to learn whose search path counts. */
HPM_EXPORT __attribute__((optimize("O2", "omit-frame-pointer"))) void *dlopen(const char *path,
                                                                               int flags)
{
    return next_dlopen()(path, flags & ~RTLD_DEEPBIND);
}

HPM_EXPORT int dlclose(void *library)
{
    int status = next_dlclose()(library);
    unwind_cache_forget();
    return status;
}
#endif
