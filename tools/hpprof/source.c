#define _GNU_SOURCE
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "listeners.h"
#include "memory.h"
#include "query.h"
#include "writer.h"

enum { COPY_BYTES = 1 << 16 };

/* As it is seen from here. False: it is too long. */
static bool path_of_process(const struct process *process, const char *path, char *seen,
                            size_t size)
{
    int length = snprintf(seen, size, "/proc/%ld/%s%s", (long)process->pid,
                          path[0] == '/' ? "root" : "cwd/", path);
    return (size_t)length < size;
}

static bool has_our_network(const struct process *process)
{
    char path[64];
    struct stat ours, theirs;
    snprintf(path, sizeof(path), "/proc/%ld/ns/net", (long)process->pid);
    return stat("/proc/self/ns/net", &ours) == 0 && stat(path, &theirs) == 0 &&
           ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

static bool find_socket(struct source *source, const char *pattern)
{
    char path[PATH_MAX];
    struct httpclient *client = &source->client;
    *client = (struct httpclient){.peer = source->process.pid};
    if (!listeners_find_path(&source->process, pattern, path, sizeof(path)) ||
        !path_of_process(&source->process, path, client->path, sizeof(client->path)))
        return false;
    snprintf(client->name, sizeof(client->name), "unix:%s", path);
    return true;
}

static bool find_port(struct source *source, const char *place)
{
    char url[300];
    struct httpclient *client = &source->client;
    if ((size_t)snprintf(url, sizeof(url), "http://%s", place) >= sizeof(url) ||
        httpclient_parse(client, url) != NULL || !has_our_network(&source->process))
        return false;
    unsigned asked = (unsigned)strtoul(client->port, NULL, 10);
    unsigned port = listeners_find_port(&source->process, asked);
    snprintf(client->port, sizeof(client->port), "%u", port);
    snprintf(client->name, sizeof(client->name),
             strchr(client->host, ':') ? "http://[%s]:%u" : "http://%s:%u", client->host, port);
    return port != 0;
}

/* What it was told to serve, and does. */
static bool find_service(struct source *source)
{
    uint64_t unused;
    char path[PATH_MAX];
    const struct process *process = &source->process;
    const char *place = process_option(process, OPTION_HTTP, &unused);
    if (place == NULL)
        return false;
    bool found =
        strncmp(place, "unix:", 5) == 0 ? find_socket(source, place + 5) : find_port(source, place);
    const char *token = found ? process_option(process, OPTION_HTTP_TOKEN_FILE, &unused) : NULL;
    if (token != NULL && path_of_process(process, token, path, sizeof(path)))
        httptoken_read(&source->client.token, path);
    return found && httpclient_is_answered(&source->client);
}

/* What a dump's files are is read from the environment, so it has to be something we can use; and
 * they are removed, so nothing else may make them, nor be removed for them. */
static int check_dumps(const struct process *process)
{
    static const enum option_id others[] = {OPTION_DUMP_EVERY, OPTION_DUMP_ON_GROWTH,
                                            OPTION_DUMP_ON_LIMIT, OPTION_DUMP_KEEP};
    char variable[64];
    uint64_t formats = 0, profiles = 0;
    process_option(process, OPTION_DUMP_FORMAT, &formats);
    process_option(process, OPTION_DUMP_PROFILE, &profiles);
    if (formats == 1 << DUMP_FORMAT_TEXT)
        return failed("process %ld dumps text for people only: run it with HPMALLOC_HTTP, or "
                      "without HPMALLOC_DUMP_FORMAT",
                      (long)process->pid);
    if ((profiles & (1 << DUMP_PROFILE_HEAP | 1 << DUMP_PROFILE_ALLOCS)) == 0)
        return failed("process %ld does not dump what is live: run it with HPMALLOC_HTTP, or "
                      "without HPMALLOC_DUMP_PROFILE",
                      (long)process->pid);
    for (size_t i = 0; i < array_count(others); i++) {
        uint64_t number = 0, usual = 0;
        const struct option *option = &option_table[others[i]];
        const char *text = process_option(process, others[i], &number);
        if (option->initial != NULL)
            option_parse(option, option->initial, &usual);
        if (text != NULL && (option->initial == NULL || number != usual))
            return failed("process %ld keeps dumps of its own (%s=%.40s), among which watching by "
                          "signal would make and remove files: run it with HPMALLOC_HTTP",
                          (long)process->pid, option_variable(option, variable, sizeof(variable)),
                          text);
    }
    return STATUS_DONE;
}

static int open_process(struct source *source, pid_t pid)
{
    int status = process_open(&source->process, pid);
    if (status != STATUS_DONE)
        return status;
    source->has_process = true;
    process_name(&source->process, source->program, sizeof(source->program));
    struct http_token given = source->client.token;
    source->is_served = find_service(source);
    if (given.length != 0)
        source->client.token = given;
    return source->is_served ? STATUS_DONE : check_dumps(&source->process);
}

int source_open(struct source *source, const char *word, const char *token_file)
{
    pid_t pid;
    struct httpclient client = {.peer = 0};
    *source = (struct source){.name = word};
    bool is_process = process_parse_id(word, &pid);
    const char *trouble = is_process ? NULL : httpclient_parse(&client, word);
    if (trouble != NULL)
        return misused("watch: '%.*s' %s", (int)(strcspn(word, "?") < 80 ? strcspn(word, "?") : 80),
                       word, trouble);
    if (token_file != NULL && client.token.length == 0) {
        int status = httpclient_read_token(&client, token_file);
        if (status != STATUS_DONE)
            return status;
    }
    source->client = client;
    if (is_process)
        return open_process(source, pid);
    source->name = source->client.name;
    source->is_served = true;
    return STATUS_DONE;
}

void source_close(struct source *source)
{
    if (source->has_process)
        process_close(&source->process);
}

bool source_has_ended(const struct source *source)
{
    return source->has_process && !process_is_alive(&source->process);
}

static FILE *create(const char *path)
{
    FILE *file = fopen(path, "we");
    if (file == NULL)
        failed("%s: %s", path, strerror(errno));
    return file;
}

static int get(const struct source *source, const char *path, const char *target)
{
    FILE *file = create(target);
    if (file == NULL)
        return STATUS_FAILED;
    int status = httpclient_get(&source->client, path, file);
    fclose(file);
    return status;
}

static bool copy_file(const char *from, const char *to)
{
    char piece[COPY_BYTES];
    size_t count;
    FILE *input = fopen(from, "re");
    FILE *output = input != NULL ? create(to) : NULL;
    while (output != NULL && (count = fread(piece, 1, sizeof(piece), input)) > 0)
        fwrite(piece, 1, count, output);
    bool done = output != NULL && !ferror(input) && !ferror(output);
    if (output != NULL)
        done &= fclose(output) == 0;
    if (input != NULL)
        fclose(input);
    return done || failed("%s: %s", from, strerror(errno)) == STATUS_DONE;
}

/* Files that a dump left, and the best of them. */
struct dumped {
    struct pool pool;
    char **names;
    size_t count, capacity;
    const char *best;
    int best_rank;
};

static bool ends_with(const char *text, const char *ending)
{
    size_t length = strlen(text), ending_length = strlen(ending);
    return length >= ending_length && strcmp(text + length - ending_length, ending) == 0;
}

/* Several profiles and formats are told apart by their names; a single one may have any. */
static int rank_of(const char *name)
{
    const char *base = profile_base_name(name);
    bool is_live = strstr(base, ".heap.") != NULL || strstr(base, ".allocs.") != NULL;
    return (is_live ? 8 : 0) + (ends_with(base, ".pb.gz")    ? 4
                                : ends_with(base, ".heap")   ? 3
                                : ends_with(base, ".folded") ? 2
                                : ends_with(base, ".txt")    ? 0
                                                             : 1);
}

static void take_file(const char *name, void *argument)
{
    struct dumped *dumped = argument;
    char *copy = pool_alloc(&dumped->pool, strlen(name) + 1, 1);
    strcpy(copy, name);
    *memory_push(dumped->names, dumped->count, dumped->capacity) = copy;
    if (dumped->best == NULL || rank_of(copy) > dumped->best_rank) {
        dumped->best = copy;
        dumped->best_rank = rank_of(copy);
    }
}

/* A dump at exit looks the same, but then the process has ended a moment later. */
static bool runs_on(const struct process *process)
{
    static const struct timespec moment = {.tv_nsec = 300000000};
    uint64_t at_exit = 0;
    process_option(process, OPTION_DUMP_AT_EXIT, &at_exit);
    if (at_exit != 0)
        nanosleep(&moment, NULL);
    return process_is_alive(process) && process_resident_bytes(process) != 0;
}

/* Where there are more files than one dump makes, somebody else has asked too, and gets them. */
static int fetch_dump(const struct process *known, const char *raw)
{
    struct process process;
    struct dumped dumped = {.count = 0};
    /* Looked at anew: it may have become another program, which the signal would end. */
    int status = process_open(&process, known->pid);
    if (status == STATUS_DONE)
        status = ask_process(&process, take_file, &dumped);
    if (status == STATUS_DONE && !copy_file(dumped.best, raw))
        status = STATUS_FAILED;
    bool is_ours =
        status == STATUS_DONE && dumped.count == ask_file_count(&process) && runs_on(&process);
    for (size_t i = 0; is_ours && i < dumped.count; i++)
        unlink(dumped.names[i]);
    memory_free(dumped.names);
    pool_drain(&dumped.pool);
    process_close(&process);
    return status;
}

/* Without the profile's own frames to drop: they are dropped, and would be looked for again. */
static int save_named(const struct source_files *files)
{
    struct profile *profile = query_open(files->raw);
    if (profile == NULL)
        return STATUS_FAILED;
    profile->drop_frames = profile->keep_frames = STRING_EMPTY;
    bool done = writer_save(profile, files->named, FORMAT_PPROF_PLAIN, 0);
    profile_free(profile);
    return done ? STATUS_DONE : STATUS_FAILED;
}

int source_fetch(const struct source *source, const struct source_files *files)
{
    int status;
    if (source->is_served) {
        status = get(source, "/debug/pprof/heap?symbols=1", files->raw);
        /* Others that serve profiles, as Go programs do, have no such numbers. */
        if (status == STATUS_DONE && get(source, "/stats.json", files->stats) != STATUS_DONE &&
            truncate(files->stats, 0) != 0)
            status = STATUS_FAILED;
    } else {
        status = fetch_dump(&source->process, files->raw);
    }
    if (status == STATUS_DONE)
        status = save_named(files);
    return status;
}
