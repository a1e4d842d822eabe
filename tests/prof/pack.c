/* Packs what comes in, in pieces of the given size, for tests/prof/packing.py. */
#include <stdlib.h>
#include <unistd.h>

#include "report/gzip.h"

int main(int argc, char **argv)
{
    static char piece[1 << 20];
    size_t bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : sizeof(piece);
    ssize_t got;
    gzip_begin(STDOUT_FILENO);
    while ((got = read(STDIN_FILENO, piece, bytes < sizeof(piece) ? bytes : sizeof(piece))) > 0)
        gzip_write(piece, (size_t)got);
    return !gzip_finish();
}
