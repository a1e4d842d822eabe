/* ELF files, as bytes that nobody vouches for: every read is checked against the file's length, so
 * one that is cut off or makes no sense yields less, and never a fault.
 *
 * Signal: async-signal-safe. */
#ifndef HPM_PROF_ELFFILE_H
#define HPM_PROF_ELFFILE_H

#include <elf.h>

#include "base/base.h"

struct elffile {
    const unsigned char *start;
    size_t bytes;
};

/* A symbol table. Each name that begins inside `names` also ends inside. */
struct elffile_symbols {
    const unsigned char *entries; // not aligned: read with elffile_symbol
    size_t count;
    const char *names;
    size_t names_bytes;
};

/* Maps a regular file that begins like an ELF file of this machine's kind. */
bool elffile_open(struct elffile *file, const char *path);
void elffile_close(struct elffile *file);

/* Treats memory as a file (the kernel's vdso); there is nothing to close. */
bool elffile_wrap(struct elffile *file, const void *image, size_t bytes);

/* Copies the GNU build id, at most `size` bytes of it; returns its length, 0 when there is none. */
size_t elffile_build_id(const struct elffile *file, uint8_t *id, size_t size);

/* The executable segment which a mapping of [offset, offset + bytes) of the file shows. */
bool elffile_find_segment(const struct elffile *file, uint64_t offset, uint64_t bytes,
                          Elf64_Phdr *segment);

bool elffile_find_section(const struct elffile *file, const char *name, Elf64_Shdr *section);

/* `type` is SHT_SYMTAB or SHT_DYNSYM. */
bool elffile_find_symbols(const struct elffile *file, uint32_t type,
                          struct elffile_symbols *symbols);
Elf64_Sym elffile_symbol(const struct elffile_symbols *symbols, size_t index);

#endif
