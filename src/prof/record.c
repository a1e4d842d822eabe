#define _GNU_SOURCE
#include "prof/record.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/os.h"
#include "base/print.h"
#include "base/shared.h"
#include "prof/elffile.h"
#include "prof/mappings.h"
#include "prof/objects.h"
#include "prof/record_file.h"
#include "prof/record_layout.h"

enum { BLOCKS_MAX = LIVE_SAMPLES_MAX / RECORD_BLOCK_SAMPLES };

#define TRY_PAUSE_NS 1000000000u

enum state { STATE_OFF, STATE_WANTED, STATE_BEGUN };

static struct {
    struct lock lock;
    _Atomic uint32_t state; // enum state

    /* Guarded by lock. */
    char path[RECORD_PATH_MAX];
    const char *pattern;
    bool has_complained; // that the file is another process's; a child of fork never does
    uint32_t mappings_first, mappings_limit; // offsets between which all record_mappings are
    uint32_t mapping_count;

    _Atomic uint64_t next_try_ns;
    _Atomic uint32_t generation;         // objects_generation at the newest look
    _Atomic uint32_t blocks[BLOCKS_MAX]; // offsets of record_samples; 0: none yet
} record = {.lock = LOCK_INITIAL(LOCK_RECORD)};

static struct record_header *header_get(void)
{
    return shared_at(0);
}

/* An item is found by readers once its kind is there. */
static void finish_item(struct record_item *item, size_t bytes, enum record_kind kind)
{
    item->bytes = (uint32_t)round_up(bytes, 16);
    atomic_store_explicit(&item->kind, kind, memory_order_release);
}

static void count_missing(void)
{
    struct record_header *header = header_get();
    if (header != NULL)
        counter_add(&header->missing_samples, 1);
}

static size_t labels_bytes(const struct label_set *labels)
{
    size_t bytes = 0;
    for (size_t i = 0; labels != NULL && i < labels->count; i++)
        bytes += strlen(labels->labels[i].key) + strlen(labels->labels[i].value) + 2;
    return bytes;
}

static void copy_labels(char *target, const struct label_set *labels)
{
    for (size_t i = 0; labels != NULL && i < 2 * labels->count; i++) {
        const struct label *label = &labels->labels[i / 2];
        const char *text = i % 2 == 0 ? label->key : label->value;
        size_t bytes = strlen(text) + 1;
        memcpy(target, text, bytes);
        target += bytes;
    }
}

static void add_site_locked(struct site *site)
{
    const struct stack *stack = site->stack;
    size_t depth = stack != NULL ? stack->depth : 0, label_bytes = labels_bytes(site->labels);
    size_t bytes = sizeof(struct record_site) + depth * sizeof(uintptr_t) + label_bytes;
    uint32_t offset = site->mirror == 0 ? shared_alloc(bytes) : 0;
    if (offset == 0)
        return;
    struct record_site *item = shared_at(offset);
    item->object_bytes = site->object_bytes;
    item->depth = (uint16_t)depth;
    item->end = stack != NULL ? stack->end : 0;
    item->is_other = stack == NULL;
    if (stack != NULL)
        memcpy(item->frames, stack->frames, depth * sizeof(uintptr_t));
    item->label_bytes = (uint16_t)label_bytes;
    copy_labels((char *)&item->frames[depth], site->labels);
    finish_item(&item->item, bytes, RECORD_SITE);
    stacktab_set_mirror(site, offset + offsetof(struct record_site, mirror));
}

static uint32_t add_block_locked(uint32_t block)
{
    uint32_t offset = atomic_load_explicit(&record.blocks[block], memory_order_relaxed);
    if (offset != 0)
        return offset;
    offset = shared_alloc(sizeof(struct record_samples));
    if (offset == 0)
        return 0;
    struct record_samples *item = shared_at(offset);
    item->first_tag = (uint64_t)block * RECORD_BLOCK_SAMPLES;
    finish_item(&item->item, sizeof(*item), RECORD_SAMPLES);
    /* Release: pairs with the acquire in find_slot. */
    atomic_store_explicit(&record.blocks[block], offset, memory_order_release);
    return offset;
}

static struct record_sample *find_slot(uint32_t tag)
{
    uint32_t offset =
        atomic_load_explicit(&record.blocks[tag / RECORD_BLOCK_SAMPLES], memory_order_acquire);
    struct record_samples *item = offset != 0 ? shared_at(offset) : NULL;
    return item != NULL ? &item->slots[tag % RECORD_BLOCK_SAMPLES] : NULL;
}

static void fill_slot(struct record_sample *slot, const struct sample *sample, uint32_t mirror)
{
    slot->weight = sample->weight;
    slot->requested_bytes = sample->requested_bytes;
    slot->birth_ns = sample->birth_ns;
    uint32_t site = mirror - (uint32_t)offsetof(struct record_site, mirror);
    /* Release: the compiler keeps the order too, which is what counts when the process is killed.
     */
    atomic_store_explicit(&slot->site, site, memory_order_release);
}

static struct record_mapping *next_mapping(uint32_t *at)
{
    while (*at < record.mappings_limit) {
        struct record_item *item = shared_at(*at);
        *at += item->bytes;
        if (item->kind == RECORD_MAPPING)
            return (struct record_mapping *)item;
    }
    return NULL;
}

static bool is_same_mapping(const struct record_mapping *item, const struct mapping *mapping,
                            size_t path_bytes)
{
    return item->start == mapping->start && item->limit == mapping->limit &&
           item->file_offset == mapping->file_offset && item->path_bytes == path_bytes &&
           memcmp(item->path, mapping->path, path_bytes) == 0;
}

static struct record_mapping *find_mapping(const struct mapping *mapping, size_t path_bytes)
{
    struct record_mapping *item;
    for (uint32_t at = record.mappings_first; (item = next_mapping(&at)) != NULL;) {
        if (is_same_mapping(item, mapping, path_bytes))
            return item;
    }
    return NULL;
}

static uint8_t read_build_id(const struct mapping *mapping, uint8_t *id)
{
    struct elffile file;
    if (mapping->path[0] != '/' || !elffile_open(&file, mapping->path))
        return 0;
    size_t bytes = elffile_build_id(&file, id, BUILD_ID_BYTES_MAX);
    elffile_close(&file);
    return (uint8_t)bytes;
}

static struct record_mapping *add_mapping_locked(const struct mapping *mapping, size_t path_bytes)
{
    size_t bytes = sizeof(struct record_mapping) + path_bytes;
    uint32_t offset = record.mapping_count < RECORD_MAPPINGS_MAX ? shared_alloc(bytes) : 0;
    if (offset == 0)
        return NULL;
    struct record_mapping *item = shared_at(offset);
    item->start = mapping->start;
    item->limit = mapping->limit;
    item->file_offset = mapping->file_offset;
    item->path_bytes = (uint16_t)path_bytes;
    item->build_id_bytes = read_build_id(mapping, item->build_id);
    memcpy(item->path, mapping->path, path_bytes);
    finish_item(&item->item, bytes, RECORD_MAPPING);
    record.mapping_count++;
    if (record.mappings_first == 0)
        record.mappings_first = offset;
    record.mappings_limit = offset + item->item.bytes;
    return item;
}

/* What is no longer mapped stays in the record, as of an earlier look: stacks may lead there. */
static void look_at_mappings_locked(void)
{
    static struct mapping_list list;
    struct record_header *header = header_get();
    uint32_t epoch = atomic_load_explicit(&header->mappings_epoch, memory_order_relaxed) + 1;
    atomic_store_explicit(&record.generation, objects_generation(), memory_order_relaxed);
    mappings_read(&list, "/proc/self/maps");
    for (size_t i = 0; i < list.count; i++) {
        size_t path_bytes = strlen(list.mappings[i].path);
        struct record_mapping *item = find_mapping(&list.mappings[i], path_bytes);
        if (item == NULL)
            item = add_mapping_locked(&list.mappings[i], path_bytes);
        if (item != NULL)
            atomic_store_explicit(&item->epoch, epoch, memory_order_relaxed);
    }
    mappings_free(&list);
    atomic_store_explicit(&header->mappings_epoch, epoch, memory_order_release);
}

static void fill_header(void)
{
    struct record_header *header = header_get();
    header->version = RECORD_VERSION;
    header->site_bytes = sizeof(struct record_site);
    header->sample_bytes = sizeof(struct record_sample);
    header->pid = (uint32_t)getpid();
    header->process_start = record_file_process_start(header->pid);
    print_format(header->program, sizeof(header->program), "%s", program_invocation_short_name);
    header->begin_wall_ns = os_wall_clock_ns();
    header->begin_ns = os_clock_coarse_ns();
    header->changed_ns = header->begin_ns;
    memcpy(header->magic, RECORD_MAGIC, sizeof(header->magic));
}

/* Whoever frees the sample meanwhile may have found no slot to clear: it is looked at once more. */
static void take_over_sample_locked(uint32_t tag)
{
    struct sample sample;
    if (!livetab_peek(tag, &sample) || add_block_locked(tag / RECORD_BLOCK_SAMPLES) == 0)
        return;
    struct site *site = sample.site;
    struct record_sample *slot = find_slot(tag);
    if (site->mirror == 0 || atomic_load_explicit(&slot->site, memory_order_relaxed) != 0)
        return;
    fill_slot(slot, &sample, site->mirror);
    if (!livetab_peek(tag, &sample))
        atomic_store_explicit(&slot->site, 0, memory_order_relaxed);
}

/* What was known before. */
static void fill_locked(void)
{
    fill_header();
    look_at_mappings_locked();
    for (struct site *site = stacktab_first_site(); site != NULL; site = site->next_site)
        add_site_locked(site);
    for (uint32_t tag = 1; tag <= livetab_last_tag(); tag++)
        take_over_sample_locked(tag);
    atomic_store_explicit(&header_get()->is_whole, 1, memory_order_release);
}

/* Before it can be written to: places in another process's record, when this is a child. */
static void forget_places_locked(void)
{
    for (struct site *site = stacktab_first_site(); site != NULL; site = site->next_site)
        stacktab_set_mirror(site, 0);
    for (uint32_t block = 0; block <= livetab_last_tag() / RECORD_BLOCK_SAMPLES; block++)
        atomic_store_explicit(&record.blocks[block], 0, memory_order_relaxed);
    record.mappings_first = record.mappings_limit = record.mapping_count = 0;
}

static void complain(int error, uint32_t owner)
{
    const char *text = "the system refused; name a place where this process may write";
    if (error == -EBUSY) {
        if (!record.has_complained)
            print_line("no record of the heap: %.300s is that of process %u, which runs; put %%p "
                       "into HPMALLOC_RECORD",
                       record.path, owner);
        record.has_complained = true;
        return;
    }
    if (error == -EEXIST)
        text = "there is something that is no record of ours; move it away";
    else if (error == -ENOSPC || error == -EDQUOT)
        text = "no space left on the device";
    else if (error == -EFBIG)
        text = "the limit on file sizes is lower";
    else if (error == -ENOENT)
        text = "no such folder";
    else if (error == -ENOMEM)
        text = "no memory for it";
    else if (error == -ENAMETOOLONG)
        text = "the name is too long";
    print_line("no record of the heap in %.300s: %s (error %d)", record.path, text, -error);
}

static int open_locked(uint32_t *owner)
{
    int fd = record_file_create(record.path, owner);
    if (fd < 0)
        return fd;
    forget_places_locked();
    int error = shared_open(fd, record.path, sizeof(struct record_header));
    close(fd);
    if (error != 0)
        unlink(record.path);
    return error;
}

static void begin_locked(void)
{
    uint32_t owner = 0;
    int saved = errno;
    uint64_t now = os_clock_coarse_ns();
    if (record.state != STATE_WANTED || now < record.next_try_ns)
        return;
    int cancel = os_put_cancel_off();
    int error = open_locked(&owner);
    if (error == 0) {
        fill_locked();
        record.state = STATE_BEGUN;
    } else {
        complain(error, owner);
        record.state = error == -EBUSY ? STATE_WANTED : STATE_OFF;
        record.next_try_ns = now + TRY_PAUSE_NS;
    }
    os_allow_cancel(cancel);
    errno = saved;
}

static void begin(void)
{
    if (os_clock_coarse_ns() < atomic_load_explicit(&record.next_try_ns, memory_order_relaxed))
        return;
    lock_acquire(&record.lock);
    begin_locked();
    lock_release(&record.lock);
}

static void look_at_mappings(void)
{
    int saved = errno;
    lock_acquire(&record.lock);
    if (record.generation != objects_generation())
        look_at_mappings_locked();
    lock_release(&record.lock);
    errno = saved;
}

static void make_place(uint32_t tag, struct site *site)
{
    lock_acquire(&record.lock);
    add_site_locked(site);
    add_block_locked(tag / RECORD_BLOCK_SAMPLES);
    lock_release(&record.lock);
}

static void put_sample(struct record_header *header, uint32_t tag, const struct sample *sample)
{
    struct site *site = sample->site;
    if (unlikely(peek_load(&site->mirror) == 0 || find_slot(tag) == NULL))
        make_place(tag, site);
    struct record_sample *slot = find_slot(tag);
    uint32_t mirror = peek_load(&site->mirror);
    if (slot == NULL || mirror == 0)
        count_missing();
    else
        fill_slot(slot, sample, mirror);
    if (unlikely(atomic_load_explicit(&record.generation, memory_order_relaxed) !=
                 objects_generation()))
        look_at_mappings();
    atomic_store_explicit(&header->changed_ns, sample->birth_ns, memory_order_relaxed);
}

void record_sample(uint32_t tag, const struct sample *sample, size_t interval_bytes,
                   uint64_t lost_samples)
{
    uint32_t state = atomic_load_explicit(&record.state, memory_order_relaxed);
    if (likely(state == STATE_OFF))
        return;
    if (state == STATE_WANTED)
        begin();
    struct record_header *header = header_get();
    if (header == NULL)
        return;
    put_sample(header, tag, sample);
    atomic_store_explicit(&header->interval_bytes, interval_bytes, memory_order_relaxed);
    atomic_store_explicit(&header->lost_samples, lost_samples, memory_order_relaxed);
    atomic_store_explicit(&header->other_samples, stacktab_other_count(), memory_order_relaxed);
}

void record_forget(uint32_t tag)
{
    struct record_header *header = header_get();
    if (likely(header == NULL))
        return;
    struct record_sample *slot = find_slot(tag);
    if (slot != NULL)
        atomic_store_explicit(&slot->site, 0, memory_order_relaxed);
    atomic_store_explicit(&header->changed_ns, os_clock_coarse_ns(), memory_order_relaxed);
}

/* Who was overtaken by a later peak sets that one. */
void record_mark_peak(uint64_t clock_ns)
{
    struct record_header *header = header_get();
    if (likely(header == NULL))
        return;
    uint32_t epoch;
    do {
        epoch = stacktab_peak_epoch();
        atomic_store_explicit(&header->peak_epoch, epoch, memory_order_relaxed);
    } while (epoch != stacktab_peak_epoch());
    atomic_store_explicit(&header->peak_ns, clock_ns, memory_order_relaxed);
}

HPM_EARLY void record_init(const char *pattern)
{
    record.pattern = pattern;
    if (pattern == NULL)
        return;
    record_file_name(record.path, pattern);
    record.state = STATE_WANTED;
}

void record_fork_prepare(void)
{
    lock_acquire(&record.lock);
}

void record_fork_parent(void)
{
    lock_release(&record.lock);
}

void record_fork_child(void)
{
    shared_fork_child();
    lock_reset(&record.lock);
    if (record.state == STATE_OFF)
        return;
    record_file_name(record.path, record.pattern);
    record.has_complained = true;
    record.next_try_ns = 0;
    record.state = STATE_WANTED;
}
