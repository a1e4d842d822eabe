#define _GNU_SOURCE
#include "record_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "base/shared.h"
#include "prof/livetab.h"
#include "prof/profile.h"

/* Beyond these nothing is true, and below them no sum leaves 64 bits. */
#define OBJECT_BYTES_MAX ((uint64_t)1 << 47)
#define SAMPLES_MAX      ((uint64_t)1 << 48)
#define WEIGHT_MAX       0x1p42
#define TOTAL_BYTES_MAX  0x1p62

/* A site of the file, and the one made of it. */
struct record_entry {
    const struct record_site *item;
    struct site *site;
    struct sums live; // from the samples that are live
};

static int corrupt(const struct record_reader *reader, const char *what)
{
    return failed("%s: the record is damaged: %s", reader->path, what);
}

static int no_memory(void)
{
    return failed("no memory");
}

static int read_all(struct record_reader *reader, int fd)
{
    size_t got = 0;
    while (got < reader->size) {
        ssize_t part = read(fd, reader->bytes + got, reader->size - got);
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return failed("%s: %s", reader->path, strerror(errno));
        if (part == 0)
            break;
        got += (size_t)part;
    }
    reader->size = got;
    return STATUS_DONE;
}

/* Copied, so that it does not change or shrink while it is read. */
static int read_file(struct record_reader *reader, int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return failed("%s: %s", reader->path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return failed("%s is no file", reader->path);
    if ((uint64_t)status.st_size > SHARED_BYTES_MAX)
        return failed("%s is no record: it is too large", reader->path);
    reader->size = (size_t)status.st_size;
    reader->bytes = calloc(1, reader->size + sizeof(struct record_header));
    return reader->bytes != NULL ? read_all(reader, fd) : no_memory();
}

static int check_header(struct record_reader *reader)
{
    const struct record_header *header = (const void *)reader->bytes;
    reader->header = header;
    if (reader->size < sizeof(*header) ||
        memcmp(header->magic, RECORD_MAGIC, sizeof(header->magic)) != 0)
        return failed("%s is no record of hpmalloc", reader->path);
    if (header->version != RECORD_VERSION || header->site_bytes != sizeof(struct record_site) ||
        header->sample_bytes != sizeof(struct record_sample))
        return failed("%s is a record of another version of hpmalloc: use its hpprof",
                      reader->path);
    if (header->is_whole == 0)
        return failed("%s was only just begun: there is nothing in it", reader->path);
    if (memchr(header->program, '\0', sizeof(header->program)) == NULL)
        return corrupt(reader, "its program has no name");
    if (header->interval_bytes > option_table[OPTION_SAMPLE_INTERVAL].max)
        return corrupt(reader, "its interval is longer than there can be");
    return STATUS_DONE;
}

/* Whether it is a number that sums are made of; false for what is none. */
static bool is_amount(double x)
{
    return x >= 0 && x <= TOTAL_BYTES_MAX;
}

static bool is_sane_sums(struct record_reader *reader, const struct sums *sums, double object_bytes)
{
    bool is_sane = is_amount(sums->objects) && is_amount(sums->requested_bytes) &&
                   sums->variance >= 0 && sums->variance <= 0x1p120 && sums->samples <= SAMPLES_MAX;
    if (is_sane)
        reader->total_bytes += sums->objects * object_bytes + sums->requested_bytes;
    return is_sane && reader->total_bytes <= TOTAL_BYTES_MAX;
}

static bool is_sane_lifetimes(const struct lifetimes *lifetimes)
{
    for (unsigned i = 0; i < LIFETIME_BUCKETS; i++) {
        if (!is_amount((double)lifetimes->objects[i]))
            return false;
    }
    return is_amount(lifetimes->total) && is_amount(lifetimes->seconds) &&
           isfinite(lifetimes->error) && isfinite(lifetimes->error_seconds) &&
           isfinite(lifetimes->error_squares) && lifetimes->samples <= SAMPLES_MAX;
}

static bool is_sane_site(struct record_reader *reader, const struct record_site *item)
{
    double bytes = (double)item->object_bytes;
    size_t frames_bytes = item->item.bytes - sizeof(*item);
    const struct site_mirror *mirror = &item->mirror;
    return item->depth <= STACK_DEPTH_MAX && item->end < STACK_ENDS && item->is_other <= 1 &&
           frames_bytes >= item->depth * sizeof(uintptr_t) + item->label_bytes &&
           item->object_bytes > 0 && item->object_bytes <= OBJECT_BYTES_MAX &&
           is_sane_sums(reader, &mirror->counts.alloc, bytes) &&
           is_sane_sums(reader, &mirror->counts.peak, bytes) &&
           is_amount(mirror->counts.freed_seconds) && is_sane_lifetimes(&mirror->lifetimes);
}

/* Makes the labels this thread's own, for they are kept for samples of a thread. */
static bool take_labels(const struct record_site *item)
{
    const char *at = (const char *)&item->frames[item->depth], *limit = at + item->label_bytes;
    labels_clear(NULL);
    while (at < limit) {
        const char *key = at, *value = memchr(key, '\0', (size_t)(limit - key));
        const char *end =
            value != NULL ? memchr(value + 1, '\0', (size_t)(limit - (value + 1))) : NULL;
        if (end == NULL || labels_set(key, value + 1) != 0)
            return false;
        at = end + 1;
    }
    return true;
}

static struct site *intern(const struct record_site *item)
{
    if (item->is_other != 0)
        return stacktab_intern_other(item->object_bytes);
    return stacktab_intern(item->frames, item->depth, (enum stack_end)item->end, item->object_bytes,
                           labels_current());
}

static int load_site(struct record_reader *reader, const struct record_site *item)
{
    if (item->item.bytes < sizeof(*item) || !is_sane_site(reader, item) || !take_labels(item))
        return corrupt(reader, "a stack of it makes no sense");
    struct record_entry *entry = &reader->sites[reader->site_count++];
    entry->item = item;
    entry->site = intern(item);
    return entry->site != NULL ? STATUS_DONE : no_memory();
}

static struct record_entry *find_entry(const struct record_reader *reader, uint32_t offset)
{
    const char *place = reader->bytes + offset;
    size_t low = 0, high = reader->site_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((const char *)reader->sites[middle].item < place)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_found = low < reader->site_count && (const char *)reader->sites[low].item == place;
    return is_found ? &reader->sites[low] : NULL;
}

static void add_live(struct record_entry *entry, const struct record_sample *slot)
{
    struct sums *live = &entry->live;
    live->objects += slot->weight;
    live->variance += slot->weight * (slot->weight - 1);
    live->requested_bytes += slot->weight * (double)slot->requested_bytes;
    live->samples++;
}

/* One whose site lies beyond what was read came meanwhile. */
static int load_sample(struct record_reader *reader, const struct record_sample *slot)
{
    struct sample *sample;
    uint32_t offset = slot->site;
    if (offset == 0 || offset >= reader->size)
        return STATUS_DONE;
    struct record_entry *entry = find_entry(reader, offset);
    if (entry == NULL || !(slot->weight >= 1 && slot->weight <= WEIGHT_MAX) ||
        slot->requested_bytes > OBJECT_BYTES_MAX)
        return corrupt(reader, "a sample of it makes no sense");
    reader->total_bytes +=
        slot->weight * (double)(entry->item->object_bytes + slot->requested_bytes);
    if (reader->total_bytes > TOTAL_BYTES_MAX)
        return corrupt(reader, "its samples are more than there can be");
    uint32_t tag = livetab_alloc(&sample);
    if (tag == 0)
        return no_memory();
    add_live(entry, slot);
    sample->weight = slot->weight;
    sample->requested_bytes = slot->requested_bytes;
    sample->birth_ns = slot->birth_ns;
    livetab_publish(sample, entry->site);
    return STATUS_DONE;
}

static int load_samples(struct record_reader *reader, const struct record_samples *item)
{
    if (item->item.bytes < sizeof(*item))
        return corrupt(reader, "its samples are cut off");
    int status = STATUS_DONE;
    for (size_t i = 0; i < RECORD_BLOCK_SAMPLES && status == STATUS_DONE; i++)
        status = load_sample(reader, &item->slots[i]);
    return status;
}

/* What a terminal would take for a command is none of a path. */
static void copy_path(struct mapping *mapping, const struct record_mapping *item)
{
    for (size_t i = 0; i < item->path_bytes; i++) {
        unsigned char c = (unsigned char)item->path[i];
        mapping->path[i] = c < ' ' || c == 0x7f ? '?' : (char)c;
    }
    mapping->path[item->path_bytes] = '\0';
}

static bool overlaps(const struct mapping_list *list, const struct mapping *mapping)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->mappings[i].start < mapping->limit && mapping->start < list->mappings[i].limit)
            return true;
    }
    return false;
}

static int load_mapping(struct record_reader *reader, const struct record_mapping *item)
{
    struct mapping_list *list = &reader->mappings;
    struct mapping *mapping = &list->mappings[list->count];
    if (item->item.bytes < sizeof(*item) || item->path_bytes > item->item.bytes - sizeof(*item) ||
        item->path_bytes == 0 || item->path_bytes >= MAPPING_PATH_MAX ||
        item->start >= item->limit || item->build_id_bytes > BUILD_ID_BYTES_MAX ||
        list->count == RECORD_MAPPINGS_MAX)
        return corrupt(reader, "a file it names makes no sense");
    *mapping = (struct mapping){
        .start = item->start,
        .limit = item->limit,
        .file_offset = item->file_offset,
        .build_id_bytes = item->build_id_bytes,
    };
    memcpy(mapping->build_id, item->build_id, item->build_id_bytes);
    copy_path(mapping, item);
    list->count += !overlaps(list, mapping);
    return STATUS_DONE;
}

/* The items of one kind; for mappings only those of a look or an earlier one. */
typedef int loader(struct record_reader *reader, const struct record_item *item);

static int load_item_site(struct record_reader *reader, const struct record_item *item)
{
    return item->kind == RECORD_SITE ? load_site(reader, (const void *)item) : STATUS_DONE;
}

static int load_item_samples(struct record_reader *reader, const struct record_item *item)
{
    return item->kind == RECORD_SAMPLES ? load_samples(reader, (const void *)item) : STATUS_DONE;
}

/* What was there at the newest look comes first, and what it has covered since is left out. */
static int load_item_new_mapping(struct record_reader *reader, const struct record_item *item)
{
    const struct record_mapping *mapping = (const void *)item;
    bool is_one = item->kind == RECORD_MAPPING && item->bytes >= sizeof(*mapping) &&
                  mapping->epoch >= reader->header->mappings_epoch;
    return is_one ? load_mapping(reader, mapping) : STATUS_DONE;
}

static int load_item_old_mapping(struct record_reader *reader, const struct record_item *item)
{
    const struct record_mapping *mapping = (const void *)item;
    bool is_one = item->kind == RECORD_MAPPING && (item->bytes < sizeof(*mapping) ||
                                                   mapping->epoch < reader->header->mappings_epoch);
    return is_one ? load_mapping(reader, mapping) : STATUS_DONE;
}

static int walk(struct record_reader *reader, loader *load)
{
    size_t at = round_up(sizeof(struct record_header), 16);
    int status = STATUS_DONE;
    while (status == STATUS_DONE && at + sizeof(struct record_item) <= reader->size) {
        const struct record_item *item = (const void *)(reader->bytes + at);
        if (item->kind == RECORD_END)
            break;
        if (item->kind > RECORD_MAPPING || item->bytes < sizeof(*item) || item->bytes % 16 != 0 ||
            item->bytes > reader->size - at)
            return corrupt(reader, "its parts do not follow one another");
        status = load(reader, item);
        at += item->bytes;
    }
    return status;
}

static double at_least_zero(double x)
{
    return x > 0 ? x : 0;
}

/* What is live is known from the samples themselves, and what was freed is the difference: the sums
 * of a site may be those of one sample before. */
static bool settle_site(const struct record_reader *reader, struct record_entry *entry)
{
    const struct site_mirror *mirror = &entry->item->mirror;
    struct sums alloc = mirror->counts.alloc, *live = &entry->live;
    if (alloc.samples < live->samples)
        alloc = *live;
    bool has_changed_since_peak = (int32_t)(mirror->peak_epoch - reader->header->peak_epoch) >= 0;
    struct site_counts counts = {
        .alloc = alloc,
        .freed = {.objects = at_least_zero(alloc.objects - live->objects),
                  .variance = at_least_zero(alloc.variance - live->variance),
                  .requested_bytes = at_least_zero(alloc.requested_bytes - live->requested_bytes),
                  .samples = alloc.samples - live->samples},
        .peak = has_changed_since_peak ? mirror->counts.peak : *live,
        .freed_seconds = mirror->counts.freed_seconds,
    };
    return stacktab_add(entry->site, &counts, &mirror->lifetimes);
}

static int load_all(struct record_reader *reader)
{
    size_t sites_max = reader->size / sizeof(struct record_site) + 1;
    reader->sites = calloc(sites_max, sizeof(*reader->sites));
    reader->mappings.mappings = calloc(RECORD_MAPPINGS_MAX + 1, sizeof(struct mapping));
    if (reader->sites == NULL || reader->mappings.mappings == NULL || !profile_init())
        return no_memory();
    int status = walk(reader, load_item_site);
    if (status == STATUS_DONE)
        status = walk(reader, load_item_samples);
    if (status == STATUS_DONE)
        status = walk(reader, load_item_new_mapping);
    if (status == STATUS_DONE)
        status = walk(reader, load_item_old_mapping);
    for (size_t i = 0; i < reader->site_count && status == STATUS_DONE; i++)
        status = settle_site(reader, &reader->sites[i]) ? STATUS_DONE : no_memory();
    return status;
}

int record_reader_load(struct record_reader *reader, const char *path)
{
    *reader = (struct record_reader){.path = path};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return failed("%s: %s", path, strerror(errno));
    int status = read_file(reader, fd);
    close(fd);
    if (status == STATUS_DONE)
        status = check_header(reader);
    return status == STATUS_DONE ? load_all(reader) : status;
}

void record_reader_free(struct record_reader *reader)
{
    free(reader->mappings.mappings);
    free(reader->sites);
    free(reader->bytes);
}
