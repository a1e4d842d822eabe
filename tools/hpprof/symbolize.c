#include "symbolize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "hpprof.h"
#include "prof/elffile.h"

enum { PATH_BYTES = 4200 };

/* One mapping's binary, and the addresses that are asked of it. */
struct job {
    struct profile *profile;
    uint32_t mapping;
    char binary[PATH_BYTES];  // whose addresses they are
    char symbols[PATH_BYTES]; // which has names and lines: it, or its debug file
    uint64_t bias;            // from an address to that in the binary
    uint32_t *locations;
    size_t count;
};

static void build_id_of(const struct elffile *file, char *text)
{
    uint8_t id[32];
    size_t bytes = elffile_build_id(file, id, sizeof(id));
    for (size_t i = 0; i < bytes; i++)
        sprintf(text + 2 * i, "%02x", id[i]);
    text[2 * bytes] = '\0';
}

/* The place for the address, when the binary is the one that was mapped. */
static bool find_bias(struct job *job, const struct elffile *file)
{
    const struct model_mapping *mapping = &job->profile->mappings[job->mapping];
    const char *wanted = profile_text(job->profile, mapping->build_id);
    char is[65];
    Elf64_Phdr segment;
    build_id_of(file, is);
    if (*wanted != '\0' && *is != '\0' && strcmp(wanted, is) != 0)
        return false;
    if (!elffile_find_segment(file, mapping->offset, mapping->limit - mapping->start, &segment))
        return false;
    job->bias = mapping->offset - mapping->start + segment.p_vaddr - segment.p_offset;
    return true;
}

static bool has_lines(const char *path)
{
    struct elffile file;
    Elf64_Shdr section;
    if (!elffile_open(&file, path))
        return false;
    bool found = elffile_find_section(&file, ".debug_info", &section);
    elffile_close(&file);
    return found;
}

/* Where distributions put what was stripped. */
static void find_debug_file(struct job *job, const struct elffile *file)
{
    char id[65], path[PATH_BYTES];
    build_id_of(file, id);
    strcpy(job->symbols, job->binary);
    if (strlen(id) < 4 || has_lines(job->binary))
        return;
    snprintf(path, sizeof(path), "/usr/lib/debug/.build-id/%.2s/%s.debug", id, id + 2);
    if (access(path, R_OK) == 0)
        strcpy(job->symbols, path);
}

static bool open_job(struct job *job)
{
    struct elffile file;
    const char *path = profile_text(job->profile, job->profile->mappings[job->mapping].file);
    if (*path != '/' || strlen(path) >= PATH_BYTES)
        return false;
    strcpy(job->binary, path);
    if (!elffile_open(&file, path))
        return false;
    bool is_same = find_bias(job, &file);
    if (is_same)
        find_debug_file(job, &file);
    elffile_close(&file);
    return is_same;
}

/* `function`, with a version behind an @, then `file:line` with more behind it. */
static void add_answer(struct job *job, uint32_t location, const char *name, char *place,
                       struct index *functions)
{
    struct profile *profile = job->profile;
    long line = 0;
    place[strcspn(place, " ")] = '\0';
    char *colon = strrchr(place, ':');
    if (colon != NULL) {
        line = strtol(colon + 1, NULL, 10);
        *colon = '\0';
    }
    uint32_t text = profile_intern(profile, name, strcspn(name, "@"));
    uint32_t file = strcmp(place, "??") != 0 ? profile_intern_text(profile, place) : STRING_EMPTY;
    uint32_t next = (uint32_t)profile->function_count;
    uint32_t function = index_add(functions, (uint64_t)text << 32 | file, next);
    if (function == next)
        profile_add_function(profile,
                             (struct function){.name = text, .system_name = text, .file = file});
    profile_add_line(profile, location, function, line);
}

static char *take_line(char **text)
{
    char *line = *text, *end = strchr(line, '\n');
    if (*line == '\0')
        return NULL;
    *text = end != NULL ? end + 1 : line + strlen(line);
    if (end != NULL)
        *end = '\0';
    return line;
}

/* Each answer begins with its address; "??" where nothing is known. What was known stays then. */
static void take_answers(struct job *job, char *output)
{
    struct index functions = {0};
    size_t at = SIZE_MAX;
    bool is_first = true;
    for (char *line, *place; (line = take_line(&output)) != NULL;) {
        if (strncmp(line, "0x", 2) == 0) {
            at++;
            is_first = true;
            continue;
        }
        place = take_line(&output);
        if (at >= job->count || place == NULL)
            break;
        struct location *location = &job->profile->locations[job->locations[at]];
        if (strcmp(line, "??") == 0)
            continue;
        if (is_first)
            location->line_count = 0;
        is_first = false;
        add_answer(job, job->locations[at], line, place, &functions);
    }
    index_drain(&functions);
}

static bool ask_tool(struct job *job)
{
    char *input = memory_alloc(job->count, 24), *at = input, *output = NULL;
    char *const llvm[] = {"llvm-symbolizer",
                          "--output-style=GNU",
                          "--no-demangle",
                          "-a",
                          "-f",
                          "-i",
                          "-e",
                          job->symbols,
                          NULL};
    char *const binutils[] = {"addr2line", "-a", "-f", "-i", "-e", job->symbols, NULL};
    size_t unused;
    for (size_t i = 0; i < job->count; i++)
        at += sprintf(
            at, "0x%llx\n",
            (unsigned long long)(job->profile->locations[job->locations[i]].address + job->bias));
    if (isatty(STDERR_FILENO) && job->count > 1000)
        fprintf(stderr, "hpprof: looking up %zu addresses in %s\n", job->count, job->symbols);
    if (child_exists(llvm[0]))
        output = child_filter(llvm, input, (size_t)(at - input), &unused);
    if (output == NULL && child_exists(binutils[0]))
        output = child_filter(binutils, input, (size_t)(at - input), &unused);
    memory_free(input);
    if (output != NULL)
        take_answers(job, output);
    free(output);
    return output != NULL;
}

struct symbol {
    uint64_t start, bytes;
    const char *name;
};

static int compare_symbols(const void *left, const void *right)
{
    const struct symbol *a = left, *b = right;
    return a->start < b->start ? -1 : a->start > b->start;
}

static size_t list_symbols(const struct elffile *file, struct symbol **list)
{
    struct elffile_symbols table;
    size_t count = 0;
    if (!elffile_find_symbols(file, SHT_SYMTAB, &table) &&
        !elffile_find_symbols(file, SHT_DYNSYM, &table))
        return 0;
    *list = memory_alloc(table.count, sizeof(**list));
    for (size_t i = 0; i < table.count; i++) {
        Elf64_Sym symbol = elffile_symbol(&table, i);
        if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_shndx != SHN_UNDEF &&
            symbol.st_name < table.names_bytes)
            (*list)[count++] =
                (struct symbol){symbol.st_value, symbol.st_size, table.names + symbol.st_name};
    }
    if (count != 0)
        qsort(*list, count, sizeof(**list), compare_symbols);
    return count;
}

/* The last that begins at or before the address and does not end before it. */
static const char *find_symbol(const struct symbol *list, size_t count, uint64_t address)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    const struct symbol *symbol = low != 0 ? &list[low - 1] : NULL;
    return symbol != NULL && (symbol->bytes == 0 || address - symbol->start < symbol->bytes)
               ? symbol->name
               : NULL;
}

static void read_symbols(struct job *job, const struct elffile *file)
{
    struct symbol *list = NULL;
    struct index functions = {0};
    char place[] = "??";
    size_t count = list_symbols(file, &list);
    for (size_t i = 0; i < job->count; i++) {
        struct location *location = &job->profile->locations[job->locations[i]];
        const char *name = find_symbol(list, count, location->address + job->bias);
        if (location->line_count == 0 && name != NULL)
            add_answer(job, job->locations[i], name, place, &functions);
    }
    memory_free(list);
    index_drain(&functions);
}

static void read_file(struct job *job, const char *path)
{
    struct elffile file;
    if (elffile_open(&file, path)) {
        read_symbols(job, &file);
        elffile_close(&file);
    }
}

static bool wants(const struct job *job, const struct location *location, bool want_lines)
{
    if (location->mapping != job->mapping || location->address == 0)
        return false;
    if (location->line_count == 0 || !want_lines)
        return !job->profile->mappings[job->mapping].has_functions;
    return job->profile->lines[location->first_line].line == 0;
}

static void run(struct job *job, bool want_lines)
{
    struct profile *profile = job->profile;
    job->locations = memory_alloc(profile->location_count, sizeof(uint32_t));
    for (size_t i = 0; i < profile->location_count; i++) {
        if (wants(job, &profile->locations[i], want_lines))
            job->locations[job->count++] = (uint32_t)i;
    }
    if (job->count != 0 && open_job(job)) {
        if (has_lines(job->symbols) && ask_tool(job))
            profile->mappings[job->mapping].has_lines = true;
        read_file(job, job->symbols);
        if (strcmp(job->symbols, job->binary) != 0)
            read_file(job, job->binary);
        profile->mappings[job->mapping].has_functions = true;
    }
    memory_free(job->locations);
}

void symbolize(struct profile *profile, bool want_lines)
{
    for (size_t i = 0; i < profile->mapping_count; i++) {
        struct job job = {.profile = profile, .mapping = (uint32_t)i};
        run(&job, want_lines);
    }
}
