/* libFuzzer's target for the reader of ELF files and the search for names: whatever the bytes, it
 * reads none beside them, and each name it finds ends inside the file. */
#include <stdlib.h>

/* For the search in one file, which the room keeps to itself. */
#include "prof/symbols.c" // NOLINT

enum { MEMORY = 0x10000000, ASKED = 16 };

static void try_tables(const struct elffile *file)
{
    struct elffile_symbols symbols;
    static const uint32_t types[] = {SHT_SYMTAB, SHT_DYNSYM};
    for (size_t i = 0; i < array_count(types); i++) {
        if (!elffile_find_symbols(file, types[i], &symbols))
            continue;
        if (symbols.names[symbols.names_bytes - 1] != '\0')
            abort();
        for (size_t j = 0; j < symbols.count; j++)
            elffile_symbol(&symbols, j);
    }
}

/* Addresses all over a mapping of the file's first executable segment. */
static void try_names(const struct elffile *file, size_t offset)
{
    static struct symbol asked[ASKED];
    struct elffile none[2];
    struct symbol_table table = {.files = none};
    struct mapping mapping = {
        .start = MEMORY, .limit = MEMORY + file->bytes, .file_offset = offset};
    for (size_t i = 0; i < ASKED; i++)
        asked[i] = (struct symbol){.address = MEMORY + i * file->bytes / ASKED};
    pass.file = *file;
    pass.symbols = asked;
    pass.count = ASKED;
    name_addresses(&table, &mapping);
    for (size_t i = 0; i < ASKED; i++) {
        if (asked[i].name != NULL && strlen(asked[i].name) >= file->bytes)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct elffile file;
    uint8_t id[BUILD_ID_BYTES_MAX];
    if (!elffile_wrap(&file, input, size))
        return 0;
    if (elffile_build_id(&file, id, sizeof(id)) > sizeof(id))
        abort();
    try_tables(&file);
    try_names(&file, 0);
    try_names(&file, size / 2);
    return 0;
}
