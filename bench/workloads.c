/* The workloads: one process, one shape of allocation. bench/run times it under each allocator. */
#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct workload *const tables[] = {
    single_workloads, shape_workloads, handover_workloads, thread_workloads, settle_workloads,
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
            printf("%-18s %2u %-6s  %s\n", w->name, w->threads, w->settles ? "settle" : "-",
                   w->stresses);
    return 0;
}

static void usage(FILE *out)
{
    fputs("usage: workloads [--settle | --live] NAME [SCALE]\n"
          "       workloads --list\n"
          "\n"
          "Runs one workload on the allocator that this process has and exits with status 0, or 1\n"
          "when an object's contents changed under it. SCALE (default 1) multiplies the number of\n"
          "repetitions, not the size of the live set.\n"
          "\n"
          "--list    names, threads, whether the workload has a point where it settles, and what\n"
          "          it stresses\n"
          "--settle  stop there, and print resident KiB at once, after an idle second, and after\n"
          "          another with a few allocations; and the live bytes, with live_alloc.so\n"
          "--live    print the largest number of live bytes; needs live_alloc.so preloaded\n"
          "\n"
          "examples: LD_PRELOAD=.libs/libhpmalloc.so bench/workloads exchange 0.5\n"
          "          LD_PRELOAD=bench/live_alloc.so bench/workloads --live exchange\n",
          out);
}

static double scale_of(const char *text)
{
    char *end;
    double scale = strtod(text, &end);
    return *end == '\0' && scale > 0 && scale <= 1000 ? scale : 0;
}

static int run(const struct workload *workload, double scale, const char *option)
{
    int settles = strcmp(option, "--settle") == 0;
    require(!settles || workload->settles, "this workload has no point where it settles");
    if (settles)
        settle_enable();
    workload->run(scale);
    workers_check();
    if (strcmp(option, "--live") == 0) {
        require(live_most_bytes() > 0, "--live needs bench/live_alloc.so preloaded");
        printf("live %zu\n", live_most_bytes());
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0)
        return list();
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    const char *option = "";
    if (argc > 2 && (strcmp(argv[1], "--settle") == 0 || strcmp(argv[1], "--live") == 0)) {
        option = argv[1];
        argv++;
        argc--;
    }
    const struct workload *workload = argc == 2 || argc == 3 ? workload_find(argv[1]) : NULL;
    double scale = argc == 3 ? scale_of(argv[2]) : 1;
    if (!workload || scale == 0) {
        usage(stderr);
        return 2;
    }
    return run(workload, scale, option);
}
