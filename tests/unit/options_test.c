#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/options.h"
#include "base/print.h"
#include "tap.h"

extern char **environ;

static char complaint[4096];

/* Reads the options in this environment; what is said on stderr lands in `complaint`. */
static void read_environment(const char *const *variables)
{
    char **kept = environ;
    int fd = memfd_create("stderr", 0), kept_stderr = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    environ = (char **)variables;
    options_init();
    environ = kept;
    dup2(kept_stderr, STDERR_FILENO);
    ssize_t length = pread(fd, complaint, sizeof(complaint) - 1, 0);
    complaint[length > 0 ? length : 0] = '\0';
    close(fd);
    close(kept_stderr);
}

#define WITH(...) read_environment((const char *const[]){__VA_ARGS__, NULL})

static bool accepts(enum option_id id, const char *text, uint64_t expected)
{
    uint64_t number = 12345;
    return option_parse(&option_table[id], text, &number) && number == expected;
}

static bool refuses(enum option_id id, const char *text)
{
    uint64_t number;
    return !option_parse(&option_table[id], text, &number);
}

TEST(options, each_has_a_name_a_help_and_a_default_that_is_accepted)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct option *option = &option_table[id];
        uint64_t number;
        CHECK(option->name != NULL && option->help != NULL && option->accepted != NULL);
        CHECK(option->initial == NULL || option_parse(option, option->initial, &number));
    }
}

TEST(options, defaults_stand_where_nothing_is_set)
{
    WITH("HOME=/");
    CHECK_EQUAL(option_number(OPTION_SAMPLE_INTERVAL), 512 * KiB);
    CHECK_EQUAL(option_number(OPTION_DUMP_SIGNAL), SIGUSR2);
    CHECK_TEXT(option_text(OPTION_DUMP_PATH), "hpmalloc.%e.%p.%n");
    CHECK_EQUAL(option_number(OPTION_DUMP_FORMAT), 1 << DUMP_FORMAT_PPROF);
    CHECK_EQUAL(option_number(OPTION_DUMP_PROFILE), 1 << DUMP_PROFILE_HEAP);
    CHECK_EQUAL(option_number(OPTION_DUMP_AT_EXIT), 0);
    CHECK_EQUAL(option_number(OPTION_DUMP_EVERY), 0);
    CHECK_EQUAL(option_number(OPTION_DUMP_ON_GROWTH), 0);
    CHECK_EQUAL(option_number(OPTION_DUMP_ON_LIMIT), 0);
    CHECK_EQUAL(option_number(OPTION_DUMP_KEEP), 0);
    CHECK_EQUAL(option_number(OPTION_HEAP_LIMIT), 0);
    CHECK_EQUAL(option_number(OPTION_SYMBOLIZE), SYMBOLIZE_AUTO);
    CHECK_EQUAL(option_number(OPTION_RELEASE), 10000000000);
    CHECK(option_text(OPTION_PROGRAM) == NULL);
    CHECK_TEXT(complaint, "");
}

TEST(options, an_environment_that_is_not_there_yet_gives_defaults)
{
    read_environment(NULL);
    CHECK_EQUAL(option_number(OPTION_SAMPLE_INTERVAL), 512 * KiB);
    CHECK_TEXT(complaint, "");
}

TEST(options, sizes_take_powers_of_1024)
{
    CHECK(accepts(OPTION_SAMPLE_INTERVAL, "0", 0));
    CHECK(accepts(OPTION_SAMPLE_INTERVAL, "1000", 1000));
    CHECK(accepts(OPTION_SAMPLE_INTERVAL, "3k", 3 * KiB));
    CHECK(accepts(OPTION_SAMPLE_INTERVAL, "3K", 3 * KiB));
    CHECK(accepts(OPTION_SAMPLE_INTERVAL, "2m", 2 * MiB));
    CHECK(accepts(OPTION_SAMPLE_INTERVAL, "5G", 5 * GiB));
    CHECK(accepts(OPTION_SAMPLE_INTERVAL, "1t", TiB));
}

TEST(options, sizes_that_make_no_sense_are_refused)
{
    static const char *const texts[] = {
        "",   "k",  "12q",  "-1",           "1 k",  "1kk", "0x10", "99999999999999999999",
        "2t", " 1", "1.5m", "17179869184g", "1025g"};
    for (size_t i = 0; i < array_count(texts); i++) {
        if (!refuses(OPTION_SAMPLE_INTERVAL, texts[i]))
            tap_fail(__FILE__, __LINE__, "%s is accepted", texts[i]);
    }
}

TEST(options, signals_have_names_and_numbers)
{
    CHECK(accepts(OPTION_DUMP_SIGNAL, "USR2", SIGUSR2));
    CHECK(accepts(OPTION_DUMP_SIGNAL, "SIGUSR2", SIGUSR2));
    CHECK(accepts(OPTION_DUMP_SIGNAL, "usr1", SIGUSR1));
    CHECK(accepts(OPTION_DUMP_SIGNAL, "12", 12));
    CHECK(accepts(OPTION_DUMP_SIGNAL, "none", 0));
    CHECK(accepts(OPTION_DUMP_SIGNAL, "RTMIN", (uint64_t)SIGRTMIN));
    CHECK(accepts(OPTION_DUMP_SIGNAL, "SIGRTMIN+3", (uint64_t)SIGRTMIN + 3));
    CHECK(accepts(OPTION_DUMP_SIGNAL, "64", 64));
}

TEST(options, signals_that_cannot_be_had_are_refused)
{
    static const char *const texts[] = {"KILL", "9",   "STOP",     "19",     "0",
                                        "65",   "32",  "RTMIN+31", "RTMIN",  "RTMIN+-1",
                                        "USR3", "SIG", "RT",       "RTMIN+", "1a"};
    for (size_t i = 0; i < array_count(texts); i++) {
        if (strcmp(texts[i], "RTMIN") != 0 && !refuses(OPTION_DUMP_SIGNAL, texts[i]))
            tap_fail(__FILE__, __LINE__, "%s is accepted", texts[i]);
    }
}

TEST(options, sets_are_words_with_commas)
{
    CHECK(accepts(OPTION_DUMP_FORMAT, "text", 1 << DUMP_FORMAT_TEXT));
    CHECK(accepts(OPTION_DUMP_FORMAT, "text,pprof", 3));
    CHECK(accepts(OPTION_DUMP_PROFILE, "allocs", 1 << DUMP_PROFILE_ALLOCS));
    CHECK(refuses(OPTION_DUMP_FORMAT, "text,"));
    CHECK(refuses(OPTION_DUMP_FORMAT, ",text"));
    CHECK(refuses(OPTION_DUMP_FORMAT, "tex"));
    CHECK(refuses(OPTION_DUMP_FORMAT, "texts"));
    CHECK(refuses(OPTION_DUMP_FORMAT, "pprof text"));
    CHECK(accepts(OPTION_SYMBOLIZE, "off", SYMBOLIZE_OFF));
    CHECK(refuses(OPTION_SYMBOLIZE, "auto,off"));
}

TEST(options, each_so_much_is_bytes_or_a_time)
{
    CHECK(accepts(OPTION_DUMP_EVERY, "4g", 4 * GiB));
    CHECK(accepts(OPTION_DUMP_EVERY, "64m", 64 * MiB));
    CHECK(accepts(OPTION_DUMP_EVERY, "100000", 100000));
    CHECK(accepts(OPTION_DUMP_EVERY, "60s", OPTION_EVERY_TIME | 60000000000));
    CHECK(accepts(OPTION_DUMP_EVERY, "100ms", OPTION_EVERY_TIME | 100000000));
    CHECK(accepts(OPTION_DUMP_EVERY, "5min", OPTION_EVERY_TIME | 300000000000));
    CHECK(accepts(OPTION_DUMP_EVERY, "off", 0));
    CHECK(accepts(OPTION_DUMP_EVERY, "0", 0));
    CHECK(refuses(OPTION_DUMP_EVERY, "60"));
    CHECK(refuses(OPTION_DUMP_EVERY, "63k"));
    CHECK(refuses(OPTION_DUMP_EVERY, "99ms"));
    CHECK(refuses(OPTION_DUMP_EVERY, "9000h"));
    CHECK(refuses(OPTION_DUMP_EVERY, "0s"));
    CHECK(refuses(OPTION_DUMP_EVERY, "2000t"));
    CHECK(refuses(OPTION_DUMP_EVERY, "often"));
}

TEST(options, shares_and_numbers_are_whole)
{
    CHECK(accepts(OPTION_DUMP_ON_LIMIT, "90%", 90));
    CHECK(accepts(OPTION_DUMP_ON_LIMIT, "100%", 100));
    CHECK(accepts(OPTION_DUMP_ON_LIMIT, "off", 0));
    CHECK(refuses(OPTION_DUMP_ON_LIMIT, "90"));
    CHECK(refuses(OPTION_DUMP_ON_LIMIT, "101%"));
    CHECK(refuses(OPTION_DUMP_ON_LIMIT, "0%"));
    CHECK(refuses(OPTION_DUMP_ON_LIMIT, "none"));
    CHECK(accepts(OPTION_HTTP_TTL, "10m", 600 * (uint64_t)1000000000));
    CHECK(accepts(OPTION_HTTP_TTL, "100ms", 100000000));
    CHECK(accepts(OPTION_HTTP_TTL, "none", 0));
    CHECK(refuses(OPTION_HTTP_TTL, "10"));
    CHECK(refuses(OPTION_HTTP_TTL, "99ms"));
    CHECK(accepts(OPTION_DUMP_KEEP, "10", 10));
    CHECK(accepts(OPTION_DUMP_KEEP, "all", 0));
    CHECK(refuses(OPTION_DUMP_KEEP, "10k"));
    CHECK(refuses(OPTION_DUMP_KEEP, "10001"));
    CHECK(accepts(OPTION_HEAP_LIMIT, "1g", GiB));
    CHECK(accepts(OPTION_HEAP_LIMIT, "none", 0));
    CHECK(refuses(OPTION_HEAP_LIMIT, "1000k"));
}

TEST(options, the_time_to_release_may_be_now_or_never)
{
    CHECK(accepts(OPTION_RELEASE, "now", 0));
    CHECK(accepts(OPTION_RELEASE, "0", 0));
    CHECK(accepts(OPTION_RELEASE, "never", UINT64_MAX));
    CHECK(accepts(OPTION_RELEASE, "250ms", 250000000));
    CHECK(accepts(OPTION_RELEASE, "3s", 3000000000));
    CHECK(accepts(OPTION_RELEASE, "2m", 120000000000));
    CHECK(accepts(OPTION_RELEASE, "1h", 3600000000000));
    CHECK(refuses(OPTION_RELEASE, "10"));
    CHECK(refuses(OPTION_RELEASE, "25h"));
    CHECK(refuses(OPTION_RELEASE, "soon"));
    CHECK(refuses(OPTION_RELEASE, "18446744073709551615s"));
}

TEST(options, a_bad_value_costs_one_line_and_the_default_stands)
{
    WITH("HPMALLOC_SAMPLE_INTERVAL=12q", "HPMALLOC_DUMP_AT_EXIT=1");
    CHECK_EQUAL(option_number(OPTION_SAMPLE_INTERVAL), 512 * KiB);
    CHECK_EQUAL(option_number(OPTION_DUMP_AT_EXIT), 1);
    CHECK_TEXT(complaint, "hpmalloc: HPMALLOC_SAMPLE_INTERVAL=12q is not accepted: a number of "
                          "bytes up to 1t, with k, m, g or t behind it; using 512k\n");
}

TEST(options, an_empty_value_counts_as_unset)
{
    WITH("HPMALLOC_SAMPLE_INTERVAL=", "HPMALLOC_PROGRAM=");
    CHECK_EQUAL(option_number(OPTION_SAMPLE_INTERVAL), 512 * KiB);
    CHECK(option_text(OPTION_PROGRAM) == NULL);
    CHECK_TEXT(complaint, "");
}

TEST(options, quiet_comes_before_complaints)
{
    WITH("HPMALLOC_SAMPLE_INTERVAL=12q", "HPMALLOC_QUIET=1");
    CHECK_TEXT(complaint, "");
    WITH("HPMALLOC_SAMPLE_INTERVAL=12q", "HPMALLOC_PROGRAM=another-*");
    CHECK_TEXT(complaint, "");
}

TEST(options, values_outlive_the_environment)
{
    char variable[] = "HPMALLOC_DUMP_PATH=/tmp/%p";
    WITH(variable);
    memset(variable, 'x', strlen(variable));
    CHECK_TEXT(option_text(OPTION_DUMP_PATH), "/tmp/%p");
}

TEST(options, a_text_that_is_too_long_is_refused)
{
    char variable[5000] = "HPMALLOC_DUMP_PATH=";
    memset(variable + strlen(variable), 'x', 4500);
    WITH(variable);
    CHECK_TEXT(option_text(OPTION_DUMP_PATH), "hpmalloc.%e.%p.%n");
    CHECK(strstr(complaint, "at most 4000 characters; using hpmalloc.%e.%p.%n\n") != NULL);
}

static bool program_matches(const char *pattern, const char *name)
{
    char variable[100];
    snprintf(variable, sizeof(variable), "HPMALLOC_PROGRAM=%s", pattern);
    WITH(variable);
    return options_program_matches(name);
}

TEST(options, a_pattern_names_programs)
{
    CHECK(program_matches("redis-*", "redis-server"));
    CHECK(program_matches("redis-*", "redis-"));
    CHECK(!program_matches("redis-*", "redis"));
    CHECK(program_matches("*", "anything"));
    CHECK(program_matches("*a*b*c", "xxaxbxaxbxxc"));
    CHECK(!program_matches("*a*b*c", "xxaxbxaxbxxcx"));
    CHECK(program_matches("p?thon?", "python3"));
    CHECK(!program_matches("p?thon?", "python"));
    CHECK(!program_matches("sh", "bash"));
    CHECK(program_matches("sh**", "sh"));
}

TEST(options, without_a_pattern_every_program_is_meant)
{
    WITH("HOME=/");
    CHECK(options_program_matches("anything"));
    CHECK(options_program_matches(NULL));
}

TEST(options, the_running_program_is_known)
{
    CHECK(program_matches("*options*", NULL));
    CHECK(!program_matches("another", NULL));
}
