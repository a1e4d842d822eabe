#define _GNU_SOURCE
#include "report/httpanswer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/options.h"
#include "base/os.h"
#include "hpmalloc.h"
#include "prof/sampler.h"
#include "report/dump.h"
#include "report/httpfiles.h"
#include "report/httppage.h"
#include "report/output.h"
#include "report/statsfile.h"

#define SECOND_NS    1000000000u
#define PROFILE_PATH "/debug/pprof/"

enum { METHODS_READ = 1 << HTTP_GET | 1 << HTTP_HEAD, METHODS_POST = 1 << HTTP_POST };
enum rights { RIGHTS_ALL, RIGHTS_TOKEN, RIGHTS_TOKEN_OR_LOCAL };

static const char plain_text[] = "text/plain; charset=utf-8";

static size_t (*release_memory)(size_t bytes);
static uint64_t released_ns; // when it was last called

/* Of the last scrape of delta_heap. */
static struct snapshot last_scrape;

const char *httpanswer_reason(int status)
{
    static const struct reason {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {417, "Expectation Failed"},
        {431, "Request Header Fields Too Large"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < array_count(reasons); i++) {
        if (reasons[i].status == status)
            return reasons[i].text;
    }
    return "Internal Server Error";
}

static void answer_text(struct http_exchange *exchange, int status, const char *text)
{
    exchange->status = status;
    exchange->type = plain_text;
    exchange->text = text;
    exchange->bytes = strlen(text);
}

void httpanswer_refuse(struct http_exchange *exchange, int status, const char *text)
{
    httpfiles_close(exchange->fd);
    exchange->fd = -1;
    exchange->file_name = NULL;
    answer_text(exchange, status, text != NULL ? text : httpanswer_reason(status));
}

static void refuse_error(struct http_exchange *exchange, int error)
{
    httpanswer_refuse(exchange,
                      error == -ENOMEM || error == -EMFILE || error == -ENFILE ? 503 : 500,
                      error == -ENOMEM ? "no memory for it" : "the system refused a file for it");
}

/* The body goes to a fresh file in memory. False: it is refused. */
static bool open_body(struct http_exchange *exchange)
{
    exchange->fd = httpfiles_memory();
    if (exchange->fd < 0)
        refuse_error(exchange, exchange->fd);
    return exchange->fd >= 0;
}

static void close_body(struct http_exchange *exchange, int error, const char *type)
{
    struct stat status;
    if (error == 0 && fstat(exchange->fd, &status) != 0)
        error = -errno;
    if (error != 0) {
        refuse_error(exchange, error);
        return;
    }
    exchange->status = 200;
    exchange->type = type;
    exchange->text = NULL;
    exchange->bytes = (uint64_t)status.st_size;
}

/* A number of the query; absent, it is 0. False: it is none, or too large. */
static bool find_number(const struct http_exchange *exchange, const char *name, uint64_t most,
                        uint64_t *number)
{
    struct http_text value;
    *number = 0;
    return !httpparse_find(exchange->request.query, name, &value) ||
           (httpparse_number(value, number) && *number <= most);
}

/* More often than each second it would only keep the program from its caches. */
static void collect(const struct http_exchange *exchange)
{
    uint64_t wanted, now = os_clock_ns();
    if (!find_number(exchange, "gc", UINT64_MAX, &wanted) || wanted == 0 ||
        now - released_ns < SECOND_NS)
        return;
    released_ns = now;
    release_memory(SIZE_MAX);
}

static enum dump_names names_of(const struct http_exchange *exchange)
{
    struct http_text value;
    if (!httpparse_find(exchange->request.query, "symbols", &value))
        return DUMP_NAMES_AS_OPTION;
    return httpparse_is(value, "0") ? DUMP_NAMES_NONE : DUMP_NAMES_ALL;
}

static void write_profile(struct http_exchange *exchange, const struct dump_order *order)
{
    static const char *const types[] = {[DUMP_FORMAT_PPROF] = "application/octet-stream",
                                        [DUMP_FORMAT_LEGACY] = plain_text,
                                        [DUMP_FORMAT_TEXT] = plain_text};
    if (!open_body(exchange))
        return;
    exchange->file_name = order->format == DUMP_FORMAT_PPROF ? "profile.pb.gz" : NULL;
    close_body(exchange, dump_order_to_fd(order, exchange->fd), types[order->format]);
}

/* Called twice: at the beginning of the time, and at its end. */
static void answer_change(struct http_exchange *exchange, struct dump_order *order,
                          uint64_t seconds)
{
    struct snapshot now;
    int error = dump_take_picture(&now, false);
    if (error != 0) {
        refuse_error(exchange, error);
        return;
    }
    if (exchange->since.rows == NULL) {
        exchange->since = now;
        exchange->wait_ns = seconds * SECOND_NS;
        return;
    }
    order->to = &now;
    order->from = &exchange->since;
    write_profile(exchange, order);
    snapshot_free(&now);
}

static void answer_profile(struct http_exchange *exchange, unsigned profile)
{
    static const unsigned formats[] = {DUMP_FORMAT_PPROF, DUMP_FORMAT_LEGACY, DUMP_FORMAT_TEXT};
    uint64_t seconds, debug;
    struct http_text ignored;
    if (!find_number(exchange, "debug", array_count(formats) - 1, &debug)) {
        httpanswer_refuse(exchange, 400, "debug is 0, 1 or 2");
        return;
    }
    struct dump_order order = {
        .profile = profile, .format = formats[debug], .names = names_of(exchange)};
    if (exchange->since.rows == NULL)
        collect(exchange);
    if (!httpparse_find(exchange->request.query, "seconds", &ignored)) {
        write_profile(exchange, &order);
        return;
    }
    if (!find_number(exchange, "seconds", HTTP_SECONDS_MAX, &seconds) || seconds == 0)
        httpanswer_refuse(exchange, 400, "seconds is a number from 1 to 3600");
    else if (debug != 0)
        httpanswer_refuse(exchange, 400, "a change over some time is not shown as text");
    else
        answer_change(exchange, &order, seconds);
}

/* The next scrape counts from this one, unless it only asked for the head. */
static void answer_delta(struct http_exchange *exchange)
{
    struct snapshot now;
    collect(exchange);
    int error = dump_take_picture(&now, true);
    if (error != 0) {
        refuse_error(exchange, error);
        return;
    }
    const struct dump_order order = {
        .profile = DUMP_PROFILE_HEAP,
        .format = DUMP_FORMAT_PPROF,
        .names = names_of(exchange),
        .to = &now,
        .from = last_scrape.rows != NULL ? &last_scrape : NULL,
        .keeps_inuse = true,
    };
    write_profile(exchange, &order);
    struct snapshot *old = exchange->request.method == HTTP_HEAD ? &now : &last_scrape;
    snapshot_free(old);
    if (old == &last_scrape)
        last_scrape = now;
}

void httpanswer_forget(void)
{
    snapshot_free(&last_scrape);
}

/* The parent may just have been giving it back. */
void httpanswer_fork_child(void)
{
    last_scrape.rows = NULL;
}

static void answer_index(struct http_exchange *exchange)
{
    if (open_body(exchange))
        close_body(exchange, httppage_write(exchange->fd), "text/html; charset=utf-8");
}

static void answer_metrics(struct http_exchange *exchange)
{
    if (open_body(exchange))
        close_body(exchange, statsfile_write(exchange->fd, HPM_STATS_PROMETHEUS),
                   "text/plain; version=0.0.4; charset=utf-8");
}

static void answer_stats(struct http_exchange *exchange)
{
    if (open_body(exchange))
        close_body(exchange, statsfile_write(exchange->fd, HPM_STATS_JSON), "application/json");
}

static int copy_file(int target, const char *path)
{
    static char buffer[4096];
    int error = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (ssize_t bytes; error == 0 && (bytes = read(fd, buffer, sizeof(buffer))) > 0;)
        error = print_write_all(target, buffer, (size_t)bytes) ? 0 : -errno;
    close(fd);
    return error;
}

static void answer_command_line(struct http_exchange *exchange)
{
    if (open_body(exchange))
        close_body(exchange, copy_file(exchange->fd, "/proc/self/cmdline"), plain_text);
}

/* Addresses as 0x12+0x34. What is none of these ends the list. */
static size_t parse_addresses(struct http_text text, uintptr_t *addresses, size_t most)
{
    size_t count = 0;
    const char *at = text.at, *end = text.at + text.length;
    while (count < most && end - at > 2 && at[0] == '0' && at[1] == 'x') {
        uintptr_t address = 0;
        for (at += 2; at < end && *at != '+'; at++) {
            const char *digits = "0123456789abcdef", *digit = memchr(digits, *at | 32, 16);
            if (digit == NULL)
                return count;
            address = address << 4 | (uintptr_t)(digit - digits);
        }
        addresses[count++] = address;
        at += at < end;
    }
    return count;
}

/* In pages of their own: a profile may have tens of thousands. */
static void answer_symbols(struct http_exchange *exchange)
{
    bool is_post = exchange->request.method == HTTP_POST;
    struct http_text text = is_post ? exchange->body : exchange->request.query;
    size_t most = text.length / 4 + 1; // 0x1+
    uintptr_t *addresses = os_map(most * sizeof(*addresses));
    if (addresses == NULL) {
        refuse_error(exchange, -ENOMEM);
        return;
    }
    size_t count = parse_addresses(text, addresses, most);
    if (open_body(exchange))
        close_body(exchange, dump_names_to_fd(addresses, count, exchange->fd), plain_text);
    os_unmap(addresses, most * sizeof(*addresses));
}

static void answer_interval(struct http_exchange *exchange)
{
    char text[32];
    uint64_t bytes;
    struct http_text value;
    if (!httpparse_find(exchange->request.query, "bytes", &value) ||
        !httpparse_copy(value, text, sizeof(text)) ||
        !option_parse(&option_table[OPTION_SAMPLE_INTERVAL], text, &bytes)) {
        httpanswer_refuse(exchange, 400, option_table[OPTION_SAMPLE_INTERVAL].accepted);
        return;
    }
    sampler_set_interval(bytes);
    answer_text(exchange, 200, "done\n");
}

static void answer_release(struct http_exchange *exchange)
{
    static struct output output;
    if (!open_body(exchange))
        return;
    output_begin(&output, exchange->fd);
    output_print(&output, "%zu bytes given back\n", release_memory(SIZE_MAX));
    close_body(exchange, output_finish(&output) ? 0 : -errno, plain_text);
}

struct place {
    const char *path;
    unsigned methods;
    enum rights rights;
    void (*answer)(struct http_exchange *exchange);
};

static const struct place places[] = {
    {"/", METHODS_READ, RIGHTS_ALL, answer_index},
    {PROFILE_PATH, METHODS_READ, RIGHTS_ALL, answer_index},
    {PROFILE_PATH "delta_heap", METHODS_READ, RIGHTS_ALL, answer_delta},
    {PROFILE_PATH "symbol", METHODS_READ | METHODS_POST, RIGHTS_ALL, answer_symbols},
    {PROFILE_PATH "cmdline", METHODS_READ, RIGHTS_TOKEN, answer_command_line},
    {"/metrics", METHODS_READ, RIGHTS_ALL, answer_metrics},
    {"/stats.json", METHODS_READ, RIGHTS_ALL, answer_stats},
    {"/control/interval", METHODS_POST, RIGHTS_TOKEN_OR_LOCAL, answer_interval},
    {"/control/release", METHODS_POST, RIGHTS_TOKEN_OR_LOCAL, answer_release},
};

static const struct place *find_place(struct http_text path)
{
    for (size_t i = 0; i < array_count(places); i++) {
        if (httpparse_is(path, places[i].path))
            return &places[i];
    }
    return NULL;
}

/* A profile by the name that HPMALLOC_DUMP_PROFILE has for it. */
static bool find_profile(struct http_text path, unsigned *profile)
{
    char name[32];
    uint64_t set;
    size_t prefix = strlen(PROFILE_PATH);
    if (path.length <= prefix || memcmp(path.at, PROFILE_PATH, prefix) != 0)
        return false;
    path = (struct http_text){path.at + prefix, path.length - prefix};
    if (!httpparse_copy(path, name, sizeof(name)) ||
        !option_parse(&option_table[OPTION_DUMP_PROFILE], name, &set) || !is_power_of_two(set))
        return false;
    *profile = (unsigned)__builtin_ctzll(set);
    return true;
}

static bool may(const struct http_exchange *exchange, enum rights rights)
{
    return rights == RIGHTS_ALL || exchange->has_token ||
           (rights == RIGHTS_TOKEN_OR_LOCAL && exchange->is_local);
}

static bool accepts_method(struct http_exchange *exchange, unsigned methods)
{
    if ((methods >> exchange->request.method & 1) != 0)
        return true;
    exchange->allow = methods == METHODS_POST   ? "POST"
                      : methods == METHODS_READ ? "GET, HEAD"
                                                : "GET, HEAD, POST";
    httpanswer_refuse(exchange, 405, NULL);
    return false;
}

static bool accepts_body(struct http_exchange *exchange)
{
    if (exchange->request.body_bytes <= HTTP_BODY_MAX)
        return true;
    httpanswer_refuse(exchange, 413, "a request's body has at most 1 MiB");
    return false;
}

bool httpanswer_accepts(struct http_exchange *exchange)
{
    unsigned profile;
    struct http_text path = exchange->request.path;
    const struct place *place = find_place(path);
    if (place == NULL && !find_profile(path, &profile))
        httpanswer_refuse(exchange, 404, "no such path: / lists what there is");
    else if (place != NULL && !may(exchange, place->rights))
        httpanswer_refuse(exchange, 403,
                          place->rights == RIGHTS_TOKEN
                              ? "this needs a token (HPMALLOC_HTTP_TOKEN_FILE)"
                              : "this needs a token (HPMALLOC_HTTP_TOKEN_FILE) or a unix socket");
    else
        return accepts_method(exchange, place != NULL ? place->methods : METHODS_READ) &&
               accepts_body(exchange);
    return false;
}

void httpanswer_make(struct http_exchange *exchange)
{
    unsigned profile = 0;
    const struct place *place = find_place(exchange->request.path);
    exchange->wait_ns = 0;
    if (place != NULL)
        place->answer(exchange);
    else if (find_profile(exchange->request.path, &profile))
        answer_profile(exchange, profile);
}

void httpanswer_end(struct http_exchange *exchange)
{
    httpfiles_close(exchange->fd);
    snapshot_free(&exchange->since);
    *exchange = (struct http_exchange){.fd = -1};
}

HPM_EARLY void httpanswer_init(size_t (*release)(size_t bytes))
{
    release_memory = release;
}
