/* Feeds hpprof's readers, and what sums up behind them, with files nobody vouches for:
 *
 *   readfuzz MEGABYTES SEED FILE...: that much of the files, each time broken somewhere
 *
 * Whatever they hold, it is a profile or one line that says why not. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "graph.h"
#include "hpprof.h"
#include "merge.h"
#include "protowrite.h"
#include "reader.h"
#include "stacks.h"

static size_t complaints;
static uint64_t chance_state;

int failed(const char *format, ...)
{
    char line[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    complaints++;
    if (strchr(line, '\n') != NULL || strstr(line, "(null)") != NULL) {
        printf("no line: %s\n", line);
        exit(1);
    }
    return STATUS_FAILED;
}

static uint64_t chance(uint64_t limit)
{
    chance_state += 0x9e3779b97f4a7c15u;
    return mix_bits(chance_state) % limit;
}

static size_t read_file(const char *path, uint8_t **data)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        exit(2);
    size_t bytes = (size_t)ftell(file);
    rewind(file);
    *data = malloc(bytes + 1);
    if (*data == NULL || fread(*data, 1, bytes, file) != bytes)
        exit(2);
    fclose(file);
    return bytes;
}

/* Bytes change, numbers grow, a part moves elsewhere, the end is missing. */
static size_t break_somewhere(uint8_t *data, size_t bytes)
{
    static const uint8_t odd[] = {0, 1, 0x7f, 0x80, 0xff, ' ', '\n', '-', '9', 'x'};
    for (uint64_t times = 1 + chance(8); times > 0 && bytes > 1; times--) {
        size_t at = chance(bytes), other = chance(bytes), part = chance(64);
        switch (chance(5)) {
        case 0:
            data[at] ^= (uint8_t)(1u << chance(8));
            break;
        case 1:
            data[at] = odd[chance(sizeof(odd))];
            break;
        case 2:
            if (part < bytes - at && part < bytes - other)
                memmove(data + at, data + other, part);
            break;
        case 3:
            if (part < bytes - at)
                memset(data + at, 0xff, part);
            break;
        default:
            bytes = chance(8) == 0 ? at : bytes;
            break;
        }
    }
    return bytes;
}

static void use(struct profile *profile)
{
    struct graph_input inputs[] = {{profile, (int)profile->type_count - 1, 1}, {profile, 0, -1}};
    struct graph_options options = {.node_share = 0.005, .edge_share = 0.001, .nodes_max = 50};
    struct graph graph;
    graph_build(&graph, inputs, array_count(inputs), &options);
    graph_free(&graph);
    struct profile *both[] = {profile, profile};
    int types[] = {0, (int)profile->type_count - 1};
    struct stacks stacks;
    stacks_build(&stacks, both, types, array_count(both));
    stacks_free(&stacks);
    struct profile *sum = profile_alloc("the sum");
    struct proto_bytes written = {0};
    if (merge_add(sum, profile) && merge_add(sum, profile))
        protowrite(&written, sum);
    memory_free(written.data);
    profile_free(sum);
}

static bool read_broken(const uint8_t *data, size_t bytes)
{
    char path[64];
    int fd = memfd_create("broken", 0);
    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes)
        exit(2);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    size_t before = complaints;
    struct profile *profile = reader_open(path);
    close(fd);
    if ((profile == NULL) != (complaints == before + 1)) {
        printf("%zu lines\n", complaints - before);
        exit(1);
    }
    if (profile != NULL)
        use(profile);
    profile_free(profile);
    return profile != NULL;
}

int main(int count, char **arguments)
{
    if (count < 4)
        return 2;
    size_t wanted = (size_t)atol(arguments[1]) << 20, done = 0, files = 0, whole = 0;
    chance_state = (uint64_t)atol(arguments[2]);
    while (done < wanted) {
        uint8_t *data;
        size_t bytes = read_file(arguments[3 + chance((uint64_t)count - 3)], &data);
        done += bytes;
        whole += read_broken(data, break_somewhere(data, bytes));
        files++;
        free(data);
    }
    printf("# %zu files, %zu MB: %zu were read, %zu refused\n", files, done >> 20, whole,
           complaints);
    return whole == 0 || complaints == 0;
}
