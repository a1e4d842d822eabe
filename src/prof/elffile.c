#define _GNU_SOURCE
#include "prof/elffile.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"

static bool is_inside(const struct elffile *file, uint64_t offset, uint64_t bytes)
{
    return offset <= file->bytes && bytes <= file->bytes - offset;
}

/* Copies, for nothing in the file need be aligned. */
static bool read_at(const struct elffile *file, uint64_t offset, void *target, size_t bytes)
{
    if (!is_inside(file, offset, bytes))
        return false;
    memcpy(target, file->start + offset, bytes);
    return true;
}

static bool read_header(const struct elffile *file, Elf64_Ehdr *header)
{
    return read_at(file, 0, header, sizeof(*header)) &&
           memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
           header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_ident[EI_DATA] == ELFDATA2LSB;
}

bool elffile_wrap(struct elffile *file, const void *image, size_t bytes)
{
    Elf64_Ehdr header;
    file->start = image;
    file->bytes = bytes;
    return read_header(file, &header);
}

/* The device behind a path is never waited for. */
static size_t map_path_uncancelled(const char *path, const void **image)
{
    struct stat status;
    size_t bytes = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return 0;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
        *image = os_map_file(fd, (size_t)status.st_size);
        bytes = *image != NULL ? (size_t)status.st_size : 0;
    }
    close(fd);
    return bytes;
}

static size_t map_path(const char *path, const void **image)
{
    int cancel = os_put_cancel_off();
    size_t bytes = map_path_uncancelled(path, image);
    os_allow_cancel(cancel);
    return bytes;
}

bool elffile_open(struct elffile *file, const char *path)
{
    const void *image = NULL;
    size_t bytes = map_path(path, &image);
    if (bytes != 0 && elffile_wrap(file, image, bytes))
        return true;
    if (bytes != 0)
        os_unmap((void *)image, bytes);
    return false;
}

void elffile_close(struct elffile *file)
{
    os_unmap((void *)file->start, file->bytes);
    file->start = NULL;
    file->bytes = 0;
}

static bool read_segment(const struct elffile *file, const Elf64_Ehdr *header, unsigned index,
                         Elf64_Phdr *segment)
{
    return header->e_phentsize == sizeof(*segment) && header->e_phoff < file->bytes &&
           read_at(file, header->e_phoff + index * sizeof(*segment), segment, sizeof(*segment));
}

bool elffile_find_segment(const struct elffile *file, uint64_t offset, uint64_t bytes,
                          Elf64_Phdr *segment)
{
    Elf64_Ehdr header;
    if (!read_header(file, &header))
        return false;
    for (unsigned i = 0; i < header.e_phnum && read_segment(file, &header, i, segment); i++) {
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) != 0 &&
            segment->p_filesz != 0 && segment->p_offset < offset + bytes &&
            offset < segment->p_offset + segment->p_filesz)
            return true;
    }
    return false;
}

static size_t round_note(size_t bytes, size_t alignment)
{
    return round_up(bytes, alignment == 8 ? 8 : 4);
}

/* Walks the notes of a segment; the id may be longer than asked for. */
static size_t find_id_note(const struct elffile *file, const Elf64_Phdr *segment, uint8_t *id,
                           size_t size)
{
    Elf64_Nhdr note;
    uint64_t at = segment->p_offset;
    if (!is_inside(file, at, segment->p_filesz))
        return 0;
    for (uint64_t limit = at + segment->p_filesz; limit - at >= sizeof(note);) {
        read_at(file, at, &note, sizeof(note));
        uint64_t name = at + sizeof(note);
        uint64_t content = name + round_note(note.n_namesz, segment->p_align);
        uint64_t next = content + round_note(note.n_descsz, segment->p_align);
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && is_inside(file, name, 4) &&
            memcmp(file->start + name, "GNU", 4) == 0) {
            size_t bytes = min_size(note.n_descsz, size);
            return read_at(file, content, id, bytes) ? bytes : 0;
        }
        if (next > limit)
            return 0;
        at = next;
    }
    return 0;
}

size_t elffile_build_id(const struct elffile *file, uint8_t *id, size_t size)
{
    Elf64_Ehdr header;
    Elf64_Phdr segment;
    size_t bytes = 0;
    if (!read_header(file, &header))
        return 0;
    for (unsigned i = 0; bytes == 0 && i < header.e_phnum; i++) {
        if (!read_segment(file, &header, i, &segment))
            return 0;
        if (segment.p_type == PT_NOTE)
            bytes = find_id_note(file, &segment, id, size);
    }
    return bytes;
}

static bool read_section(const struct elffile *file, const Elf64_Ehdr *header, uint64_t index,
                         Elf64_Shdr *section)
{
    return header->e_shentsize == sizeof(*section) && header->e_shoff < file->bytes &&
           index < file->bytes / sizeof(*section) &&
           read_at(file, header->e_shoff + index * sizeof(*section), section, sizeof(*section));
}

/* A file of very many sections keeps their number in the first. */
static uint64_t section_count(const struct elffile *file, const Elf64_Ehdr *header)
{
    Elf64_Shdr first;
    if (header->e_shnum != 0 || !read_section(file, header, 0, &first))
        return header->e_shnum;
    return first.sh_size;
}

static bool is_named(const struct elffile *file, const Elf64_Shdr *names, const Elf64_Shdr *section,
                     const char *name)
{
    size_t bytes = strlen(name) + 1;
    return section->sh_name < names->sh_size && bytes <= names->sh_size - section->sh_name &&
           memcmp(file->start + names->sh_offset + section->sh_name, name, bytes) == 0;
}

bool elffile_find_section(const struct elffile *file, const char *name, Elf64_Shdr *section)
{
    Elf64_Ehdr header;
    Elf64_Shdr names;
    if (!read_header(file, &header) || !read_section(file, &header, header.e_shstrndx, &names) ||
        !is_inside(file, names.sh_offset, names.sh_size))
        return false;
    uint64_t count = section_count(file, &header);
    for (uint64_t i = 0; i < count && read_section(file, &header, i, section); i++) {
        if (is_named(file, &names, section, name))
            return true;
    }
    return false;
}

/* Cuts what follows the last closing NUL, so that no name can run out of the table. */
static bool take_names(const struct elffile *file, const Elf64_Shdr *section,
                       struct elffile_symbols *symbols)
{
    if (section->sh_type != SHT_STRTAB || !is_inside(file, section->sh_offset, section->sh_size))
        return false;
    symbols->names = (const char *)file->start + section->sh_offset;
    symbols->names_bytes = section->sh_size;
    while (symbols->names_bytes > 0 && symbols->names[symbols->names_bytes - 1] != '\0')
        symbols->names_bytes--;
    return symbols->names_bytes > 0;
}

bool elffile_find_symbols(const struct elffile *file, uint32_t type,
                          struct elffile_symbols *symbols)
{
    Elf64_Ehdr header;
    Elf64_Shdr table, names;
    if (!read_header(file, &header))
        return false;
    uint64_t count = section_count(file, &header);
    for (uint64_t i = 0; i < count && read_section(file, &header, i, &table); i++) {
        if (table.sh_type != type || table.sh_entsize != sizeof(Elf64_Sym))
            continue;
        if (!is_inside(file, table.sh_offset, table.sh_size))
            return false;
        symbols->entries = file->start + table.sh_offset;
        symbols->count = table.sh_size / sizeof(Elf64_Sym);
        return symbols->count > 0 && read_section(file, &header, table.sh_link, &names) &&
               take_names(file, &names, symbols);
    }
    return false;
}

Elf64_Sym elffile_symbol(const struct elffile_symbols *symbols, size_t index)
{
    Elf64_Sym symbol;
    memcpy(&symbol, symbols->entries + index * sizeof(symbol), sizeof(symbol));
    return symbol;
}
