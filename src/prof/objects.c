#define _GNU_SOURCE
#include "prof/objects.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <string.h>

#include "base/os.h"
#include "prof/elffile.h"
#include "prof/mappings.h"

enum { OBJECTS_MAX = 1024 };

#define REFRESH_PAUSE_NS 20000000u

static struct {
    struct loaded_object objects[OBJECTS_MAX]; // sorted by start
    size_t count;
    uint64_t next_refresh_ns;
} loaded;

static _Atomic uint32_t generation;

/* The number of objects that start at or before the address. */
static size_t count_upto(uintptr_t address)
{
    size_t low = 0, high = loaded.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (loaded.objects[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct loaded_object *objects_find(uintptr_t address)
{
    size_t upto = count_upto(address);
    if (upto == 0)
        return NULL;
    struct loaded_object *object = &loaded.objects[upto - 1];
    return address < object->limit ? object : NULL;
}

/* Up to where it was read and no further: what lies around it may be the program's code. */
static void forget_table(const struct loaded_object *object)
{
    if (object->copy != NULL)
        os_forget_file((void *)(uintptr_t)object->copy, object->copy_bytes);
    else if (object->is_constant)
        os_forget_file((void *)object->read_start, object->read_limit - object->read_start);
}

void objects_forget_tables(void)
{
    for (size_t i = 0; i < loaded.count; i++) {
        struct loaded_object *object = &loaded.objects[i];
        if (object->read_limit != 0)
            forget_table(object);
        object->read_start = object->read_limit = 0;
    }
}

HPM_EARLY static bool insert(const struct loaded_object *object)
{
    if (loaded.count == OBJECTS_MAX || object->limit <= object->start)
        return false;
    size_t at = count_upto(object->start);
    memmove(&loaded.objects[at + 1], &loaded.objects[at],
            (loaded.count - at) * sizeof(struct loaded_object));
    loaded.objects[at] = *object;
    loaded.count++;
    return true;
}

static bool holds(const ElfW(Phdr) * segment, ElfW(Addr) address)
{
    return address >= segment->p_vaddr && address - segment->p_vaddr < segment->p_filesz;
}

/* Whether the loader writes to segments that are not writable (DT_TEXTREL). */
HPM_EARLY static bool is_relocated(uintptr_t bias, const ElfW(Phdr) * segments, size_t count)
{
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        if (segments[i].p_type != PT_DYNAMIC)
            continue;
        const ElfW(Dyn) *at = (const void *)(bias + segments[i].p_vaddr);
        for (; at->d_tag != DT_NULL; at++)
            found |= at->d_tag == DT_TEXTREL ||
                     (at->d_tag == DT_FLAGS && (at->d_un.d_val & DF_TEXTREL) != 0);
    }
    return found;
}

/* The unwind table and the loaded segment that holds it. */
HPM_EARLY static void find_table(struct loaded_object *object, uintptr_t bias,
                                 const ElfW(Phdr) * segments, size_t count)
{
    const ElfW(Phdr) *table = NULL;
    for (size_t i = 0; i < count; i++) {
        if (segments[i].p_type == PT_GNU_EH_FRAME)
            table = &segments[i];
    }
    for (size_t i = 0; table != NULL && i < count; i++) {
        if (segments[i].p_type != PT_LOAD || !holds(&segments[i], table->p_vaddr))
            continue;
        object->table = bias + table->p_vaddr;
        object->readable_start = bias + segments[i].p_vaddr;
        object->readable_limit = object->readable_start + segments[i].p_filesz;
        object->is_constant = (segments[i].p_flags & PF_W) == 0;
    }
}

/* Static programs have an unwind table, but no program header that leads to it. */
static void find_frames(struct loaded_object *object, uintptr_t bias, const ElfW(Phdr) * segments,
                        size_t count)
{
    struct elffile file;
    Elf64_Shdr section;
    if (!elffile_open(&file, "/proc/self/exe"))
        return;
    bool is_found = elffile_find_section(&file, ".eh_frame", &section);
    elffile_close(&file);
    for (size_t i = 0; is_found && i < count; i++) {
        if (segments[i].p_type != PT_LOAD || !holds(&segments[i], section.sh_addr) ||
            section.sh_size > segments[i].p_vaddr + segments[i].p_filesz - section.sh_addr)
            continue;
        object->is_constant = (segments[i].p_flags & PF_W) == 0;
        object->frames = object->readable_start = bias + section.sh_addr;
        object->readable_limit = object->frames + section.sh_size;
    }
}

HPM_EARLY static int add_at_start(struct dl_phdr_info *info, size_t size, void *first)
{
    bool *is_program = first;
    (void)size;
    struct loaded_object object = {.is_present = true};
    object.stays = *is_program || strchr(info->dlpi_name, '/') == NULL;
    find_table(&object, info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum);
    object.is_constant &= !is_relocated(info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum);
    if (object.table == 0 && *is_program)
        find_frames(&object, info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum);
    *is_program = false;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_X) == 0)
            continue;
        object.start = info->dlpi_addr + segment->p_vaddr;
        object.limit = object.start + segment->p_memsz;
        insert(&object);
    }
    return 0;
}

HPM_EARLY void objects_init(void)
{
    bool is_first = true;
    dl_iterate_phdr(add_at_start, &is_first);
}

/* Without /proc nothing could be found anew: then all stay. */
void objects_distrust_start(void)
{
    static bool is_done;
    struct mapping_list list;
    if (is_done)
        return;
    is_done = true;
    bool can_look = mappings_read(&list, "/proc/self/maps") && list.count != 0;
    mappings_free(&list);
    size_t kept = 0;
    for (size_t i = 0; i < loaded.count; i++) {
        const struct loaded_object *object = &loaded.objects[i];
        if (object->copy != NULL || object->stays || !can_look)
            loaded.objects[kept++] = *object;
    }
    loaded.count = kept;
}

/* The program headers of a file, when they lie inside it and can be read in place. */
static const ElfW(Phdr) * file_segments(const struct elffile *file, size_t *count)
{
    const ElfW(Ehdr) *header = (const void *)file->start;
    if (file->bytes < sizeof(*header) || header->e_phentsize != sizeof(ElfW(Phdr)) ||
        header->e_phoff % sizeof(uintptr_t) != 0 || header->e_phoff > file->bytes)
        return NULL;
    *count = header->e_phnum;
    if (*count > (file->bytes - header->e_phoff) / sizeof(ElfW(Phdr)))
        return NULL;
    return (const void *)(file->start + header->e_phoff);
}

/* Reads the table from a mapped file instead of from where it was loaded. */
static void read_from_copy(struct loaded_object *object, const struct elffile *file, uintptr_t bias,
                           const ElfW(Phdr) * segments, size_t count)
{
    find_table(object, bias, segments, count);
    for (size_t i = 0; object->table != 0 && i < count; i++) {
        if (segments[i].p_type != PT_LOAD || !holds(&segments[i], object->table - bias))
            continue;
        uint64_t end = segments[i].p_offset + segments[i].p_filesz;
        if (end < segments[i].p_offset || end > file->bytes)
            object->table = 0;
        object->delta =
            (ptrdiff_t)((uintptr_t)file->start + segments[i].p_offset - object->readable_start);
    }
}

static uint64_t identity_of(const struct mapping *mapping)
{
    uint64_t hash = mapping->start ^ mapping->limit << 20 ^ mapping->file_offset << 40;
    for (const char *at = mapping->path; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 0x100000001b3u;
    return hash;
}

/* Whether it is one object more. */
static bool add_later(const struct mapping *mapping)
{
    struct loaded_object object = {
        .start = mapping->start, .limit = mapping->limit, .is_present = true};
    struct elffile file;
    if (!elffile_open(&file, mapping->path))
        return false;
    size_t count = 0;
    Elf64_Phdr segment;
    const ElfW(Phdr) *segments = file_segments(&file, &count);
    if (segments == NULL || !elffile_find_segment(&file, mapping->file_offset,
                                                  mapping->limit - mapping->start, &segment)) {
        elffile_close(&file);
        return false;
    }
    uintptr_t bias =
        mapping->start - (uintptr_t)(segment.p_vaddr - segment.p_offset + mapping->file_offset);
    read_from_copy(&object, &file, bias, segments, count);
    object.copy = file.start;
    object.copy_bytes = file.bytes;
    object.identity = identity_of(mapping);
    if (insert(&object)) {
        atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
        return true;
    }
    elffile_close(&file);
    return false;
}

uint32_t objects_generation(void)
{
    return atomic_load_explicit(&generation, memory_order_relaxed);
}

static struct loaded_object *find_mapped(const struct mapping *mapping)
{
    size_t upto = count_upto(mapping->start);
    struct loaded_object *object = upto > 0 ? &loaded.objects[upto - 1] : NULL;
    return object != NULL && mapping->start < object->limit ? object : NULL;
}

static void mark_present(const struct mapping *mapping)
{
    struct loaded_object *object = find_mapped(mapping);
    if (object != NULL && object->identity == identity_of(mapping))
        object->is_present = true;
}

static void drop_absent(void)
{
    size_t kept = 0;
    for (size_t i = 0; i < loaded.count; i++) {
        struct loaded_object *object = &loaded.objects[i];
        if (object->is_present)
            loaded.objects[kept++] = *object;
        else
            os_unmap((void *)(uintptr_t)object->copy, object->copy_bytes);
    }
    loaded.count = kept;
}

/* A look that found nothing new is the pause's cause: code made at run time is in no object,
 * however often one looks. Programs that load many objects in a row are not kept waiting, nor is
 * what is loaded after something was unloaded. */
static bool refresh(bool at_once)
{
    uint64_t now = os_clock_coarse_ns();
    if (now < loaded.next_refresh_ns && !at_once)
        return false;
    loaded.next_refresh_ns = at_once ? now : now + REFRESH_PAUSE_NS;
    struct mapping_list list;
    for (size_t i = 0; i < loaded.count; i++)
        loaded.objects[i].is_present = loaded.objects[i].copy == NULL;
    if (!mappings_read(&list, "/proc/self/maps") || list.count == 0) {
        mappings_free(&list);
        return true;
    }
    /* After a dlclose no copy is trusted: the file of the same path may be another by now, or
     * shorter than what we mapped of it. */
    for (size_t i = 0; i < list.count && !at_once; i++)
        mark_present(&list.mappings[i]);
    drop_absent();
    for (size_t i = 0; i < list.count; i++) {
        const struct mapping *mapping = &list.mappings[i];
        if (mapping->path[0] == '/' && find_mapped(mapping) == NULL && add_later(mapping))
            loaded.next_refresh_ns = now;
    }
    mappings_free(&list);
    return true;
}

/* A file that is gone is no error of the caller's. */
bool objects_refresh(bool at_once)
{
    int saved = errno;
    bool done = refresh(at_once);
    errno = saved;
    return done;
}
