#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "background.h"
#include "folder.h"
#include "reader.h"
#include "watchview.h"
#include "query.h"
#include "units.h"

enum { NAMES_TRIED = 1000, STATS_BYTES = 4096, TICK_MS = 1000, PATH_BYTES = PATH_MAX + 16 };

#define INTERVAL_LEAST   0.1
#define INTERVAL_MOST    3600.0
#define MESSAGE_SECONDS  10.0
#define PATIENCE_SECONDS 1.0

static const char help[] =
    "Usage: hpprof watch [OPTIONS] PID\n"
    "       hpprof watch [OPTIONS] http://HOST:PORT\n"
    "       hpprof watch [OPTIONS] unix:/PATH\n"
    "\n"
    "Shows in the terminal what a program holds, as it changes: the total, its rate and its "
    "course,\n"
    "and the functions of its own that hold most, each with the one that called it.\n"
    "\n"
    "A process is asked over HTTP where it serves (HPMALLOC_HTTP), else by its dump signal.\n"
    "\n"
    "  --interval SECONDS  between pictures, 0.1 to 3600 (2)\n"
    "  --sample TYPE       inuse_space, inuse_objects, alloc_space, alloc_objects\n"
    "  --top N             at most N rows\n"
    "  --once              one picture, then the end\n"
    "  --json              with --once: for scripts\n"
    "  --token-file FILE   the token that the server asks for; also "
    "http://HOST:PORT/?token=TOKEN,\n"
    "                      which others can see in the list of processes\n"
    "\n"
    "Keys: s sorts (also S C O N: size, change, objects, name), p pauses, w writes the profile to "
    "a\n"
    "file, + and - change the interval, ? explains, q quits. Where the output is no terminal,\n"
    "pictures come one after the other.\n"
    "\n"
    "Example: hpprof watch $(pidof redis-server)\n";

static const char hint[] = "s sort  p pause  w write  + - interval  ? help  q quit";

struct watch {
    struct source source;
    struct query query; // what --sample says
    struct sights sights;
    struct watchview view;
    struct background fetch;
    const char *token_file, *word;
    bool once, json, live, has_quit, has_ended, has_failed;
    double asked, due, message_until;
    char type[64], unit[64], message[BACKGROUND_TEXT_MAX];
    char folder[PATH_MAX];
    char raw[PATH_BYTES], named[PATH_BYTES], stats[PATH_BYTES]; // of the picture on its way
    char last[PATH_BYTES];                                      // the raw profile that is shown
};

static double now(void)
{
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return (double)moment.tv_sec + (double)moment.tv_nsec / 1e9;
}

static bool set_number(double *number, const char *value, double least, double most)
{
    char *end;
    *number = strtod(value, &end);
    return *value != '\0' && *end == '\0' && *number >= least && *number <= most;
}

static int take_value(struct watch *watch, const char *name, const char *value)
{
    double count;
    if (value == NULL)
        return misused("watch: %s needs a value", name);
    if (strcmp(name, "--interval") == 0)
        return set_number(&watch->view.interval_seconds, value, INTERVAL_LEAST, INTERVAL_MOST)
                   ? STATUS_DONE
                   : misused("watch: --interval takes seconds from 0.1 to 3600, not '%.40s'",
                             value);
    if (strcmp(name, "--top") == 0) {
        if (!set_number(&count, value, 1, 1e6))
            return misused("watch: --top takes a number of rows, not '%.40s'", value);
        watch->view.most_rows = (size_t)count;
    }
    if (strcmp(name, "--sample") == 0)
        watch->query.sample = value;
    if (strcmp(name, "--token-file") == 0)
        watch->token_file = value;
    return STATUS_DONE;
}

static bool takes_value(const char *argument, size_t length)
{
    static const char *const names[] = {"--interval", "--top", "--sample", "--token-file"};
    for (size_t i = 0; i < array_count(names); i++) {
        if (strlen(names[i]) == length && strncmp(argument, names[i], length) == 0)
            return true;
    }
    return false;
}

static int take_option(struct watch *watch, char **arguments, int *at)
{
    char name[32];
    const char *argument = arguments[*at];
    size_t length = strcspn(argument, "=");
    if (takes_value(argument, length)) {
        snprintf(name, sizeof(name), "%.*s", (int)length, argument);
        return take_value(watch, name,
                          argument[length] == '=' ? argument + length + 1 : arguments[++*at]);
    }
    if (strcmp(argument, "--once") == 0)
        watch->once = true;
    else if (strcmp(argument, "--json") == 0)
        watch->json = true;
    else
        return misused("watch: there is no option '%.80s'", argument);
    return STATUS_DONE;
}

static int take_arguments(struct watch *watch, int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        if (arguments[i][0] == '-') {
            int status = take_option(watch, arguments, &i);
            if (status != STATUS_DONE)
                return status;
        } else if (watch->word != NULL) {
            return misused("watch: takes one process or address");
        } else {
            watch->word = arguments[i];
        }
    }
    if (watch->word == NULL)
        return misused("watch: takes a process id, http://HOST:PORT or unix:/PATH");
    if (watch->json && !watch->once)
        return misused("watch: --json goes with --once");
    return STATUS_DONE;
}

static void say(struct watch *watch, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct watch *watch, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(watch->message, sizeof(watch->message), format, arguments);
    va_end(arguments);
    watch->message_until = now() + MESSAGE_SECONDS;
}

static int fetch(const void *argument)
{
    const struct watch *watch = argument;
    struct source_files files = {.raw = watch->raw, .named = watch->named, .stats = watch->stats};
    return source_fetch(&watch->source, &files);
}

/* Of `"name": 123` near the beginning of /stats.json. */
static double find_count(const char *text, const char *name)
{
    char key[64];
    snprintf(key, sizeof(key), "\"%s\": ", name);
    const char *at = strstr(text, key);
    return at != NULL ? strtod(at + strlen(key), NULL) : SIGHTS_UNKNOWN;
}

static struct sight_counts read_counts(const struct watch *watch)
{
    char text[STATS_BYTES];
    size_t count = 0;
    FILE *file = fopen(watch->stats, "re");
    if (file != NULL) {
        count = fread(text, 1, sizeof(text) - 1, file);
        fclose(file);
    }
    text[count] = '\0';
    struct sight_counts counts = {
        .live_bytes = find_count(text, "live_bytes"),
        .live_objects = find_count(text, "live_objects"),
        .resident_bytes = find_count(text, "resident_bytes"),
    };
    if (counts.resident_bytes <= 0 && watch->source.has_process)
        counts.resident_bytes = (double)process_resident_bytes(&watch->source.process);
    if (counts.resident_bytes <= 0)
        counts.resident_bytes = SIGHTS_UNKNOWN;
    return counts;
}

static void name_values(struct watch *watch, const struct profile *profile, int type)
{
    snprintf(watch->type, sizeof(watch->type), "%s",
             profile_text(profile, profile->types[type].type));
    snprintf(watch->unit, sizeof(watch->unit), "%s",
             profile_text(profile, profile->types[type].unit));
    watch->view.type = watch->type;
    watch->view.unit = watch->unit;
    if (watch->source.program[0] == '\0')
        snprintf(watch->source.program, sizeof(watch->source.program), "%s",
                 profile_program(profile));
}

/* Reads what was fetched. False: one line said why. */
static bool take_picture(struct watch *watch)
{
    struct profile *profile = reader_open(watch->named);
    if (profile != NULL)
        profile->name = watch->source.name;
    int type = profile != NULL ? query_type(&watch->query, profile) : -1;
    if (type < 0) {
        profile_free(profile);
        return false;
    }
    struct sight_counts counts = read_counts(watch);
    double seconds = profile->time_ns > 0 ? (double)profile->time_ns / 1e9 : now();
    name_values(watch, profile, type);
    sights_add(&watch->sights, profile, type, seconds, &counts);
    sights_sort(&watch->sights, watch->view.order);
    rename(watch->raw, watch->last);
    watch->view.seconds = watch->sights.now_seconds - watch->sights.first_seconds;
    return true;
}

static void put_picture(struct watch *watch)
{
    char *text = NULL;
    size_t bytes;
    struct watchview *view = &watch->view;
    view->message = !watch->live ? NULL : now() < watch->message_until ? watch->message : hint;
    view->size = watch->live ? screen_size() : (struct screen_size){0};
    if (watch->json) {
        watchview_put_json(view);
        return;
    }
    FILE *out = watch->live ? open_memstream(&text, &bytes) : stdout;
    if (out == NULL)
        return;
    watchview_put(out, view);
    if (!watch->live) {
        fputs(watch->once ? "" : "\n", out);
        fflush(out);
    } else if (fclose(out) == 0) {
        screen_draw(text);
    }
    free(text);
}

/* What was fetched by signal may be of another format. */
static const char *ending_of(const char *path)
{
    unsigned char first[2] = {0};
    FILE *file = fopen(path, "re");
    if (file == NULL || fread(first, 1, sizeof(first), file) != sizeof(first))
        first[0] = 0;
    if (file != NULL)
        fclose(file);
    return first[0] == 0x1f && first[1] == 0x8b ? ".pb.gz" : first[0] == 'h' ? ".heap" : ".folded";
}

static int create_profile(struct watch *watch, char *name, size_t size)
{
    const char *ending = ending_of(watch->last);
    const struct source *source = &watch->source;
    for (int i = 1; i <= NAMES_TRIED; i++) {
        snprintf(name, size, "hpprof.%s%s%s.%d%s",
                 source->program[0] != '\0' ? source->program : "watch",
                 source->has_process ? "." : "", source->has_process ? source->name : "", i,
                 ending);
        for (char *c = name; *c != '\0'; c++)
            *c = *c == '/' ? '_' : *c;
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

static void write_profile(struct watch *watch)
{
    char name[256], piece[1 << 14];
    size_t count;
    int fd = create_profile(watch, name, sizeof(name));
    FILE *from = fd >= 0 ? fopen(watch->last, "re") : NULL;
    FILE *to = from != NULL ? fdopen(fd, "w") : NULL;
    while (to != NULL && (count = fread(piece, 1, sizeof(piece), from)) > 0)
        fwrite(piece, 1, count, to);
    bool done = to != NULL && !ferror(from) && !ferror(to);
    if (to != NULL)
        done &= fclose(to) == 0;
    else if (fd >= 0)
        close(fd);
    if (from != NULL)
        fclose(from);
    if (done)
        say(watch, "written: %s", name);
    else
        say(watch, "%s: %s", name, strerror(errno));
}

static void change_interval(struct watch *watch, double factor)
{
    double seconds = watch->view.interval_seconds * factor;
    if (seconds < INTERVAL_LEAST || seconds > INTERVAL_MOST)
        return;
    watch->view.interval_seconds = seconds;
    watch->due = watch->asked + seconds;
}

static void sort_by(struct watch *watch, enum sight_order order)
{
    watch->view.order = order;
    sights_sort(&watch->sights, order);
    say(watch, "sorted by %s", watchview_orders[order]);
}

static void take_key(struct watch *watch, int key)
{
    switch (key) {
    case 'q':
    case 'Q':
        watch->has_quit = true;
        break;
    case 's':
        sort_by(watch, (watch->view.order + 1) % ORDER_COUNT);
        break;
    case 'S':
        sort_by(watch, ORDER_SIZE);
        break;
    case 'C':
    case 'c':
        sort_by(watch, ORDER_CHANGE);
        break;
    case 'O':
    case 'o':
        sort_by(watch, ORDER_OBJECTS);
        break;
    case 'N':
    case 'n':
        sort_by(watch, ORDER_NAME);
        break;
    case 'p':
        watch->view.is_paused = !watch->view.is_paused;
        break;
    case 'w':
        write_profile(watch);
        break;
    case '+':
        change_interval(watch, 2);
        break;
    case '-':
        change_interval(watch, 0.5);
        break;
    case '?':
        watch->view.has_help = !watch->view.has_help;
        break;
    }
}

static void take_keys(struct watch *watch)
{
    int key;
    while ((key = screen_key()) > 0)
        take_key(watch, key);
    watch->has_quit |= key < 0;
}

/* One that takes long is not asked again at once: the program has other things to do. */
static void set_due(struct watch *watch)
{
    double end = now(), took = end - watch->asked;
    watch->due = watch->asked + watch->view.interval_seconds;
    if (watch->due < end + took)
        watch->due = end + took;
}

/* Readers complain of a file nobody has heard of: it is what the source has answered. */
static void name_source(struct watch *watch)
{
    char *said = watch->fetch.said, line[BACKGROUND_TEXT_MAX];
    size_t length = strlen(watch->raw);
    if (strncmp(said, watch->raw, length) != 0)
        return;
    snprintf(line, sizeof(line), "%.300s%.600s", watch->source.name, said + length);
    snprintf(said, BACKGROUND_TEXT_MAX, "%s", line);
}

static void end_fetch(struct watch *watch, int status)
{
    const char *said = watch->fetch.said;
    name_source(watch);
    bool is_first = watch->sights.count == 0;
    set_due(watch);
    if (status == STATUS_DONE) {
        watch->has_failed = !take_picture(watch);
        if (is_first && !watch->has_failed && watch->live)
            screen_open(true);
        if (!watch->has_failed)
            put_picture(watch);
        return;
    }
    bool is_gone = status == SOURCE_GONE && !watch->source.has_process;
    watch->has_ended = is_gone || source_has_ended(&watch->source);
    watch->has_failed = is_first;
    if (is_first)
        failed("%s", *said != '\0' ? said : "who was to fetch the profile was killed");
    else if (!watch->has_ended)
        say(watch, "%s", said);
}

static void begin_fetch(struct watch *watch)
{
    watch->asked = now();
    if (background_start(&watch->fetch, fetch, watch))
        return;
    watch->due = watch->asked + watch->view.interval_seconds;
    say(watch, "no profile: %s", strerror(errno));
}

static bool is_over(const struct watch *watch)
{
    return watch->has_quit || watch->has_failed || watch->has_ended || screen_signal() != 0 ||
           (watch->once && watch->sights.count != 0);
}

/* Until a picture, a key, a signal, the terminal's end, or for so long that a clock is right. */
static void wait_a_bit(struct watch *watch)
{
    struct pollfd polled[3] = {
        {.fd = -1, .events = POLLIN}, {.fd = -1, .events = POLLIN}, {.fd = -1}};
    bool is_fetching = watch->fetch.child != 0;
    double left = watch->due - now();
    int wait_ms = is_fetching || left > 1 ? TICK_MS : left > 0 ? (int)(left * 1000) + 1 : 0;
    if (watch->view.is_paused)
        wait_ms = TICK_MS;
    if (is_fetching)
        polled[0].fd = watch->fetch.fd;
    if (screen_has_keys())
        polled[1].fd = STDIN_FILENO;
    if (watch->live)
        polled[2].fd = STDOUT_FILENO;
    if (poll(polled, 3, wait_ms) <= 0)
        return;
    int status;
    if (polled[0].revents != 0 && background_step(&watch->fetch, &status))
        end_fetch(watch, status);
    /* A terminal that is gone always has something to read, which is nothing. */
    if (polled[1].revents & ~POLLIN || polled[2].revents != 0)
        watch->has_quit = true;
    else if (polled[1].revents != 0)
        take_keys(watch);
    if (watch->live && watch->sights.count != 0 && !is_over(watch))
        put_picture(watch);
}

static void follow(struct watch *watch)
{
    while (!is_over(watch)) {
        if (watch->fetch.child == 0 && !watch->view.is_paused && now() >= watch->due)
            begin_fetch(watch);
        wait_a_bit(watch);
        if (watch->live && watch->sights.count != 0 && screen_is_stale())
            put_picture(watch);
        if (watch->sights.count != 0 && !watch->has_ended && watch->fetch.child == 0)
            watch->has_ended = source_has_ended(&watch->source);
    }
}

/* One by signal is given the time to remove the file it has asked for. */
static void end_fetching(struct watch *watch)
{
    int status;
    double limit = now() + (watch->source.is_served ? 0 : PATIENCE_SECONDS);
    while (watch->fetch.child != 0 && now() < limit) {
        struct pollfd polled = {.fd = watch->fetch.fd, .events = POLLIN};
        if (poll(&polled, 1, TICK_MS / 10) > 0)
            background_step(&watch->fetch, &status);
    }
    background_kill(&watch->fetch);
}

static int finish(struct watch *watch)
{
    char total[UNITS_TEXT_MAX], seconds[UNITS_TEXT_MAX];
    if (watch->has_failed)
        return STATUS_FAILED;
    if (watch->has_ended && !watch->once)
        printf("hpprof: %s%s has ended; total at last %s (%s), %s after the first picture\n",
               watch->source.has_process ? "process " : "", watch->source.name,
               watchview_format(&watch->view, total, watch->sights.now_total), watch->type,
               units_seconds(seconds, watch->view.seconds));
    return STATUS_DONE;
}

static int run(struct watch *watch)
{
    if (!folder_make(watch->folder, NULL))
        return failed("there is no folder for profiles: %s", strerror(errno));
    snprintf(watch->raw, sizeof(watch->raw), "%s/raw", watch->folder);
    snprintf(watch->named, sizeof(watch->named), "%s/named", watch->folder);
    snprintf(watch->stats, sizeof(watch->stats), "%s/stats", watch->folder);
    snprintf(watch->last, sizeof(watch->last), "%s/last", watch->folder);
    /* Who ignores it, as some that start programs do, cannot wait for a child. */
    signal(SIGCHLD, SIG_DFL);
    screen_open(false);
    follow(watch);
    screen_close();
    end_fetching(watch);
    folder_remove(watch->folder);
    int status = finish(watch);
    sights_free(&watch->sights);
    if (screen_signal() != 0) {
        fflush(stdout);
        signal(screen_signal(), SIG_DFL);
        raise(screen_signal());
    }
    return status;
}

int command_watch(int count, char **arguments)
{
    static struct watch watch;
    for (int i = 1; i < count; i++) {
        if (is_help(arguments[i]))
            return fputs(help, stdout) >= 0 ? STATUS_DONE : STATUS_FAILED;
    }
    watch = (struct watch){.token_file = getenv("HPMALLOC_HTTP_TOKEN_FILE"),
                           .query = {.command = "watch"},
                           .view = {.interval_seconds = 2, .has_utf8 = screen_has_utf8()}};
    int status = take_arguments(&watch, count, arguments);
    if (status == STATUS_DONE)
        status = source_open(&watch.source, watch.word, watch.token_file);
    if (status == STATUS_DONE) {
        watch.view.source = &watch.source;
        watch.view.sights = &watch.sights;
        watch.live = !watch.once && screen_is_there();
        status = run(&watch);
    }
    source_close(&watch.source);
    return status;
}
