#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/options.h"
#include "fake_snapshot.h"
#include "report/frames.h"
#include "report/pprof.h"
#include "tap.h"

static struct hpm_stats counted;

/* A profile as lines of text: `field.field=number` or `field="text"`, messages in order. */
static char *shown;
static size_t shown_bytes, plain_bytes;

static uint64_t take_number(const unsigned char **at, const unsigned char *limit)
{
    uint64_t number = 0;
    for (unsigned shift = 0; *at < limit; shift += 7) {
        unsigned char byte = *(*at)++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            break;
    }
    return number;
}

/* What a field of bytes holds: t text, m message, p packed numbers. */
static char kind_of(unsigned parent, unsigned field)
{
    if (parent == 0)
        return field == 6 ? 't' : 'm';
    return parent == 2 && field < 3 ? 'p' : 'm';
}

static void show_fields(FILE *out, unsigned parent, const unsigned char *at,
                        const unsigned char *limit);

static void show_bytes(FILE *out, unsigned parent, unsigned field, const unsigned char *at,
                       size_t bytes)
{
    char kind = kind_of(parent, field);
    if (kind == 't') {
        fprintf(out, "\"%.*s\"", (int)bytes, (const char *)at);
    } else if (kind == 'm') {
        fputs("{", out);
        show_fields(out, field, at, at + bytes);
        fputs("}", out);
    } else {
        for (const unsigned char *limit = at + bytes; at < limit;)
            fprintf(out, "%llu,", (unsigned long long)take_number(&at, limit));
    }
}

static void show_fields(FILE *out, unsigned parent, const unsigned char *at,
                        const unsigned char *limit)
{
    while (at < limit) {
        uint64_t tag = take_number(&at, limit);
        unsigned field = (unsigned)(tag >> 3);
        fprintf(out, "%u=", field);
        uint64_t number = take_number(&at, limit);
        if ((tag & 7) == 2) {
            show_bytes(out, parent, field, at, number);
            at += number;
        } else {
            fprintf(out, "%llu", (unsigned long long)number);
        }
        fputs(parent == 0 ? "\n" : " ", out);
    }
}

/* Unpacks with a program that is not ours. */
static size_t unpack(int fd, unsigned char *target, size_t size)
{
    char command[64];
    snprintf(command, sizeof(command), "gzip -dc < /proc/self/fd/%d", fd);
    FILE *pipe = popen(command, "r");
    size_t bytes = pipe != NULL ? fread(target, 1, size, pipe) : 0;
    return pipe != NULL && pclose(pipe) == 0 ? bytes : 0;
}

static bool show_profile(int fd)
{
    static unsigned char plain[8 << 20];
    free(shown);
    shown = NULL;
    size_t bytes = plain_bytes = unpack(fd, plain, sizeof(plain));
    FILE *out = open_memstream(&shown, &shown_bytes);
    show_fields(out, 0, plain, plain + bytes);
    fclose(out);
    return bytes > 0;
}

static bool write_and_show(const struct snapshot *snapshot, unsigned profile, bool want_names)
{
    struct symbol_table table;
    int fd = memfd_create("profile", 0);
    bool done = frames_resolve(&table, snapshot, want_names) &&
                pprof_write(fd, snapshot, &table, &counted, profile) && show_profile(fd);
    symbols_free(&table);
    close(fd);
    return done;
}

/* The index of a text in the string table; -1 when it is not there. */
static int string_index(const char *text)
{
    char line[600];
    int index = 0;
    snprintf(line, sizeof(line), "6=\"%s\"\n", text);
    for (const char *at = strstr(shown, "6=\""); at != NULL; at = strstr(at + 1, "\n6=\"")) {
        if (strncmp(at + (*at == '\n'), line, strlen(line)) == 0)
            return index;
        index++;
    }
    return -1;
}

/* Whether there is a line made after this format. */
#define HAS_LINE(...)                                                                              \
    (snprintf(expected, sizeof(expected), "\n" __VA_ARGS__), strstr(shown, expected) != NULL)
static char expected[600];

static int count_lines(const char *prefix)
{
    int count = strncmp(shown, prefix, strlen(prefix)) == 0;
    char start[16];
    snprintf(start, sizeof(start), "\n%s", prefix);
    for (const char *at = shown; (at = strstr(at, start)) != NULL; at++)
        count++;
    return count;
}

__attribute__((noinline)) static void one_caller(void)
{
    __asm__ volatile("nop");
}

__attribute__((noinline)) static void other_caller(void)
{
    __asm__ volatile("nop");
}

/* Stands for our own entry point in the program, as when linked statically. */
__attribute__((noinline)) void *hpm_malloc(size_t bytes)
{
    (void)bytes;
    __asm__ volatile("nop");
    return NULL;
}

static const uintptr_t two_frames[2] = {(uintptr_t)one_caller + 2, (uintptr_t)other_caller + 2};

static bool main_mapping_has_functions(void)
{
    const char *first = strstr(shown, "\n3={1=1 ");
    return first != NULL && memmem(first, strcspn(first + 1, "\n"), " 7=1 ", 5) != NULL;
}

/* The end of a mapping's last page, where there is padding and no function. */
static uintptr_t mapping_limit_of(uintptr_t address)
{
    struct symbol_table table;
    symbols_resolve(&table, &address, 1, false);
    uintptr_t limit = table.mappings[table.symbols[0].mapping].limit;
    symbols_free(&table);
    return limit;
}

TEST(pprof, sample_types_are_in_the_order_that_readers_compare)
{
    struct snapshot snapshot = fake_snapshot(NULL, 0);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(strncmp(shown, "6=\"\"\n", 5) == 0);
    int at[4] = {string_index("alloc_objects"), string_index("alloc_space"),
                 string_index("inuse_objects"), string_index("inuse_space")};
    CHECK(at[0] > 0 && at[0] < at[1] && at[1] < at[2] && at[2] < at[3]);
    for (int i = 0; i < 4; i++)
        CHECK(HAS_LINE("1={1=%d 2=%d }\n", at[i], string_index(i % 2 ? "bytes" : "count")));
    CHECK_EQUAL(count_lines("1={"), 4);
    CHECK(HAS_LINE("11={1=%d 2=%d }\n", string_index("space"), string_index("bytes")));
    CHECK(HAS_LINE("12=524288\n"));
    CHECK(HAS_LINE("9=1700000000000000000\n"));
    CHECK(HAS_LINE("14=%d\n", string_index("inuse_space")));
    CHECK_EQUAL(count_lines("10="), 0);
}

TEST(pprof, an_allocs_profile_opens_on_what_was_ever_allocated)
{
    struct snapshot snapshot = fake_snapshot(NULL, 0);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_ALLOCS, true));
    CHECK(HAS_LINE("14=%d\n", string_index("alloc_space")));
}

TEST(pprof, a_row_is_a_sample_with_rounded_values_and_its_size)
{
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 48, 10.4);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    bool in_order = two_frames[0] < two_frames[1];
    int bytes = string_index("bytes");
    CHECK(HAS_LINE("2={1=%s 2=21,998,10,499, 3={1=%d 3=48 4=%d } }\n", in_order ? "1,2," : "2,1,",
                   bytes, bytes));
    CHECK_EQUAL(count_lines("2={"), 1);
}

TEST(pprof, a_lifetime_profile_has_the_columns_of_tcmalloc_and_the_sum_of_lives)
{
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 48, 10);
    row.freed = (struct estimate){.objects = 7, .bytes = 336, .samples = 1};
    row.freed_seconds = 2.5;
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_LIFETIME, true));
    CHECK_EQUAL(count_lines("1={"), 7);
    CHECK(HAS_LINE("1={1=%d 2=%d }\n", string_index("deallocated_space"), string_index("bytes")));
    CHECK(HAS_LINE("14=%d\n", string_index("object_lifetime")));
    CHECK(strstr(shown, " 2=20,960,7,336,10,480,2500000000, ") != NULL);
}

TEST(pprof, a_pinned_profile_says_what_is_held)
{
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 48, 10);
    row.pinned = (struct estimate){.objects = 10, .bytes = 5000, .samples = 1};
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_PINNED, true));
    CHECK_EQUAL(count_lines("1={"), 2);
    CHECK(HAS_LINE("14=%d\n", string_index("pinned_space")));
    CHECK(strstr(shown, " 2=10,5000, ") != NULL);
}

TEST(pprof, labels_are_sent_once_and_named_by_their_rows)
{
    struct profile_row rows[3];
    for (size_t i = 0; i < 3; i++)
        rows[i] = fake_row(fake_stack(two_frames, 2, false), 48 + 16 * i, 10);
    CHECK(labels_set("tenant", "acme") == 0);
    rows[0].labels = rows[1].labels = labels_current();
    labels_clear(NULL);
    struct snapshot snapshot = fake_snapshot(rows, 3);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    char label[64];
    snprintf(label, sizeof(label), "3={1=%d 2=%d }", string_index("tenant"), string_index("acme"));
    const char *first = strstr(shown, label);
    const char *second = first != NULL ? strstr(first + 1, label) : NULL;
    CHECK(second != NULL && strstr(second + 1, label) == NULL);
    CHECK_EQUAL(count_lines("6=\"acme\""), 1);
}

TEST(pprof, locations_hold_the_call_address_and_its_function)
{
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 48, 10);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(strstr(shown, "\n4={1=1 2=1 3=") != NULL);
    CHECK(HAS_LINE("4={1=1 2=1 3=%lu 4={1=1 } }\n",
                   (two_frames[0] < two_frames[1] ? two_frames[0] : two_frames[1]) - 1));
    CHECK(HAS_LINE("5={1=1 2=%d 3=%d }\n",
                   string_index(two_frames[0] < two_frames[1] ? "one_caller" : "other_caller"),
                   string_index(two_frames[0] < two_frames[1] ? "one_caller" : "other_caller")));
    CHECK_EQUAL(count_lines("5={"), 2);
}

TEST(pprof, without_names_there_are_addresses_and_mappings)
{
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 48, 10);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, false));
    CHECK_EQUAL(count_lines("5={"), 0);
    CHECK_EQUAL(count_lines("4={"), 2);
    CHECK_EQUAL(string_index("one_caller"), -1);
}

TEST(pprof, a_mapping_of_which_all_names_are_known_says_so)
{
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 48, 10);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(main_mapping_has_functions());
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, false));
    CHECK(!main_mapping_has_functions());
    uintptr_t frames[2] = {two_frames[0], mapping_limit_of(two_frames[0])};
    row = fake_row(fake_stack(frames, 2, false), 48, 10);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(!main_mapping_has_functions());
}

TEST(pprof, the_first_mapping_is_the_main_program_with_its_build_id)
{
    char path[600] = "";
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 48, 10);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
    CHECK(string_index(path) > 0);
    const char *first = strstr(shown, "\n3={1=1 ");
    CHECK(first != NULL);
    unsigned long start, limit, offset;
    int file, build_id;
    CHECK_EQUAL(sscanf(first, "\n3={1=1 2=%lu 3=%lu 4=%lu 5=%d 6=%d", &start, &limit, &offset,
                       &file, &build_id),
                5);
    CHECK_EQUAL(file, string_index(path));
    CHECK(start <= two_frames[0] && two_frames[0] < limit);
    CHECK(build_id > 0);
}

TEST(pprof, samples_without_a_stack_are_shown_as_other)
{
    struct profile_row rows[2] = {fake_row(NULL, 16, 5),
                                  fake_row(fake_stack(two_frames, 1, true), 32, 5)};
    struct snapshot snapshot = fake_snapshot(rows, 2);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(string_index("[other]") > 0);
    CHECK(string_index("[truncated]") > 0);
    CHECK(strstr(shown, "\n4={1=2 4={1=2 } }\n") != NULL);
    CHECK(strstr(shown, "\n2={1=1,3, 2=10,320,5,160,") != NULL);
    CHECK(strstr(shown, "\n2={1=2, 2=10,160,5,80,") != NULL);
}

TEST(pprof, our_entry_points_at_the_leaf_are_left_out)
{
    uintptr_t frames[3] = {(uintptr_t)hpm_malloc + 2, two_frames[0], two_frames[1]};
    struct profile_row row = fake_row(fake_stack(frames, 3, false), 48, 10);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    struct symbol_table table;
    CHECK(frames_resolve(&table, &snapshot, true));
    CHECK_EQUAL(frames_own_count(row.stack, &table), 1);
    symbols_free(&table);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(HAS_LINE("7=%d\n", string_index(frames_entry_pattern)));
    unsigned ids[2];
    int length = 0;
    const char *sample = strstr(shown, "\n2={1=");
    CHECK(sample != NULL);
    sscanf(sample, "\n2={1=%u,%u,%n", &ids[0], &ids[1], &length);
    CHECK(length > 0 && sample[length] == ' ');
}

TEST(pprof, the_lightest_rows_beyond_the_limit_are_merged)
{
    enum { ROWS = PPROF_SAMPLES_MAX + 500 };
    struct profile_row *rows = calloc(ROWS, sizeof(*rows));
    struct stack *stack = fake_stack(two_frames, 2, false);
    for (size_t i = 0; i < ROWS; i++)
        rows[i] = fake_row(stack, (i * 7919) % ROWS + 1, 1);
    struct snapshot snapshot = fake_snapshot(rows, ROWS);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK_EQUAL(count_lines("2={"), PPROF_SAMPLES_MAX);
    /* Sizes 1 to 501 are the lightest. */
    CHECK(HAS_LINE("2={1=3, 2=%d,%d,%d,%d, }\n", 2 * 501, 501 * 502, 501, 501 * 502 / 2));
    CHECK(string_index("merged into [other]: the 501 lightest rows, for readers refuse more than "
                       "16000 samples or 4 MiB") > 0);
    free(rows);
}

/* Deep stacks that share no frame: few of them fill a file. */
TEST(pprof, rows_beyond_the_size_that_readers_take_are_merged)
{
    enum { ROWS = 4000, DEPTH = 100 };
    static uintptr_t frames[DEPTH];
    struct profile_row *rows = calloc(ROWS, sizeof(*rows));
    for (size_t i = 0; i < ROWS; i++) {
        struct stack *stack = calloc(1, sizeof(*stack) + sizeof(frames));
        stack->depth = DEPTH;
        for (size_t at = 0; at < DEPTH; at++)
            stack->frames[at] = 0x7f0000000000 + 64 * (i * DEPTH + at);
        rows[i] = fake_row(stack, i + 1, 1);
    }
    struct snapshot snapshot = fake_snapshot(rows, ROWS);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(plain_bytes <= PPROF_BYTES_MAX);
    CHECK(plain_bytes > PPROF_BYTES_MAX / 3);
    unsigned long shown_rows = (unsigned long)count_lines("2={") - 1, merged = ROWS - shown_rows;
    CHECK(merged > 0 && merged < ROWS);
    CHECK_EQUAL(count_lines("4={"), shown_rows * DEPTH + 1);
    CHECK(HAS_LINE("2={1=%lu, 2=%lu,%lu,%lu,%lu, }\n", shown_rows * DEPTH + 1, 2 * merged,
                   merged * (merged + 1), merged, merged * (merged + 1) / 2));
}

TEST(pprof, comments_tell_version_interval_samples_and_losses)
{
    struct profile_row row = fake_row(fake_stack(two_frames, 2, false), 48, 10);
    struct snapshot snapshot = fake_snapshot(&row, 1);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(string_index("interval: 524288 bytes between samples, on average") > 0);
    CHECK(string_index("samples: 2 of live objects, 4 in all") > 0);
    CHECK(string_index("lost: 7 samples for want of memory; without a stack of their own: 3") > 0);
    CHECK(count_lines("13=") >= 4);
}

TEST(pprof, comments_tell_where_the_resident_memory_is_to_the_byte)
{
    struct snapshot snapshot = fake_snapshot(NULL, 0);
    counted = (struct hpm_stats){.resident_bytes = 9000,
                                 .live_bytes = 5000,
                                 .live_requested_bytes = 4000,
                                 .live_untouched_bytes = 500,
                                 .metadata_bytes = 2000,
                                 .sample_metadata_bytes = 1500};
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(string_index("account rounding: 1000 bytes, live: rounding up to size classes") > 0);
    CHECK(string_index("account untouched: -500 bytes, live: never written, or swapped out, so not "
                       "resident") > 0);
    CHECK(string_index("account other: 2500 bytes, not of this allocator: code, stacks, other "
                       "mappings") > 0);
    CHECK(string_index("account resident: 9000 bytes, resident memory of the process") > 0);
    CHECK(string_index("account profiler: 1500 bytes, of the tables: handed out for samples") > 0);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_PEAK, true));
    CHECK(string_index("account resident: 9000 bytes, resident memory of the process") < 0);
    counted = (struct hpm_stats){0};
}

TEST(pprof, comments_tell_which_stacks_were_cut)
{
    struct profile_row rows[2] = {fake_row(fake_stack(two_frames, 2, false), 48, 10),
                                  fake_row(fake_stack(two_frames, 1, true), 48, 10)};
    struct snapshot snapshot = fake_snapshot(rows, 2);
    CHECK(write_and_show(&snapshot, DUMP_PROFILE_HEAP, true));
    CHECK(string_index("stacks: 50.0 % of 8 samples have whole ones") > 0);
    CHECK(string_index("stacks: 50.0 % are cut off at 128 frames") > 0);
}

TEST(pprof, a_descriptor_that_takes_nothing_is_an_error)
{
    struct snapshot snapshot = fake_snapshot(NULL, 0);
    struct symbol_table table;
    CHECK(frames_resolve(&table, &snapshot, true));
    CHECK(!pprof_write(-1, &snapshot, &table, &counted, DUMP_PROFILE_HEAP));
    symbols_free(&table);
}

TEST(pprof, go_reads_it)
{
    if (system("go version >/dev/null 2>&1") != 0)
        SKIP("no go here");
    char path[] = "/tmp/pprof_test.XXXXXX", command[600];
    struct profile_row rows[2] = {fake_row(fake_stack(two_frames, 2, false), 1 << 20, 3),
                                  fake_row(NULL, 16, 5)};
    struct snapshot snapshot = fake_snapshot(rows, 2);
    struct symbol_table table;
    int fd = mkstemp(path);
    CHECK(frames_resolve(&table, &snapshot, true));
    CHECK(pprof_write(fd, &snapshot, &table, &counted, DUMP_PROFILE_HEAP));
    snprintf(command, sizeof(command),
             "go tool pprof -top %s 2>&1 | grep -q '3MB .* one_caller' && "
             "go tool pprof -raw %s 2>&1 | grep -q 'PeriodType: space bytes' && "
             "go tool pprof -top -symbolize=none -diff_base %s %s >/dev/null 2>&1",
             path, path, path, path);
    CHECK_EQUAL(system(command), 0);
    symbols_free(&table);
    close(fd);
    unlink(path);
}
