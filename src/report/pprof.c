#include "report/pprof.h"

#include <errno.h>
#include <string.h>

#include "base/options.h"
#include "base/os.h"
#include "base/print.h"
#include "hpmalloc.h"
#include "report/account.h"
#include "report/cuts.h"
#include "report/columns.h"
#include "report/frames.h"
#include "report/numbers.h"
#include "report/gzip.h"
#include "report/proto.h"
#include "report/rows.h"
#include "report/suspects.h"

/* Frames of no address. */
enum synthetic { SYNTHETIC_OTHER, SYNTHETIC_TRUNCATED, SYNTHETIC_COUNT };

/* What is said of a stack's ages; what follows AGE_SUSPECTED only of leak suspects. */
enum age_label { AGE_MEDIAN, AGE_OLDEST, AGE_SUSPECTED, AGE_USUAL, AGE_FREED, AGE_LABEL_COUNT };

/* What a message takes at most, when its numbers are below 2^28 and addresses whatever they are. */
enum {
    LOCATION_BYTES_MAX = 32,
    FUNCTION_BYTES_MAX = 24, // with what comes before its name
    LABEL_BYTES_MAX = 32,
    AGE_LABELS = 4,
    MAPPING_BYTES_MAX = 160, // without its path
    COMMENTS_BYTES_MAX = 16384,
};

static struct {
    const struct snapshot *snapshot;
    const struct symbol_table *table;
    const struct hpm_stats *stats; // or NULL
    unsigned profile;
    uint64_t string_count, function_count, location_count;
    size_t shown_rows;                   // of the heaviest
    uint64_t synthetic[SYNTHETIC_COUNT]; // their locations
    bool is_needed[SYNTHETIC_COUNT];

    /* Strings that many messages refer to. */
    uint64_t bytes, nanoseconds;
    uint64_t ages[AGE_LABEL_COUNT];                      // all 0 where no ages were asked for
    uint32_t label_texts[LABEL_SETS_MAX][LABELS_MAX][2]; // by set: key, value; 0: not sent yet

    /* By symbol: the first row that it occurs in, from 1 on (0: none), then its location. */
    uint32_t *locations;

    /* Functions by name: a table of hashes, of indices of symbols from 1 on (0: free), and for the
     * symbol that stands there its function (0: not sent). */
    uint32_t *slots, *functions;
    size_t slot_count, mapped_bytes;

    struct proto_message message, inner;
    char text[512];
} writer;

static uint64_t send_string(const char *text, size_t length)
{
    proto_send_bytes(PROFILE_STRING_TABLE, text, length);
    return writer.string_count++;
}

static uint64_t send_text(const char *text)
{
    return send_string(text, strlen(text));
}

static struct proto_message *begin(struct proto_message *message)
{
    message->bytes = 0;
    return message;
}

static void send_value_type(unsigned field, uint64_t type, uint64_t unit)
{
    struct proto_message *message = begin(&writer.message);
    proto_field(message, VALUE_TYPE_TYPE, type);
    proto_field(message, VALUE_TYPE_UNIT, unit);
    proto_send_message(field, message);
}

/* A unit's text goes out with the first column that has it. */
static uint64_t send_unit(const struct column_set *set, size_t column, uint64_t units[COLUMNS_MAX])
{
    const char *unit = set->columns[column].unit;
    for (size_t i = 0; i < column; i++) {
        if (strcmp(set->columns[i].unit, unit) == 0)
            return units[i];
    }
    return strcmp(unit, "bytes") == 0 ? writer.bytes : send_text(unit);
}

static const char *const age_labels[AGE_LABEL_COUNT] = {
    [AGE_MEDIAN] = "age",           [AGE_OLDEST] = "oldest",       [AGE_SUSPECTED] = "suspected",
    [AGE_USUAL] = "usual_lifetime", [AGE_FREED] = "freed_objects",
};

static void send_types(void)
{
    const struct column_set *set = columns_of(writer.profile);
    uint64_t shown = 0, units[COLUMNS_MAX];
    bool want_age = option_number(OPTION_DUMP_LABELS) >> DUMP_LABEL_AGE & 1;
    writer.bytes = send_text("bytes");
    for (size_t i = 0; i < AGE_LABEL_COUNT; i++)
        writer.ages[i] = want_age ? send_text(age_labels[i]) : 0;
    writer.nanoseconds = want_age ? send_text("nanoseconds") : 0;
    for (size_t i = 0; i < set->count; i++) {
        uint64_t type = send_text(set->columns[i].type);
        units[i] = send_unit(set, i, units);
        send_value_type(PROFILE_SAMPLE_TYPE, type, units[i]);
        if (i == set->shown)
            shown = type;
    }
    send_value_type(PROFILE_PERIOD_TYPE, send_text("space"), writer.bytes);
    proto_send_field(PROFILE_PERIOD, writer.snapshot->interval_bytes);
    proto_send_field(PROFILE_TIME_NANOS, writer.snapshot->wall_clock_ns);
    if (writer.snapshot->duration_ns != 0)
        proto_send_field(PROFILE_DURATION_NANOS, writer.snapshot->duration_ns);
    proto_send_field(PROFILE_DEFAULT_SAMPLE_TYPE, shown);
}

/* Sends writer.text. The printing is over by then: its stack and that of sending do not add up. */
static void send_comment(size_t length)
{
    proto_send_field(PROFILE_COMMENT, send_string(writer.text, length));
}

#define SEND_COMMENT(...) send_comment(print_format(writer.text, sizeof(writer.text), __VA_ARGS__))

static void send_comments(void)
{
    size_t merged_rows = writer.snapshot->row_count - writer.shown_rows;
    const struct snapshot *snapshot = writer.snapshot;
    SEND_COMMENT("hpmalloc %s", HPM_VERSION);
    SEND_COMMENT("interval: %zu bytes between samples, on average", snapshot->interval_bytes);
    if (snapshot->interval_bytes > snapshot->asked_interval_bytes)
        SEND_COMMENT("wider than the %zu bytes asked for: " NUMBERS_WHY_WIDER,
                     snapshot->asked_interval_bytes);
    SEND_COMMENT("samples: %lu of live objects, %lu in all", snapshot->total.inuse.samples,
                 snapshot->total.alloc.samples);
    if (snapshot->calibration != 1)
        SEND_COMMENT("calibrated: in-use values add up to the exact count, %.6f of the estimate",
                     snapshot->calibration);
    SEND_COMMENT("lost: %lu samples for want of memory; without a stack of their own: %lu",
                 snapshot->lost_samples, snapshot->other_samples);
    if (merged_rows != 0)
        SEND_COMMENT("merged into " FRAME_OTHER
                     ": the %zu lightest rows, for readers refuse more than "
                     "%d samples or %d MiB",
                     merged_rows, PPROF_SAMPLES_MAX, PPROF_BYTES_MAX >> 20);
}

/* Where the resident memory was, of a moment: a peak is over, and a change is of none. */
static void send_account(void)
{
    const struct hpm_stats *stats = writer.stats;
    if (stats == NULL || writer.profile == DUMP_PROFILE_PEAK || writer.snapshot->duration_ns != 0)
        return;
    for (enum account which = 0; which < ACCOUNT_ROWS; which++) {
        struct account_row row = account_row(stats, stats->live_requested_bytes, which);
        SEND_COMMENT("account %s: %ld bytes, %s", row.key, row.bytes, row.what);
    }
    SEND_COMMENT("account profiler: %lu bytes, of the tables: handed out for samples",
                 stats->sample_metadata_bytes);
}

static void send_cuts(void)
{
    static struct cuts cuts;
    cuts_count(&cuts, writer.snapshot, writer.table);
    if (cuts.samples == 0)
        return;
    send_comment(cuts_print_whole(&cuts, writer.text, sizeof(writer.text)));
    for (size_t i = 0; i < cuts.count; i++)
        send_comment(cuts_print(&cuts, i, writer.table, writer.text, sizeof(writer.text)));
}

static uint64_t send_build_id(const struct mapping *mapping)
{
    size_t length = 0;
    for (unsigned i = 0; i < mapping->build_id_bytes; i++)
        length += print_format(writer.text + length, sizeof(writer.text) - length, "%02x",
                               (unsigned)mapping->build_id[i]);
    return send_string(writer.text, length);
}

static void send_mappings(void)
{
    for (size_t i = 0; i < writer.table->mapping_count; i++) {
        const struct mapping *mapping = &writer.table->mappings[i];
        uint64_t file = send_text(mapping->path);
        uint64_t build_id = mapping->build_id_bytes != 0 ? send_build_id(mapping) : 0;
        struct proto_message *message = begin(&writer.message);
        proto_field(message, MAPPING_ID, i + 1);
        proto_field(message, MAPPING_START, mapping->start);
        proto_field(message, MAPPING_LIMIT, mapping->limit);
        proto_field(message, MAPPING_OFFSET, mapping->file_offset);
        proto_field(message, MAPPING_FILE, file);
        proto_field(message, MAPPING_BUILD, build_id);
        if (mapping->is_named)
            proto_field(message, MAPPING_HAS_FUNCTIONS, 1);
        proto_send_message(PROFILE_MAPPING, message);
    }
}

/* The name as the linker knows it; readers demangle it. */
static uint32_t send_function(const char *name, size_t length)
{
    uint64_t string = send_string(name, length);
    struct proto_message *message = begin(&writer.message);
    proto_field(message, FUNCTION_ID, ++writer.function_count);
    proto_field(message, FUNCTION_NAME, string);
    proto_field(message, FUNCTION_SYSTEM_NAME, string);
    proto_send_message(PROFILE_FUNCTION, message);
    return (uint32_t)writer.function_count;
}

static uint64_t hash_name(const char *name, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3u;
    return hash ^ hash >> 32;
}

static bool is_name_of(const struct symbol *symbol, const char *name, size_t length)
{
    return symbol->name == name ||
           (symbols_name_length(symbol->name) == length && memcmp(symbol->name, name, length) == 0);
}

/* Where a symbol's name stands in the table, or would. */
static uint32_t *find_slot(const struct symbol *symbol)
{
    const struct symbol *symbols = writer.table->symbols;
    size_t length = symbols_name_length(symbol->name);
    size_t at = hash_name(symbol->name, length) & (writer.slot_count - 1);
    while (writer.slots[at] != 0 &&
           !is_name_of(&symbols[writer.slots[at] - 1], symbol->name, length))
        at = (at + 1) & (writer.slot_count - 1);
    return &writer.slots[at];
}

/* The function of a symbol's name, sent when it is the first of that name. */
static uint32_t function_of(const struct symbol *symbol)
{
    if (symbol->name == NULL)
        return 0;
    uint32_t *function = &writer.functions[*find_slot(symbol) - 1];
    if (*function == 0)
        *function = send_function(symbol->name, symbols_name_length(symbol->name));
    return *function;
}

static void send_location(uint64_t id, uint64_t mapping, uintptr_t address, uint32_t function)
{
    struct proto_message *message = begin(&writer.message);
    proto_field(message, LOCATION_ID, id);
    if (mapping != 0)
        proto_field(message, LOCATION_MAPPING_ID, mapping);
    if (address != 0)
        proto_field(message, LOCATION_ADDRESS, address);
    if (function != 0) {
        proto_field(begin(&writer.inner), LINE_FUNCTION_ID, function);
        proto_submessage(message, LOCATION_LINE, &writer.inner);
    }
    proto_send_message(PROFILE_LOCATION, message);
}

static void send_synthetic_locations(void)
{
    static const char *const names[SYNTHETIC_COUNT] = {FRAME_OTHER, FRAME_TRUNCATED};
    for (enum synthetic which = 0; which < SYNTHETIC_COUNT; which++) {
        if (!writer.is_needed[which])
            continue;
        writer.synthetic[which] = ++writer.location_count;
        send_location(writer.location_count, 0, 0,
                      send_function(names[which], strlen(names[which])));
    }
}

/* Of the frames of rows that are shown. */
static void send_locations(void)
{
    for (size_t i = 0; i < writer.table->symbol_count; i++) {
        const struct symbol *symbol = &writer.table->symbols[i];
        if (writer.locations[i] == 0 || writer.locations[i] > writer.shown_rows)
            continue;
        uint64_t mapping = symbol->mapping == MAPPING_NONE ? 0 : symbol->mapping + 1;
        writer.locations[i] = (uint32_t)++writer.location_count;
        send_location(writer.location_count, mapping, symbol->address, function_of(symbol));
    }
    send_synthetic_locations();
}

/* A change may be less than nothing. */
static uint64_t rounded(double value)
{
    if (value < 0)
        return writer.snapshot->duration_ns != 0 ? (uint64_t)(int64_t)(value - 0.5) : 0;
    return (uint64_t)(value + 0.5);
}

static void put_location_ids(struct proto_message *ids, const struct stack *stack)
{
    if (stack == NULL) {
        proto_number(ids, writer.synthetic[SYNTHETIC_OTHER]);
        return;
    }
    for (size_t i = frames_own_count(stack, writer.table); i < stack->depth; i++) {
        const struct symbol *symbol = frames_find(writer.table, stack->frames[i]);
        if (symbol != NULL)
            proto_number(ids, writer.locations[symbol - writer.table->symbols]);
    }
    if (stack->end != STACK_WHOLE)
        proto_number(ids, writer.synthetic[SYNTHETIC_TRUNCATED]);
}

static void put_values(struct proto_message *message, const struct profile_row *row)
{
    static double values[COLUMNS_MAX];
    columns_values(row, writer.profile, values);
    for (size_t i = 0; i < columns_of(writer.profile)->count; i++)
        proto_number(message, rounded(values[i]));
}

static void put_number_label(struct proto_message *message, uint64_t key, uint64_t number,
                             uint64_t unit)
{
    proto_field(begin(&writer.inner), LABEL_KEY, key);
    proto_field(&writer.inner, LABEL_NUM, number);
    proto_field(&writer.inner, LABEL_NUM_UNIT, unit);
    proto_submessage(message, SAMPLE_LABEL, &writer.inner);
}

/* Texts go out before the first sample that has them. */
static void send_label_texts(const struct label_set *set)
{
    uint32_t(*texts)[2] = writer.label_texts[set->number];
    if (texts[0][0] != 0)
        return;
    for (size_t i = 0; i < set->count; i++) {
        texts[i][0] = (uint32_t)send_text(set->labels[i].key);
        texts[i][1] = (uint32_t)send_text(set->labels[i].value);
    }
}

static void put_labels(struct proto_message *message, const struct label_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        proto_field(begin(&writer.inner), LABEL_KEY, writer.label_texts[set->number][i][0]);
        proto_field(&writer.inner, LABEL_STR, writer.label_texts[set->number][i][1]);
        proto_submessage(message, SAMPLE_LABEL, &writer.inner);
    }
}

static void put_suspicion(struct proto_message *message, const struct stack *stack,
                          struct age_list list)
{
    static struct lifetimes lifetimes;
    static struct suspect suspect;
    stacktab_lifetimes(stack, &lifetimes);
    if (!suspects_judge(&suspect, list, &lifetimes))
        return;
    put_number_label(message, writer.ages[AGE_SUSPECTED], rounded(suspect.bytes), writer.bytes);
    if (suspect.usual_ns == 0)
        return;
    put_number_label(message, writer.ages[AGE_USUAL], suspect.usual_ns, writer.nanoseconds);
    put_number_label(message, writer.ages[AGE_FREED], rounded(suspect.freed_objects), 0);
}

/* Half of the stack's live bytes are younger. Nothing where ages were not asked for. */
static void put_ages(struct proto_message *message, const struct stack *stack)
{
    struct age_list list = ages_of(&writer.snapshot->ages, stack);
    if (writer.ages[AGE_MEDIAN] == 0 || list.count == 0)
        return;
    put_number_label(message, writer.ages[AGE_MEDIAN], ages_median_ns(list), writer.nanoseconds);
    put_number_label(message, writer.ages[AGE_OLDEST], ages_oldest_ns(list), writer.nanoseconds);
    put_suspicion(message, stack, list);
}

/* Rows of mixed sizes (object_bytes 0) have no label `bytes`. */
static void send_sample(const struct profile_row *row)
{
    if (row->labels != NULL)
        send_label_texts(row->labels);
    struct proto_message *message = begin(&writer.message);
    put_location_ids(begin(&writer.inner), row->stack);
    proto_submessage(message, SAMPLE_LOCATION_ID, &writer.inner);
    put_values(begin(&writer.inner), row);
    proto_submessage(message, SAMPLE_VALUE, &writer.inner);
    if (row->object_bytes != 0)
        put_number_label(message, writer.bytes, row->object_bytes, writer.bytes);
    if (row->labels != NULL)
        put_labels(message, row->labels);
    put_ages(message, row->stack);
    proto_send_message(PROFILE_SAMPLE, message);
}

/* The heaviest rows, and the sum of the others. */
static void send_samples(const struct row_order *order)
{
    static struct profile_row rest;
    memset(&rest, 0, sizeof(rest));
    for (size_t i = 0; i < order->count; i++) {
        const struct profile_row *row = &writer.snapshot->rows[order->indices[i]];
        if (i < writer.shown_rows)
            send_sample(row);
        else
            profile_row_add(&rest, row);
    }
    if (writer.shown_rows < order->count)
        send_sample(&rest);
}

/* What a frame takes that no row before this one has. */
static size_t measure_new_frame(const struct symbol *symbol)
{
    if (symbol->name == NULL)
        return LOCATION_BYTES_MAX;
    uint32_t *slot = find_slot(symbol);
    if (*slot != 0)
        return LOCATION_BYTES_MAX;
    *slot = (uint32_t)(symbol - writer.table->symbols) + 1;
    return LOCATION_BYTES_MAX + FUNCTION_BYTES_MAX + symbols_name_length(symbol->name);
}

static size_t measure_values(const struct profile_row *row)
{
    static double values[COLUMNS_MAX];
    size_t bytes = 0;
    columns_values(row, writer.profile, values);
    for (size_t i = 0; i < columns_of(writer.profile)->count; i++)
        bytes += proto_number_bytes(rounded(values[i]));
    return bytes;
}

/* The texts are counted for each row, though they go out once. */
static size_t measure_labels(const struct label_set *set)
{
    size_t bytes = LABEL_BYTES_MAX * (writer.ages[AGE_MEDIAN] != 0 ? 1 + AGE_LABEL_COUNT : 1);
    for (size_t i = 0; set != NULL && i < set->count; i++)
        bytes += LABEL_BYTES_MAX + strlen(set->labels[i].key) + strlen(set->labels[i].value);
    return bytes;
}

/* What a row adds to the profile at most; notes the frames it is the first to have. */
static size_t measure_row(const struct profile_row *row, size_t number)
{
    size_t id_bytes = proto_number_bytes(writer.table->symbol_count + SYNTHETIC_COUNT);
    size_t bytes = measure_labels(row->labels) + measure_values(row);
    const struct stack *stack = row->stack;
    if (stack == NULL)
        return bytes + id_bytes;
    for (size_t i = frames_own_count(stack, writer.table); i < stack->depth; i++) {
        const struct symbol *symbol = frames_find(writer.table, stack->frames[i]);
        uint32_t *location =
            symbol != NULL ? &writer.locations[symbol - writer.table->symbols] : NULL;
        if (location != NULL && *location == 0) {
            *location = (uint32_t)number;
            bytes += measure_new_frame(symbol);
        }
        bytes += id_bytes;
    }
    return bytes + id_bytes;
}

static size_t measure_mappings(void)
{
    size_t bytes = 0;
    for (size_t i = 0; i < writer.table->mapping_count; i++)
        bytes += MAPPING_BYTES_MAX + strlen(writer.table->mappings[i].path);
    return bytes;
}

/* Shows as many of the heaviest rows as readers take, with one more for the others. */
static void choose_rows(const struct row_order *order)
{
    size_t bytes = COMMENTS_BYTES_MAX + measure_mappings();
    size_t most = order->count <= PPROF_SAMPLES_MAX ? order->count : PPROF_SAMPLES_MAX - 1;
    memset(writer.is_needed, 0, sizeof(writer.is_needed));
    for (writer.shown_rows = 0; writer.shown_rows < most; writer.shown_rows++) {
        const struct profile_row *row = &writer.snapshot->rows[order->indices[writer.shown_rows]];
        bytes += measure_row(row, writer.shown_rows + 1);
        if (bytes > PPROF_BYTES_MAX)
            break;
        writer.is_needed[SYNTHETIC_OTHER] |= row->stack == NULL;
        writer.is_needed[SYNTHETIC_TRUNCATED] |=
            row->stack != NULL && row->stack->end != STACK_WHOLE;
    }
    writer.is_needed[SYNTHETIC_OTHER] |= writer.shown_rows < order->count;
}

static bool make_tables(void)
{
    size_t count = writer.table->symbol_count;
    writer.slot_count = 64;
    while (writer.slot_count < 2 * count)
        writer.slot_count *= 2;
    writer.mapped_bytes = (writer.slot_count + 2 * count) * sizeof(*writer.slots);
    writer.slots = os_map_whole(writer.mapped_bytes);
    writer.functions = writer.slots + writer.slot_count;
    writer.locations = writer.functions + count;
    return writer.slots != NULL;
}

static void send_profile(const struct row_order *order)
{
    writer.string_count = writer.function_count = writer.location_count = 0;
    memset(writer.label_texts, 0, labels_set_count() * sizeof(writer.label_texts[0]));
    choose_rows(order);
    send_text(""); // the format asks for it: index 0 means none
    send_types();
    send_mappings();
    send_locations();
    send_samples(order);
    proto_send_field(PROFILE_DROP_FRAMES, send_text(frames_entry_pattern));
    send_comments();
    send_account();
    send_cuts();
}

bool pprof_write(int fd, const struct snapshot *snapshot, const struct symbol_table *table,
                 const struct hpm_stats *stats, unsigned profile)
{
    struct row_order order = {0};
    writer.snapshot = snapshot;
    writer.table = table;
    writer.stats = stats;
    writer.profile = profile;
    bool done = false;
    errno = ENOMEM;
    if (rows_sort(&order, snapshot->rows, snapshot->row_count, profile)) {
        if (make_tables()) {
            gzip_begin(fd);
            send_profile(&order);
            done = gzip_finish();
            os_unmap(writer.slots, writer.mapped_bytes);
        }
        rows_sort_free(&order);
    }
    return done;
}
