#include <math.h>
#include <string.h>

#include "reader.h"

/* Of allocating functions, nothing is said: where memory is asked for is what counts. */
#define ALLOCATORS                                                                                 \
    "calloc|cfree|malloc|free|memalign|do_memalign|(__)?posix_memalign|aligned_alloc|pvalloc|"     \
    "valloc|realloc|reallocarray|tcmalloc::.*|tc_.*|MallocExtension_.*|operator "                  \
    "(new|delete)(\\[\\])?|je_.*|mallocx|rallocx|prof_backtrace.*|malloc_default"

struct text {
    const char *next, *limit;
};

struct legacy {
    struct profile *profile;
    struct index locations;
    double interval; // 0: values are estimates already
    bool has_alloc, is_jemalloc;
    const char *trouble;

    /* jemalloc's: the stack that the next lines are of. */
    struct text stack;
};

struct counts {
    int64_t objects, bytes;
};

static bool take_line(struct text *text, struct text *line)
{
    if (text->next >= text->limit)
        return false;
    const char *end = memchr(text->next, '\n', (size_t)(text->limit - text->next));
    line->next = text->next;
    line->limit = end != NULL ? end : text->limit;
    text->next = end != NULL ? end + 1 : text->limit;
    return true;
}

static void skip_blanks(struct text *text)
{
    while (text->next < text->limit && strchr(" \t\r", *text->next) != NULL && *text->next != '\0')
        text->next++;
}

/* After blanks. */
static bool take_text(struct text *text, const char *wanted)
{
    size_t length = strlen(wanted);
    skip_blanks(text);
    if ((size_t)(text->limit - text->next) < length || memcmp(text->next, wanted, length) != 0)
        return false;
    text->next += length;
    return true;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

static bool take_number(struct text *text, unsigned base, uint64_t *value)
{
    skip_blanks(text);
    const char *start = text->next;
    *value = 0;
    while (text->next < text->limit && (unsigned)digit_of(*text->next) < base) {
        uint64_t digit = (uint64_t)digit_of(*text->next++);
        if (__builtin_mul_overflow(*value, base, value) ||
            __builtin_add_overflow(*value, digit, value))
            return false;
    }
    return text->next != start;
}

static bool take_counts(struct text *text, struct counts *counts)
{
    uint64_t objects, bytes;
    if (!take_number(text, 10, &objects) || !take_text(text, ":") ||
        !take_number(text, 10, &bytes) || objects > INT64_MAX || bytes > INT64_MAX)
        return false;
    *counts = (struct counts){(int64_t)objects, (int64_t)bytes};
    return true;
}

/* `n: bytes [n: bytes]` */
static bool take_both(struct text *text, struct counts *inuse, struct counts *alloc)
{
    return take_counts(text, inuse) && take_text(text, "[") && take_counts(text, alloc) &&
           take_text(text, "]");
}

/* What was sampled stands for more: an object of the row's mean size is sampled with
 * p = 1 - exp(-size / interval). Values are cut off, as others do. */
static struct counts scaled(const struct legacy *legacy, struct counts counts)
{
    if (!(legacy->interval > 1) || counts.objects == 0 || counts.bytes == 0)
        return counts;
    double size = (double)counts.bytes / (double)counts.objects;
    double scale = -1 / expm1(-size / legacy->interval);
    double objects = (double)counts.objects * scale, bytes = (double)counts.bytes * scale;
    if (!(objects < 9e18) || !(bytes < 9e18))
        return counts;
    return (struct counts){(int64_t)objects, (int64_t)bytes};
}

static void add_frames(struct legacy *legacy, struct text stack)
{
    struct profile *profile = legacy->profile;
    for (;;) {
        uint64_t address;
        if (!take_text(&stack, "0x") || !take_number(&stack, 16, &address))
            break;
        address--;
        uint32_t next = (uint32_t)profile->location_count;
        uint32_t location = index_add(&legacy->locations, address, next);
        if (location == next)
            profile_add_location(profile, address, MODEL_NONE);
        profile_add_frame(profile, location);
    }
    if (stack.next != stack.limit && legacy->trouble == NULL)
        legacy->trouble = "it is broken: a stack has something else than addresses";
}

static void add_sample(struct legacy *legacy, struct counts inuse, struct counts alloc,
                       struct text stack)
{
    struct profile *profile = legacy->profile;
    int64_t object_bytes = inuse.objects > 0   ? inuse.bytes / inuse.objects
                           : alloc.objects > 0 ? alloc.bytes / alloc.objects
                                               : 0;
    inuse = scaled(legacy, inuse);
    alloc = scaled(legacy, alloc);
    const int64_t both[] = {alloc.objects, alloc.bytes, inuse.objects, inuse.bytes};
    profile_add_sample(profile, legacy->has_alloc ? both : both + 2);
    add_frames(legacy, stack);
    uint32_t unit = profile_intern_text(profile, "bytes");
    profile_add_label(profile, (struct label){.key = unit, .number = object_bytes});
}

static void fail(struct legacy *legacy, const char *trouble)
{
    if (legacy->trouble == NULL)
        legacy->trouble = trouble;
}

/* `n: bytes [n: bytes] @ 0x1 0x2` */
static void read_row(struct legacy *legacy, struct text line)
{
    struct counts inuse, alloc;
    if (!take_both(&line, &inuse, &alloc) || !take_text(&line, "@"))
        fail(legacy, "it is broken: a row is not `n: bytes [n: bytes] @ addresses`");
    else
        add_sample(legacy, inuse, alloc, line);
}

/* jemalloc's `@ 0x1 0x2`, then `t*: n: bytes [n: bytes]` of all threads, then of each. */
static void read_jemalloc_row(struct legacy *legacy, struct text line)
{
    struct counts inuse, alloc;
    if (take_text(&line, "@"))
        legacy->stack = line;
    else if (take_text(&line, "t*:")) {
        if (!take_both(&line, &inuse, &alloc))
            fail(legacy, "it is broken: a row is not `t*: n: bytes [n: bytes]`");
        else if (legacy->stack.next != NULL)
            add_sample(legacy, inuse, alloc, legacy->stack);
    } else if (!take_text(&line, "t"))
        fail(legacy, "it is broken: a row is neither a stack nor a thread");
}

/* start-limit rights offset device inode path */
static void read_mapping(struct profile *profile, struct text line)
{
    struct model_mapping mapping = {0};
    uint64_t ignored;
    if (!take_number(&line, 16, &mapping.start) || !take_text(&line, "-") ||
        !take_number(&line, 16, &mapping.limit) || mapping.limit <= mapping.start)
        return;
    skip_blanks(&line);
    if (line.limit - line.next < 4 || memchr(line.next, 'x', 4) == NULL)
        return;
    line.next += 4;
    if (!take_number(&line, 16, &mapping.offset) || !take_number(&line, 16, &ignored) ||
        !take_text(&line, ":") || !take_number(&line, 16, &ignored) ||
        !take_number(&line, 10, &ignored))
        return;
    skip_blanks(&line);
    mapping.file = profile_intern(profile, line.next, (size_t)(line.limit - line.next));
    profile_add_mapping(profile, mapping);
}

static void read_mappings(struct legacy *legacy, struct text *text)
{
    struct profile *profile = legacy->profile;
    for (struct text line; take_line(text, &line);)
        read_mapping(profile, line);
    for (size_t i = 0; i < profile->location_count; i++) {
        struct location *location = &profile->locations[i];
        profile_find_mapping(profile, location->address, &location->mapping);
    }
}

static bool is_mappings_title(struct text line)
{
    return take_text(&line, "MAPPED_LIBRARIES:") || take_text(&line, "--- Memory map: ---");
}

static void read_rows(struct legacy *legacy, struct text *text)
{
    for (struct text line; legacy->trouble == NULL && take_line(text, &line);) {
        skip_blanks(&line);
        if (is_mappings_title(line)) {
            read_mappings(legacy, text);
            return;
        }
        if (line.next == line.limit)
            continue;
        if (*line.next == '#')
            profile_add_comment(legacy->profile, profile_intern(legacy->profile, line.next,
                                                                (size_t)(line.limit - line.next)));
        else if (legacy->is_jemalloc)
            read_jemalloc_row(legacy, line);
        else
            read_row(legacy, line);
    }
}

/* Without its second pair a file has two columns. `heap/` says twice the interval. */
static bool read_header(struct legacy *legacy, struct text line)
{
    struct counts inuse, alloc;
    uint64_t interval = 0;
    if (!take_both(&line, &inuse, &alloc) || !take_text(&line, "@"))
        return false;
    legacy->has_alloc = (alloc.objects != inuse.objects && alloc.objects != 0) ||
                        (alloc.bytes != inuse.bytes && alloc.bytes != 0);
    if (take_text(&line, "heapprofile"))
        interval = 1;
    else if (take_text(&line, "heap_v2/") || take_text(&line, "heapz_v2/"))
        take_number(&line, 10, &interval);
    else if (take_text(&line, "heap/") && take_number(&line, 10, &interval))
        interval /= 2;
    legacy->profile->period = (int64_t)(interval & INT64_MAX);
    legacy->interval = (double)interval;
    return interval != 0;
}

static bool read_jemalloc_header(struct legacy *legacy, struct text line)
{
    uint64_t interval;
    if (!take_text(&line, "heap_v2/") || !take_number(&line, 10, &interval))
        return false;
    legacy->is_jemalloc = legacy->has_alloc = true;
    legacy->profile->period = (int64_t)(interval & INT64_MAX);
    legacy->interval = (double)interval;
    return true;
}

static void add_types(struct legacy *legacy)
{
    struct profile *profile = legacy->profile;
    if (legacy->has_alloc) {
        profile_add_type(profile, "alloc_objects", "count");
        profile_add_type(profile, "alloc_space", "bytes");
    }
    profile_add_type(profile, legacy->has_alloc ? "inuse_objects" : "objects", "count");
    profile_add_type(profile, legacy->has_alloc ? "inuse_space" : "space", "bytes");
    profile->period_type = (struct value_type){.type = profile_intern_text(profile, "space"),
                                               .unit = profile_intern_text(profile, "bytes")};
    profile->drop_frames = profile_intern_text(profile, ALLOCATORS);
}

/* The total of jemalloc's files, which comes first, is of no stack. */
bool legacyread(struct profile *profile, const uint8_t *data, size_t bytes, const char **trouble)
{
    struct legacy legacy = {.profile = profile};
    struct text text = {(const char *)data, (const char *)data + bytes}, line;
    bool done = take_line(&text, &line) &&
                (take_text(&line, "heap profile:") ? read_header(&legacy, line)
                                                   : read_jemalloc_header(&legacy, line));
    if (done) {
        add_types(&legacy);
        read_rows(&legacy, &text);
    } else {
        fail(&legacy, "its first line is none of a heap profile that hpprof knows");
    }
    index_drain(&legacy.locations);
    *trouble = legacy.trouble;
    return legacy.trouble == NULL;
}

static bool begins_with(const uint8_t *data, size_t bytes, const char *text)
{
    return bytes >= strlen(text) && memcmp(data, text, strlen(text)) == 0;
}

bool legacyread_is_one(const uint8_t *data, size_t bytes)
{
    return begins_with(data, bytes, "heap profile:") || begins_with(data, bytes, "heap_v2/");
}
