#define _GNU_SOURCE
#include "binary.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "prof/elffile.h"

/* A table of unwind data that covers less code than this for each byte of it has gaps: compilers
 * write one for each function, a tenth of the code or so. */
enum { CODE_PER_UNWIND_BYTE_MAX = 200, BUILD_ID_MAX = 32 };

static enum binary_kind kind_of(const char *path)
{
    unsigned char ident[EI_NIDENT] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t bytes = fd >= 0 ? read(fd, ident, sizeof(ident)) : -1;
    if (fd >= 0)
        close(fd);
    if (bytes != (ssize_t)sizeof(ident) || memcmp(ident, ELFMAG, SELFMAG) != 0)
        return BINARY_NONE;
    return ident[EI_CLASS] == ELFCLASS64 && ident[EI_DATA] == ELFDATA2LSB ? BINARY_ELF
                                                                          : BINARY_FOREIGN;
}

/* Text of the file, cut where the file ends. */
static size_t text_at(const struct elffile *file, uint64_t offset, uint64_t bytes,
                      const char **text)
{
    *text = (const char *)file->start + offset;
    if (offset >= file->bytes)
        return 0;
    return bytes < file->bytes - offset ? bytes : file->bytes - offset;
}

static enum libc_kind libc_by_interpreter(const char *text, size_t bytes)
{
    return memmem(text, bytes, "ld-musl", 7) != NULL    ? LIBC_MUSL
           : memmem(text, bytes, "ld-linux", 8) != NULL ? LIBC_GNU
                                                        : LIBC_UNKNOWN;
}

static void read_segments(struct binary *binary, const struct elffile *file)
{
    Elf64_Ehdr header;
    Elf64_Phdr segment;
    const char *text;
    memcpy(&header, file->start, sizeof(header));
    binary->machine = header.e_machine;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        uint64_t at = header.e_phoff + i * sizeof(segment);
        if (header.e_phoff > file->bytes || at + sizeof(segment) > file->bytes)
            return;
        memcpy(&segment, file->start + at, sizeof(segment));
        if (segment.p_type != PT_INTERP)
            continue;
        size_t bytes = text_at(file, segment.p_offset, segment.p_filesz, &text);
        binary->has_interpreter = true;
        binary->libc = libc_by_interpreter(text, bytes);
    }
}

/* A library says by what it needs which C library it was made for. */
static void guess_libc(struct binary *binary, const struct elffile *file)
{
    Elf64_Shdr names;
    const char *text;
    if (binary->libc != LIBC_UNKNOWN || !elffile_find_section(file, ".dynstr", &names))
        return;
    size_t bytes = text_at(file, names.sh_offset, names.sh_size, &text);
    if (bytes == 0)
        return;
    if (memmem(text, bytes, "libc.so.6", sizeof("libc.so.6")) != NULL)
        binary->libc = LIBC_GNU;
    else if (memmem(text, bytes, "libc.musl-", strlen("libc.musl-")) != NULL ||
             memmem(text, bytes, "libc.so", sizeof("libc.so")) != NULL)
        binary->libc = LIBC_MUSL;
}

static void read_symbols(struct binary *binary, const struct elffile *file, uint32_t type)
{
    struct elffile_symbols table;
    if (!elffile_find_symbols(file, type, &table))
        return;
    for (size_t i = 0; i < table.count; i++) {
        Elf64_Sym symbol = elffile_symbol(&table, i);
        if (symbol.st_shndx == SHN_UNDEF || symbol.st_name >= table.names_bytes ||
            ELF64_ST_TYPE(symbol.st_info) != STT_FUNC)
            continue;
        const char *name = table.names + symbol.st_name;
        binary->defines_malloc |=
            strcmp(name, "malloc") == 0 && ELF64_ST_BIND(symbol.st_info) != STB_LOCAL;
        binary->holds_hpmalloc |= strcmp(name, "lifecycle_attach_slow") == 0;
    }
}

static bool has_unwind_data(const struct elffile *file)
{
    Elf64_Shdr data, code;
    if (!elffile_find_section(file, ".eh_frame", &data) || data.sh_type == SHT_NOBITS)
        return false;
    return !elffile_find_section(file, ".text", &code) ||
           code.sh_size / CODE_PER_UNWIND_BYTE_MAX <= data.sh_size;
}

static void read_build_id(struct binary *binary, const struct elffile *file)
{
    uint8_t id[BUILD_ID_MAX];
    size_t bytes = elffile_build_id(file, id, sizeof(id));
    for (size_t i = 0; i < bytes; i++)
        snprintf(binary->build_id + 2 * i, 3, "%02x", id[i]);
}

bool binary_read(struct binary *binary, const char *path)
{
    struct elffile file;
    Elf64_Shdr section;
    *binary = (struct binary){.kind = kind_of(path)};
    if (binary->kind != BINARY_ELF)
        return false;
    if (!elffile_open(&file, path)) {
        binary->kind = BINARY_NONE;
        return false;
    }
    read_segments(binary, &file);
    guess_libc(binary, &file);
    read_symbols(binary, &file, SHT_SYMTAB);
    read_symbols(binary, &file, SHT_DYNSYM);
    read_build_id(binary, &file);
    binary->has_unwind_data = has_unwind_data(&file);
    binary->has_symbols = elffile_find_section(&file, ".symtab", &section);
    if (!binary->has_symbols)
        binary->holds_hpmalloc = elffile_find_section(&file, "hpm_text", &section);
    binary->has_debug = elffile_find_section(&file, ".debug_info", &section);
    binary->is_go = elffile_find_section(&file, ".go.buildinfo", &section);
    elffile_close(&file);
    return true;
}

bool binary_is_linked_with(const char *path, const char *library)
{
    struct elffile file;
    Elf64_Shdr names;
    const char *text;
    if (!elffile_open(&file, path))
        return false;
    size_t bytes = elffile_find_section(&file, ".dynstr", &names)
                       ? text_at(&file, names.sh_offset, names.sh_size, &text)
                       : 0;
    bool found = bytes != 0 && memmem(text, bytes, library, strlen(library)) != NULL;
    elffile_close(&file);
    return found;
}

bool binary_has_debug_file(const struct binary *binary)
{
    char path[128];
    if (strlen(binary->build_id) < 4)
        return false;
    snprintf(path, sizeof(path), "/usr/lib/debug/.build-id/%.2s/%s.debug", binary->build_id,
             binary->build_id + 2);
    return access(path, R_OK) == 0;
}
