/* A library that torture.c opens. Compiled with different FRAME_BYTES its frames, and so the rules
 * to unwind them, differ. */
#include <stdlib.h>
#include <string.h>

static char *early[3];

/* Of one length in memory either way, but not in the file. */
#if defined(PAD_IN_FILE)
const char plugin_pad[65536] = {1};
#elif defined(PAD_IN_MEMORY)
char plugin_pad[65536];
#endif

__attribute__((constructor)) static void begin(void)
{
    for (size_t i = 0; i < 3; i++)
        early[i] = strcpy(malloc(100 * i + 50), "from the constructor");
}

__attribute__((destructor)) static void end(void)
{
    for (size_t i = 0; i < 3; i++)
        free(early[i]);
}

__attribute__((noinline)) static void *plugin_inner(size_t bytes)
{
    volatile char frame[FRAME_BYTES];
    frame[bytes % FRAME_BYTES] = 1;
    void *block = malloc(bytes);
    frame[0] = 2;
    return block;
}

void *plugin_allocate(size_t bytes)
{
    volatile char frame[FRAME_BYTES * 2];
    frame[bytes % FRAME_BYTES] = 1;
    void *block = plugin_inner(bytes);
    frame[0] = 2;
    return block;
}
