/* For secure.sh: does what makes every option show, and says what it sees of them. With an argument
 * it sends itself the dump signal. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "hpmalloc.h"

int main(int count, char **arguments)
{
    static char *volatile kept[2000];
    for (int i = 0; i < 2000; i++)
        kept[i] = memset(hpm_malloc(3000), i, 3000);
    char *volatile block = hpm_malloc(70);
    block[70] = 1;
    hpm_free(block);
    printf("secure %lu, interval %zu, %s\n", getauxval(AT_SECURE), hpm_profile_interval(),
           kept[1999] != NULL ? "memory" : "no memory");
    fflush(stdout);
    if (count > 1)
        kill(getpid(), atoi(arguments[1]));
    puts("goes on");
    return 0;
}
