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

char *plugin_allocate(size_t bytes)
{
    return malloc(bytes);
}

void plugin_free(void *block)
{
    free(block);
}
