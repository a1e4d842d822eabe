#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "query.h"
#include "reader.h"
#include "style.h"
#include "symbolize.h"

enum { CONTEXT_LINES = 5 };

static const char help[] =
    "Usage: hpprof list [OPTIONS] FILE FUNCTION\n"
    "\n"
    "The source of the functions whose names are like FUNCTION (a regular expression), with what\n"
    "each line allocated itself (flat) and with what it called (cum). Lines come from the file, "
    "or\n"
    "from the binaries' debug information through llvm-symbolizer or addr2line.\n"
    "\n"
    "  --sample TYPE   inuse_space, inuse_objects, alloc_space, alloc_objects, or another of the "
    "file\n"
    "  --json          for scripts: the numbers, without the source\n"
    "\n"
    "Example: hpprof list hpmalloc.redis-server.4711.1.pb.gz '^zmalloc$'\n";

/* What was allocated at one line of a function. */
struct place {
    uint32_t name, file; // strings
    int64_t line, flat, cum;
    size_t seen_by;
};

struct listing {
    const struct profile *profile;
    struct place *places;
    size_t count, capacity;
    struct index index;
    bool *is_wanted; // of functions
    int64_t total;
};

static struct place *place_of(struct listing *listing, const struct function *function,
                              int64_t line)
{
    uint64_t key = mix_bits((uint64_t)function->name << 32 | function->file) ^ (uint64_t)line;
    for (;; key++) {
        uint32_t next = (uint32_t)listing->count;
        uint32_t index = index_add(&listing->index, key, next);
        if (index == next)
            *memory_push(listing->places, listing->count, listing->capacity) =
                (struct place){.name = function->name, .file = function->file, .line = line};
        struct place *place = &listing->places[index];
        if (place->name == function->name && place->file == function->file && place->line == line)
            return place;
    }
}

static void add_location(struct listing *listing, const struct location *location, size_t stamp,
                         int64_t value, bool is_innermost)
{
    for (uint32_t i = 0; i < location->line_count; i++) {
        const struct line *line = &listing->profile->lines[location->first_line + i];
        if (line->function == MODEL_NONE || !listing->is_wanted[line->function])
            continue;
        struct place *place =
            place_of(listing, &listing->profile->functions[line->function], line->line);
        if (place->seen_by != stamp)
            place->cum = units_add(place->cum, value);
        place->seen_by = stamp;
        if (is_innermost && i == 0)
            place->flat = units_add(place->flat, value);
    }
}

static void sum_up(struct listing *listing, int type)
{
    const struct profile *profile = listing->profile;
    for (size_t i = 0; i < profile->sample_count; i++) {
        const struct sample *sample = &profile->samples[i];
        int64_t value = profile_value(profile, i, type);
        listing->total = units_add(listing->total, units_abs(value));
        for (uint32_t k = 0; value != 0 && k < sample->frame_count; k++)
            add_location(listing, &profile->locations[profile->frames[sample->first_frame + k]],
                         i + 1, value, k == 0);
    }
}

static int compare_places(const void *left, const void *right)
{
    const struct place *a = left, *b = right;
    if (a->name != b->name)
        return a->name < b->name ? -1 : 1;
    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    return a->line < b->line ? -1 : a->line > b->line;
}

static void put_line(struct scale scale, const struct place *place, int64_t number,
                     const char *text)
{
    char flat[UNITS_TEXT_MAX] = ".", cum[UNITS_TEXT_MAX] = ".";
    if (place != NULL && place->flat != 0)
        units_format(flat, scale, place->flat);
    if (place != NULL && place->cum != 0)
        units_format(cum, scale, place->cum);
    printf("%s%10s %10s %6lld%s  %.*s\n", place != NULL ? style_text(STYLE_BOLD) : "", flat, cum,
           (long long)number, place != NULL ? style_text(STYLE_PLAIN) : "",
           (int)strcspn(text, "\r\n"), text);
}

/* Where nothing was allocated for many lines, they are left out. */
static void put_source(struct scale scale, FILE *file, const struct place *places, size_t count)
{
    char *text = NULL;
    size_t size = 0, at = 0;
    bool has_gap = false;
    for (int64_t number = 1; getline(&text, &size, file) >= 0; number++) {
        while (at < count && places[at].line < number)
            at++;
        bool is_near = (at < count && places[at].line - number <= CONTEXT_LINES) ||
                       (at > 0 && number - places[at - 1].line <= CONTEXT_LINES);
        if (at < count && places[at].line == number)
            put_line(scale, &places[at], number, text);
        else if (is_near)
            put_line(scale, NULL, number, text);
        else if (at > 0 && at < count && !has_gap)
            puts("       ...");
        has_gap = !is_near;
    }
    free(text);
}

static void put_function(const struct listing *listing, const char *unit,
                         const struct place *places, size_t count)
{
    const struct profile *profile = listing->profile;
    const char *path = profile_text(profile, places[0].file);
    int64_t flat = 0, cum = 0;
    for (size_t i = 0; i < count; i++) {
        flat = units_add(flat, places[i].flat);
        cum = units_add(cum, places[i].cum);
    }
    struct scale scale = units_choose(unit, units_abs(cum), listing->total);
    char texts[2][UNITS_TEXT_MAX];
    printf("%s%s%s in %s: %s flat, %s cum\n", style_text(STYLE_BOLD),
           profile_text(profile, places[0].name), style_text(STYLE_PLAIN),
           *path != '\0' ? path : "an unknown file", units_format(texts[0], scale, flat),
           units_format(texts[1], scale, cum));
    FILE *file = *path != '\0' ? fopen(path, "r") : NULL;
    if (file != NULL) {
        put_source(scale, file, places, count);
        fclose(file);
    } else {
        for (size_t i = 0; i < count; i++)
            put_line(scale, &places[i], places[i].line, "");
    }
    putchar('\n');
}

static void put_json_function(const struct listing *listing, const struct place *places,
                              size_t count)
{
    int64_t flat = 0, cum = 0;
    json_open(NULL, '{');
    json_text("function", profile_text(listing->profile, places[0].name));
    json_text("file", profile_text(listing->profile, places[0].file));
    json_open("lines", '[');
    for (size_t i = 0; i < count; i++) {
        flat = units_add(flat, places[i].flat);
        cum = units_add(cum, places[i].cum);
        json_open(NULL, '{');
        json_number("line", places[i].line);
        json_number("flat", places[i].flat);
        json_number("cum", places[i].cum);
        json_close('}');
    }
    json_close(']');
    json_number("flat", flat);
    json_number("cum", cum);
    json_close('}');
}

static void open_json(const struct listing *listing, struct value_type type)
{
    json_open(NULL, '{');
    json_text("file", listing->profile->name);
    json_text("sample_type", profile_text(listing->profile, type.type));
    json_text("unit", profile_text(listing->profile, type.unit));
    json_number("total", listing->total);
    json_open("functions", '[');
}

/* `unit`: of the values; NULL: as items of a list in JSON. */
static void put_all(struct listing *listing, const char *unit)
{
    qsort(listing->places, listing->count, sizeof(*listing->places), compare_places);
    for (size_t i = 0, next; i < listing->count; i = next) {
        const struct place *first = &listing->places[i];
        for (next = i + 1; next < listing->count && listing->places[next].name == first->name &&
                           listing->places[next].file == first->file;)
            next++;
        if (unit != NULL)
            put_function(listing, unit, first, next - i);
        else
            put_json_function(listing, first, next - i);
    }
}

static int list(const struct query *query, struct profile *profile, const regex_t *function)
{
    int type = query_type(query, profile);
    if (type < 0)
        return STATUS_FAILED;
    struct listing listing = {.profile = profile,
                              .is_wanted = memory_alloc(profile->function_count, sizeof(bool))};
    for (size_t i = 0; i < profile->function_count; i++)
        listing.is_wanted[i] =
            regexec(function, profile_text(profile, profile->functions[i].name), 0, NULL, 0) == 0;
    sum_up(&listing, type);
    bool is_any = listing.count != 0;
    if (is_any && query->json) {
        open_json(&listing, profile->types[type]);
        put_all(&listing, NULL);
        json_close(']');
        json_close('}');
    } else if (is_any) {
        put_all(&listing, profile_text(profile, profile->types[type].unit));
    }
    memory_free(listing.places);
    memory_free(listing.is_wanted);
    index_drain(&listing.index);
    return is_any ? STATUS_DONE : failed("no function's name is like '%s'", query->words[1]);
}

int command_list(int count, char **arguments)
{
    struct query query;
    regex_t function;
    int status;
    if (!query_parse(&query, count, arguments, QUERY_SAMPLE | QUERY_JSON, help, &status))
        return status;
    if (!query_needs(&query, 2, 2, "a file and a function", &status))
        return status;
    if (!query_compile(&function, query.words[1], "list"))
        return STATUS_MISUSED;
    status = STATUS_FAILED;
    struct profile *profile = reader_open(query.words[0]);
    if (profile != NULL) {
        symbolize(profile, true);
        names_shorten(profile);
        names_drop_frames(profile);
        status = list(&query, profile, &function);
        profile_free(profile);
    }
    regfree(&function);
    return status;
}
