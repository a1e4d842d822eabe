#include "prof/symbols.h"

#include <string.h>

#include "base/os.h"
#include "base/print.h"
#include "base/sort.h"
#include "prof/elffile.h"

#define MAPS_PATH          "/proc/self/maps"
#define DEBUG_FOLDER       "/usr/lib/debug/.build-id"
#define DELETED_MARK       " (deleted)"
#define SYMBOL_TYPE(s)     ELF64_ST_TYPE((s)->st_info)
#define SYMBOL_IS_LOCAL(s) (ELF64_ST_BIND((s)->st_info) == STB_LOCAL)

/* A symbol that may be the one an address lies in, at its place in memory. */
struct candidate {
    uint64_t start;
    uint64_t bytes; // 0: it does not say
    const char *name;
    unsigned rank; // of symbols that begin at the same place the highest is shown
};

/* What is found for one address in one pass over its file's symbols. */
struct finding {
    struct candidate covering; // the innermost that says it holds the address
    struct candidate unsized;  // the last before the address that does not say how long it is,
    uint64_t nearest_start;    // good only when nothing else begins between it and the address
};

/* The pass at work. */
static struct {
    struct elffile file;      // what the mapping shows
    uint64_t bias;            // memory address less the file's virtual address
    uint64_t start, limit;    // of the segment in memory
    struct symbol *symbols;   // the addresses in it
    struct finding *findings; // one for each
    size_t count;
} pass;

static const struct mapping_list *others_mappings; // NULL: names are for this process

size_t symbols_name_length(const char *name)
{
    return strcspn(name, "@");
}

/* The first symbol at or above the address. */
static size_t lower_bound(const struct symbol *symbols, size_t count, uint64_t address)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (symbols[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct symbol *symbols_find(const struct symbol_table *table, uintptr_t address)
{
    size_t index = lower_bound(table->symbols, table->symbol_count, address);
    if (index == table->symbol_count || table->symbols[index].address != address)
        return NULL;
    return &table->symbols[index];
}

/* Of several names for one place: a function, of those one seen from outside, of those the one
 * with the fewest underscores before it (`read`, not `__libc_read`). */
static unsigned rank_of(const Elf64_Sym *symbol, const char *name)
{
    unsigned underscores = (unsigned)min_size(strspn(name, "_"), 3);
    unsigned function = SYMBOL_TYPE(symbol) != STT_NOTYPE;
    unsigned global = !SYMBOL_IS_LOCAL(symbol);
    return function * 8 + global * 4 + (3 - underscores);
}

static bool is_better(const struct candidate *candidate, const struct candidate *than)
{
    if (than->name == NULL || candidate->start != than->start)
        return than->name == NULL || candidate->start > than->start;
    return candidate->rank > than->rank;
}

/* A symbol without a size is noted at the first address above its start only, and is carried on
 * to those after it when the pass is over. */
static void note_candidate(const struct candidate *candidate)
{
    size_t at = lower_bound(pass.symbols, pass.count, candidate->start);
    if (at == pass.count)
        return;
    struct finding *finding = &pass.findings[at];
    if (candidate->start >= finding->nearest_start)
        finding->nearest_start = candidate->start;
    if (candidate->bytes == 0 && is_better(candidate, &finding->unsized))
        finding->unsized = *candidate;
    for (; at < pass.count && pass.symbols[at].address - candidate->start < candidate->bytes;
         at++) {
        if (is_better(candidate, &pass.findings[at].covering))
            pass.findings[at].covering = *candidate;
    }
}

/* Code only, and not the marks ($x, $d) by which some machines' tables tell code from data. */
static bool is_code(const Elf64_Sym *symbol)
{
    unsigned type = SYMBOL_TYPE(symbol);
    return (type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE) &&
           symbol->st_shndx != SHN_UNDEF && symbol->st_shndx != SHN_ABS;
}

static void note_symbol(const struct elffile_symbols *table, const Elf64_Sym *symbol)
{
    struct candidate candidate = {.start = symbol->st_value + pass.bias, .bytes = symbol->st_size};
    if (!is_code(symbol) || symbol->st_name >= table->names_bytes || candidate.start < pass.start ||
        candidate.start >= pass.limit)
        return;
    candidate.name = table->names + symbol->st_name;
    if (candidate.name[0] == '\0' || candidate.name[0] == '$')
        return;
    candidate.rank = rank_of(symbol, candidate.name);
    note_candidate(&candidate);
}

/* `before` is the last symbol without a size that begins at or before the address. */
static const struct candidate *choose(size_t index, const struct candidate *before,
                                      uint64_t nearest_start)
{
    const struct candidate *covering = &pass.findings[index].covering;
    if (covering->name != NULL)
        return covering;
    bool is_before = before->name != NULL && before->start == nearest_start &&
                     pass.symbols[index].address < pass.limit;
    return is_before ? before : NULL;
}

/* Carries what has no size along, then decides. */
static void settle_pass(void)
{
    const struct candidate *before = &pass.findings[0].unsized;
    uint64_t nearest_start = 0;
    for (size_t i = 0; i < pass.count; i++) {
        const struct finding *finding = &pass.findings[i];
        if (finding->unsized.name != NULL)
            before = &finding->unsized;
        if (finding->nearest_start > nearest_start)
            nearest_start = finding->nearest_start;
        const struct candidate *found = choose(i, before, nearest_start);
        if (found != NULL) {
            pass.symbols[i].name = found->name;
            pass.symbols[i].start = found->start;
        }
    }
}

static void run_pass(const struct elffile_symbols *table)
{
    size_t bytes = pass.count * sizeof(struct finding);
    pass.findings = os_map_whole(bytes);
    if (pass.findings == NULL)
        return;
    for (size_t i = 0; i < table->count; i++) {
        Elf64_Sym symbol = elffile_symbol(table, i);
        note_symbol(table, &symbol);
    }
    settle_pass();
    os_unmap(pass.findings, bytes);
}

/* The file that `strip` put a program's full table into, if the system has it. */
static bool open_debug_file(const struct mapping *mapping, struct elffile *file)
{
    static char path[sizeof(DEBUG_FOLDER) + 2 * BUILD_ID_BYTES_MAX + sizeof("//.debug")];
    if (mapping->build_id_bytes < 2)
        return false;
    size_t length =
        print_format(path, sizeof(path), DEBUG_FOLDER "/%02x/", (unsigned)mapping->build_id[0]);
    for (unsigned i = 1; i < mapping->build_id_bytes; i++)
        length += print_format(path + length, sizeof(path) - length, "%02x",
                               (unsigned)mapping->build_id[i]);
    print_format(path + length, sizeof(path) - length, ".debug");
    return elffile_open(file, path);
}

/* Finds a table of symbols for the pass; a debug file it is in is added to those kept open. */
static bool find_table(struct symbol_table *table, const struct mapping *mapping,
                       struct elffile_symbols *symbols)
{
    if (elffile_find_symbols(&pass.file, SHT_SYMTAB, symbols))
        return true;
    struct elffile *debug_file = &table->files[table->file_count];
    if (open_debug_file(mapping, debug_file)) {
        if (elffile_find_symbols(debug_file, SHT_SYMTAB, symbols)) {
            table->file_count++;
            return true;
        }
        elffile_close(debug_file);
    }
    return elffile_find_symbols(&pass.file, SHT_DYNSYM, symbols);
}

static bool place_segment(const struct mapping *mapping)
{
    static Elf64_Phdr segment;
    if (!elffile_find_segment(&pass.file, mapping->file_offset, mapping->limit - mapping->start,
                              &segment))
        return false;
    pass.start = mapping->start;
    pass.bias = mapping->start - mapping->file_offset + segment.p_offset - segment.p_vaddr;
    pass.limit = min_size(mapping->limit, segment.p_vaddr + segment.p_memsz + pass.bias);
    return true;
}

static void name_addresses(struct symbol_table *table, const struct mapping *mapping)
{
    static struct elffile_symbols symbols;
    if (place_segment(mapping) && find_table(table, mapping, &symbols))
        run_pass(&symbols);
}

static bool has_all_names(void)
{
    for (size_t i = 0; i < pass.count; i++) {
        if (pass.symbols[i].name == NULL)
            return false;
    }
    return true;
}

static bool is_deleted(const char *path)
{
    size_t length = strlen(path), mark_length = strlen(DELETED_MARK);
    return length > mark_length && strcmp(path + length - mark_length, DELETED_MARK) == 0;
}

/* The file may be another by now than the one that was mapped. */
static bool open_others_mapping(const struct mapping *mapping, struct elffile *file)
{
    uint8_t id[BUILD_ID_BYTES_MAX];
    if (mapping->path[0] != '/' || !elffile_open(file, mapping->path))
        return false;
    size_t bytes = elffile_build_id(file, id, sizeof(id));
    if (bytes == mapping->build_id_bytes && memcmp(id, mapping->build_id, bytes) == 0)
        return true;
    elffile_close(file);
    return false;
}

/* The main program's file can be had even when its name is gone. */
static bool open_mapping(const struct symbol_table *table, const struct mapping *mapping,
                         struct elffile *file)
{
    if (others_mappings != NULL)
        return open_others_mapping(mapping, file);
    if (mapping->path[0] != '/')
        return elffile_wrap(file, (const void *)mapping->start, mapping->limit - mapping->start);
    if (mapping == table->mappings && is_deleted(mapping->path))
        return elffile_open(file, "/proc/self/exe");
    return elffile_open(file, mapping->path);
}

static void read_mapping(struct symbol_table *table, size_t index, bool want_names)
{
    struct mapping *mapping = &table->mappings[index];
    size_t low = lower_bound(table->symbols, table->symbol_count, mapping->start);
    size_t high = lower_bound(table->symbols, table->symbol_count, mapping->limit);
    for (size_t i = low; i < high; i++)
        table->symbols[i].mapping = (uint32_t)index;
    struct elffile *file = &table->files[table->file_count];
    if (!open_mapping(table, mapping, file))
        return;
    mapping->build_id_bytes =
        (uint8_t)elffile_build_id(file, mapping->build_id, sizeof(mapping->build_id));
    bool is_file = mapping->path[0] == '/';
    if (!want_names || low == high) {
        if (is_file)
            elffile_close(file);
        return;
    }
    table->file_count += is_file;
    pass.file = *file;
    pass.symbols = table->symbols + low;
    pass.count = high - low;
    name_addresses(table, mapping);
    mapping->is_named = has_all_names();
}

/* Keeps one of each address, by a table of hashes; returns how many. 0 marks an empty slot: it is
 * no address of code. */
static size_t insert_unique(uint64_t *slots, size_t slot_count, const uintptr_t *addresses,
                            size_t count)
{
    size_t unique = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = (size_t)((addresses[i] * 0x9e3779b97f4a7c15u) >> 20) & (slot_count - 1);
        while (slots[at] != 0 && slots[at] != addresses[i])
            at = (at + 1) & (slot_count - 1);
        unique += slots[at] == 0 && addresses[i] != 0;
        slots[at] = addresses[i];
    }
    return unique;
}

static void move_to_front(uint64_t *slots, size_t slot_count)
{
    size_t at = 0;
    for (size_t i = 0; i < slot_count; i++) {
        uint64_t address = slots[i];
        if (address != 0)
            slots[at++] = address;
    }
}

static bool make_symbols(struct symbol_table *table, uint64_t *sorted, size_t count)
{
    table->symbols_mapped_bytes = max_size(count, 1) * sizeof(struct symbol);
    table->symbols = os_map_whole(table->symbols_mapped_bytes);
    if (table->symbols == NULL)
        return false;
    table->symbol_count = count;
    for (size_t i = 0; i < count; i++)
        table->symbols[i] = (struct symbol){.address = sorted[i], .mapping = MAPPING_NONE};
    return true;
}

/* Most frames of a profile are in many of its stacks: sorting after the repeats are gone is
 * several times faster than before. */
static bool collect_symbols(struct symbol_table *table, const uintptr_t *addresses, size_t count)
{
    size_t slot_count = 64;
    while (slot_count < 2 * count)
        slot_count *= 2;
    uint64_t *slots = os_map_whole(slot_count * sizeof(*slots));
    if (slots == NULL)
        return false;
    size_t unique = insert_unique(slots, slot_count, addresses, count);
    move_to_front(slots, slot_count);
    sort_words(slots, unique);
    bool done = make_symbols(table, slots, unique);
    os_unmap(slots, slot_count * sizeof(*slots));
    return done;
}

void symbols_use_mappings(const struct mapping_list *list)
{
    others_mappings = list;
}

static bool copy_mappings(struct mapping_list *list)
{
    size_t bytes = others_mappings->count * sizeof(struct mapping);
    *list = (struct mapping_list){.mapped_bytes = max_size(bytes, 1)};
    list->mappings = os_map(list->mapped_bytes);
    if (list->mappings == NULL)
        return false;
    memcpy(list->mappings, others_mappings->mappings, bytes);
    list->count = others_mappings->count;
    return true;
}

static bool read_mappings(struct symbol_table *table)
{
    static struct mapping_list list;
    bool done = others_mappings != NULL ? copy_mappings(&list) : mappings_read(&list, MAPS_PATH);
    table->mappings = list.mappings;
    table->mapping_count = list.count;
    table->mappings_mapped_bytes = list.mapped_bytes;
    /* A mapping's file, and its debug file. */
    table->files_mapped_bytes = max_size(2 * list.count, 1) * sizeof(struct elffile);
    table->files = os_map(table->files_mapped_bytes);
    return done && table->files != NULL;
}

bool symbols_resolve(struct symbol_table *table, const uintptr_t *addresses, size_t count,
                     bool want_names)
{
    memset(table, 0, sizeof(*table));
    if (!collect_symbols(table, addresses, count) || !read_mappings(table)) {
        symbols_free(table);
        return false;
    }
    for (size_t i = 0; i < table->mapping_count; i++)
        read_mapping(table, i, want_names);
    return true;
}

static void unmap_if_any(void *start, size_t bytes)
{
    if (start != NULL)
        os_unmap(start, bytes);
}

void symbols_free(struct symbol_table *table)
{
    for (size_t i = 0; i < table->file_count; i++)
        elffile_close(&table->files[i]);
    unmap_if_any(table->files, table->files_mapped_bytes);
    unmap_if_any(table->mappings, table->mappings_mapped_bytes);
    unmap_if_any(table->symbols, table->symbols_mapped_bytes);
    memset(table, 0, sizeof(*table));
}
