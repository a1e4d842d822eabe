/* An allocator that does nothing, preloaded under bench/pairs to count what the loop and the calls
 * through the PLT take. Every block is the same memory: good for bench/pairs, and for no other
 * program. realloc and calloc stay libc's; bench/pairs calls neither. */
#include <stddef.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT void *malloc(size_t bytes);
EXPORT void free(void *object);

static _Alignas(16) char block[64 * 1024];

void *malloc(size_t bytes)
{
    (void)bytes;
    return block;
}

void free(void *object)
{
    (void)object;
}
