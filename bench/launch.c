/* Runs one program with one preload and reports what it took. A process of its own, and a small
 * one: the kernel counts the memory of the image that calls exec() into the peak of the program,
 * so a peak below that of a Python interpreter cannot be measured from Python. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CANNOT_RUN = 127 };

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long us_of(struct timeval time)
{
    return time.tv_sec * 1000000LL + time.tv_usec;
}

static _Noreturn void become(const char *preload, char **argv)
{
    if (*preload == '\0')
        unsetenv("LD_PRELOAD");
    else if (setenv("LD_PRELOAD", preload, 1) != 0)
        _exit(CANNOT_RUN);
    execv(argv[0], argv);
    fprintf(stderr, "launch: %s: %s\n", argv[0], strerror(errno));
    _exit(CANNOT_RUN);
}

static void usage(FILE *out)
{
    fputs("usage: launch DESCRIPTOR PRELOAD PROGRAM [ARGUMENT...]\n"
          "\n"
          "Runs PROGRAM (a path) with LD_PRELOAD set to PRELOAD, or unset when that is empty, and\n"
          "writes one line to DESCRIPTOR, which PROGRAM does not get: wall time in ns, user and\n"
          "system time in us, peak resident KiB (of the largest process of its family), and the\n"
          "status as wait() gives it.\n"
          "\n"
          "example: launch 3 .libs/libhpmalloc.so /bin/ls 3>/dev/stderr\n",
          out);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    if (argc < 4) {
        usage(stderr);
        return 2;
    }
    int report = atoi(argv[1]);
    fcntl(report, F_SETFD, FD_CLOEXEC);
    long long start_ns = now_ns();
    pid_t pid = fork();
    if (pid == 0)
        become(argv[2], &argv[3]);
    struct rusage used;
    int status;
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid) {
        perror("launch");
        return 1;
    }
    dprintf(report, "%lld %lld %lld %ld %d\n", now_ns() - start_ns, us_of(used.ru_utime),
            us_of(used.ru_stime), used.ru_maxrss, status);
    return 0;
}
