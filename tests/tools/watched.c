/* A program to be watched: fills a cache, then forgets 20 times 5000 bytes a hundred times a second
 * or so, until it is told to end, or for as many rounds as it is told; with "twin", beside a child. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CACHE_ITEMS = 2000, ITEM_BYTES = 1000, PARCEL_BYTES = 5000, ROUND_PARCELS = 20 };

static char *volatile cache[CACHE_ITEMS];

__attribute__((noinline)) static void forget_parcel(void)
{
    char *volatile parcel = malloc(PARCEL_BYTES);
    memset(parcel, 1, PARCEL_BYTES);
}

__attribute__((noinline)) static void serve_client(void)
{
    for (int i = 0; i < ROUND_PARCELS; i++)
        forget_parcel();
    __asm__ volatile("");
}

/* What it allocates, it allocates in the C library. */
__attribute__((noinline)) static void fill_cache(void)
{
    char text[ITEM_BYTES];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (int i = 0; i < CACHE_ITEMS; i++)
        cache[i] = strdup(text);
    __asm__ volatile("");
}

/* A child that the C library knows nothing of: it keeps every descriptor. */
static void make_twin(void)
{
    if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        pause();
}

int main(int count, char **arguments)
{
    long rounds = count > 1 ? atol(arguments[1]) : 1000000;
    if (count > 2)
        make_twin();
    fill_cache();
    while (rounds-- > 0) {
        serve_client();
        usleep(10000);
    }
    return 3;
}
