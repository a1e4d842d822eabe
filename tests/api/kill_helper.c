/* Its child dumps without a pause and is killed after a time that its argument seeds, three of four
 * times counted from its first dump; kill.sh looks at what is left. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hpmalloc.h"

static void *volatile kept[3000];

static void dump_for_ever(int told)
{
    for (int i = 0; i < 3000; i++)
        kept[i] = hpm_malloc(3000);
    if (hpm_profile_dump(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, NULL) != 0 || write(told, "d", 1) != 1)
        _exit(1);
    for (;;)
        hpm_profile_dump(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, NULL);
}

/* For however long it takes on a busy machine, or under an emulator. */
static void wait_for_a_dump(const int ends[2])
{
    char byte;
    close(ends[1]);
    if (read(ends[0], &byte, 1) != 1)
        fputs("kill_helper: the child made no dump\n", stderr);
}

int main(int count, char **arguments)
{
    uint64_t seed = count > 1 ? strtoull(arguments[1], NULL, 10) : 0;
    hpm_profile_set_interval(4096);
    int ends[2];
    if (pipe(ends) != 0)
        return 1;
    pid_t child = fork();
    if (child == 0)
        dump_for_ever(ends[1]);
    if (seed % 4 != 0)
        wait_for_a_dump(ends);
    usleep((useconds_t)(5000 + (seed * 2654435761u >> 7) % 60000));
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    return !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL;
}
