/* A library that lifecycle_test.c opens: it knows nothing of the allocator. */
#include <stdlib.h>
#include <string.h>

static char *early;

__attribute__((constructor(101))) static void begin(void)
{
    early = strcpy(malloc(100), "from the plugin's constructor");
}

__attribute__((destructor)) static void end(void)
{
    free(early);
}

char *plugin_get_early(void)
{
    return early;
}

/* Is among the callers of malloc, for it has something to do afterwards. */
char *plugin_allocate(size_t bytes)
{
    char *block = malloc(bytes);
    if (block != NULL && bytes != 0)
        block[0] = 1;
    return block;
}

void plugin_free(void *block)
{
    free(block);
}
