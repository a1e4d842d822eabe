/* C++'s operator new and delete, by symbol name: in C, so that the library needs no C++ runtime.
 *
 * A failing new calls the program's new-handler until there is none, and then throws
 * std::bad_alloc, both through the program's own C++ library. */
#define _GNU_SOURCE
#include "api/hardening.h"
#include "api/malloc.h"
#include "base/print.h"

#ifdef HPM_REPLACE
typedef void (*new_handler)(void);

/* In a shared library they are there when the program is C++. A static program links this room only
 * when it uses operator new, and must then get them from its C++ library. */
#ifdef PIC
#define FROM_CXX HPM_WEAK
#else
#define FROM_CXX
#endif
FROM_CXX extern new_handler get_new_handler(void) __asm__("_ZSt15get_new_handlerv");
FROM_CXX extern void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv");

static bool call_new_handler(void)
{
    new_handler handler = get_new_handler != NULL ? get_new_handler() : NULL;
    if (handler == NULL)
        return false;
    handler();
    return true;
}

HPM_API_SLOW static void *alloc_or_handle(size_t bytes, size_t alignment)
{
    void *address;
    while ((address = malloc_aligned(bytes, alignment)) == NULL) {
        if (!call_new_handler())
            return NULL;
    }
    return address;
}

HPM_API_SLOW static void *new_slow(size_t bytes, size_t alignment)
{
    void *address = alloc_or_handle(bytes, alignment);
    if (address != NULL)
        return address;
    if (throw_bad_alloc != NULL)
        throw_bad_alloc();
    die("operator new of %zu bytes: no memory, and no C++ library to throw std::bad_alloc", bytes);
}

HPM_API static inline void *new_fast(size_t bytes)
{
    void *address = malloc_fast(bytes);
    return likely(address != NULL) ? address : new_slow(bytes, OBJECT_ALIGNMENT);
}

/* The handler may throw; nothrow new then returns NULL by the standard, which would need the C++
 * runtime to catch. A handler that throws from nothrow new is passed on. */
HPM_API static inline void *new_nothrow(size_t bytes)
{
    void *address = malloc_fast(bytes);
    return likely(address != NULL) ? address : alloc_or_handle(bytes, OBJECT_ALIGNMENT);
}

#define NEW(name, symbol, parameters, body)                                                        \
    HPM_EXPORT HPM_API void *name parameters __asm__(symbol);                                      \
    void *name parameters                                                                          \
    {                                                                                              \
        return body;                                                                               \
    }

NEW(new_one, "_Znwm", (size_t bytes), new_fast(bytes))
NEW(new_array, "_Znam", (size_t bytes), new_fast(bytes))
NEW(new_one_nothrow, "_ZnwmRKSt9nothrow_t", (size_t bytes, const void *tag),
    ((void)tag, new_nothrow(bytes)))
NEW(new_array_nothrow, "_ZnamRKSt9nothrow_t", (size_t bytes, const void *tag),
    ((void)tag, new_nothrow(bytes)))
NEW(new_one_aligned, "_ZnwmSt11align_val_t", (size_t bytes, size_t alignment),
    new_slow(bytes, alignment))
NEW(new_array_aligned, "_ZnamSt11align_val_t", (size_t bytes, size_t alignment),
    new_slow(bytes, alignment))
NEW(new_one_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t",
    (size_t bytes, size_t alignment, const void *tag),
    ((void)tag, alloc_or_handle(bytes, alignment)))
NEW(new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t",
    (size_t bytes, size_t alignment, const void *tag),
    ((void)tag, alloc_or_handle(bytes, alignment)))

/* Size and alignment given to delete are not needed to find the object, but may be looked at. */
#define DELETE(name, symbol, parameters, body)                                                     \
    HPM_EXPORT HPM_API void name parameters __asm__(symbol);                                       \
    void name parameters                                                                           \
    {                                                                                              \
        body;                                                                                      \
    }

#define NO_SIZE ((size_t)HARDENING_NO_SIZE)
#pragma GCC diagnostic ignored "-Wunused-parameter"
DELETE(delete_one, "_ZdlPv", (void *address), free_fast(address))
DELETE(delete_array, "_ZdaPv", (void *address), free_fast(address))
DELETE(delete_one_nothrow, "_ZdlPvRKSt9nothrow_t", (void *address, const void *tag),
       free_fast(address))
DELETE(delete_array_nothrow, "_ZdaPvRKSt9nothrow_t", (void *address, const void *tag),
       free_fast(address))
DELETE(delete_one_sized, "_ZdlPvm", (void *address, size_t bytes),
       free_fast_sized(address, bytes, HARDENING_NO_ALIGNMENT))
DELETE(delete_array_sized, "_ZdaPvm", (void *address, size_t bytes),
       free_fast_sized(address, bytes, HARDENING_NO_ALIGNMENT))
DELETE(delete_one_aligned, "_ZdlPvSt11align_val_t", (void *address, size_t alignment),
       free_fast_sized(address, NO_SIZE, alignment))
DELETE(delete_array_aligned, "_ZdaPvSt11align_val_t", (void *address, size_t alignment),
       free_fast_sized(address, NO_SIZE, alignment))
DELETE(delete_one_sized_aligned, "_ZdlPvmSt11align_val_t",
       (void *address, size_t bytes, size_t alignment), free_fast_sized(address, bytes, alignment))
DELETE(delete_array_sized_aligned, "_ZdaPvmSt11align_val_t",
       (void *address, size_t bytes, size_t alignment), free_fast_sized(address, bytes, alignment))
DELETE(delete_one_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t",
       (void *address, size_t alignment, const void *tag),
       free_fast_sized(address, NO_SIZE, alignment))
DELETE(delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t",
       (void *address, size_t alignment, const void *tag),
       free_fast_sized(address, NO_SIZE, alignment))
#endif
