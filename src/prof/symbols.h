/* Addresses to names: what is mapped, and the function an address lies in, read from the symbol
 * tables of the ELF files through mmap. Nothing is kept between calls.
 *
 *   report  --addresses-->  symbols  --maps, files-->  mappings, elffile
 *
 * A file's own full table is preferred, then that of its debug file (by build id, under
 * /usr/lib/debug), then what the dynamic linker needs.
 *
 * Lock:   none of its own: callers serialize (the dump does).
 * Fails:  where there is no /proc, or a file is gone or makes no sense, names are lacking.
 * Signal: async-signal-safe; no malloc, static buffers and pages straight from os. */
#ifndef HPM_PROF_SYMBOLS_H
#define HPM_PROF_SYMBOLS_H

#include "base/base.h"
#include "prof/mappings.h"

#define MAPPING_NONE UINT32_MAX

/* A function's name for an address. */
struct symbol {
    uintptr_t address; // what was asked
    uintptr_t start;   // where the function begins, when it is known
    const char *name;  // mangled, in the mapped file, NUL-terminated (checked); NULL: unknown
    uint32_t mapping;  // index, or MAPPING_NONE
};

struct symbol_table {
    struct mapping *mappings; // the main program's first, then by address
    size_t mapping_count;
    struct symbol *symbols; // sorted by address, no address twice
    size_t symbol_count;
    /* Private: memory and files to give back. */
    size_t mappings_mapped_bytes, symbols_mapped_bytes;
    struct elffile *files;
    size_t file_count, files_mapped_bytes;
};

/* Takes `count` addresses in any order, repeats allowed. `want_names` false: mappings only, names
 * stay NULL. False: no memory, and the table is empty but may be freed. */
bool symbols_resolve(struct symbol_table *table, const uintptr_t *addresses, size_t count,
                     bool want_names);
const struct symbol *symbols_find(const struct symbol_table *table, uintptr_t address);
void symbols_free(struct symbol_table *table);

/* For who looks at another process, or one that is gone: from now on names are found in the files
 * of this list, those that are still what they were (by build id), and not in this process's own.
 */
void symbols_use_mappings(const struct mapping_list *list);

/* A name's length without the version that a symbol table may put behind it (`read@@GLIBC_2.2`). */
size_t symbols_name_length(const char *name);

#endif
