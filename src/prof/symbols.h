/* Addresses to names: what is mapped, and the function an address lies in, read from the symbol
 * tables of the ELF files through mmap. Nothing is kept between calls.
 *
 * Lock:   none of its own: callers serialize (the dump does).
 * Fails:  where there is no /proc, or a file is gone or makes no sense, names are lacking.
 * Signal: async-signal-safe; no malloc, static buffers and pages straight from os. */
#ifndef HPM_PROF_SYMBOLS_H
#define HPM_PROF_SYMBOLS_H

#include "base/base.h"

enum { BUILD_ID_BYTES_MAX = 32, MAPPING_PATH_MAX = 256 };

/* An executable segment of a loaded file, as /proc/self/maps shows it. */
struct mapping {
    uintptr_t start, limit;
    uint64_t file_offset;
    uint8_t build_id_bytes; // 0: none
    uint8_t build_id[BUILD_ID_BYTES_MAX];
    char path[MAPPING_PATH_MAX];
};

/* A function's name for an address. `name` points into the mapped file, NULL when unknown. */
struct symbol {
    uintptr_t address; // what was asked
    const char *name;  // mangled, NUL-terminated within the file (checked)
    uint32_t mapping;  // index, or UINT32_MAX: in none
};

struct symbol_table {
    struct mapping *mappings; // the main program's first, then by address
    size_t mapping_count;
    struct symbol *symbols; // sorted by address, no address twice
    size_t symbol_count;
    /* Private: memory and files to give back. */
    size_t mappings_mapped_bytes, symbols_mapped_bytes;
    struct symbol_file *files;
    size_t file_count, files_mapped_bytes;
};

/* Takes `count` addresses in any order, repeats allowed. `want_names` false: mappings only, names
 * stay NULL. False: no memory, and the table is empty but may be freed. */
bool symbols_resolve(struct symbol_table *table, const uintptr_t *addresses, size_t count,
                     bool want_names);
const struct symbol *symbols_find(const struct symbol_table *table, uintptr_t address);
void symbols_free(struct symbol_table *table);

#endif
