/* libFuzzer's target for hpprof's readers, pprof, legacy and folded: whatever the bytes, none beside
 * them is read, and what was taken for a profile can be summed up and written again. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hpprof.h"
#include "merge.h"
#include "protowrite.h"
#include "reader.h"
#include "stacks.h"

static size_t complaints;

int failed(const char *format, ...)
{
    (void)format;
    complaints++;
    return STATUS_FAILED;
}

static void use(struct profile *profile)
{
    struct profile *both[] = {profile, profile};
    int types[] = {0, (int)profile->type_count - 1};
    struct stacks stacks;
    struct proto_bytes written = {0};
    stacks_build(&stacks, both, types, array_count(both));
    stacks_free(&stacks);
    struct profile *sum = profile_alloc("the sum");
    if (merge_add(sum, profile) && merge_add(sum, profile))
        protowrite(&written, sum);
    memory_free(written.data);
    profile_free(sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    char path[64];
    int fd = memfd_create("input", 0);
    if (fd < 0 || write(fd, input, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    size_t before = complaints;
    struct profile *profile = reader_open(path);
    close(fd);
    if ((profile == NULL) != (complaints == before + 1))
        abort();
    if (profile != NULL)
        use(profile);
    profile_free(profile);
    return 0;
}
