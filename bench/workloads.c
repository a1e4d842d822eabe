/* The workloads: one process, one shape of allocation. bench/run times it under each allocator. */
#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct workload *const tables[] = {
    single_workloads,
    shape_workloads,
    handover_workloads,
    thread_workloads,
};
enum { TABLE_COUNT = sizeof tables / sizeof tables[0] };

static const struct workload *workload_find(const char *name)
{
    for (int i = 0; i < TABLE_COUNT; i++)
        for (const struct workload *w = tables[i]; w->name; w++)
            if (strcmp(w->name, name) == 0)
                return w;
    return NULL;
}

static int list(void)
{
    for (int i = 0; i < TABLE_COUNT; i++)
        for (const struct workload *w = tables[i]; w->name; w++)
            printf("%-18s %2u  %s\n", w->name, w->threads, w->stresses);
    return 0;
}

static void usage(FILE *out)
{
    fputs("usage: workloads NAME [SCALE]\n"
          "       workloads --list\n"
          "\n"
          "Runs one workload on the allocator that this process has and exits with status 0, or 1\n"
          "when an object's contents changed under it. SCALE (default 1) multiplies the number of\n"
          "repetitions, not the size of the live set. --list prints name, threads and what the\n"
          "workload stresses.\n"
          "\n"
          "example: LD_PRELOAD=.libs/libhpmalloc.so bench/workloads exchange 0.5\n",
          out);
}

static double scale_of(const char *text)
{
    char *end;
    double scale = strtod(text, &end);
    return *end == '\0' && scale > 0 && scale <= 1000 ? scale : 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0)
        return list();
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    const struct workload *workload = argc == 2 || argc == 3 ? workload_find(argv[1]) : NULL;
    double scale = argc == 3 ? scale_of(argv[2]) : 1;
    if (!workload || scale == 0) {
        usage(stderr);
        return 2;
    }
    workload->run(scale);
    workers_check();
    return 0;
}
