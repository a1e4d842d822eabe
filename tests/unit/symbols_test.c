#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sort.h"
#include "prof/elffile.h"
#include "prof/symbols.h"
#include "tap.h"

/* Functions with properties that a compiler gives to none: `unsized` has no size and ends where
 * `after_unsized` begins; `_two_names` and `two_names` are one place; `a_local_name` is a third. */
__asm__(".text\n"
        ".type unsized, %function\n"
        ".globl unsized\n"
        "unsized: .skip 8\n"
        ".type after_unsized, %function\n"
        "after_unsized: .skip 4\n"
        ".size after_unsized, . - after_unsized\n"
        ".skip 4\n"
        ".globl _two_names, two_names, __two_names\n"
        ".type a_local_name, %function\n"
        ".type __two_names, %function\n"
        ".type two_names, %function\n"
        ".type _two_names, %function\n"
        "a_local_name: __two_names: two_names: _two_names: .skip 4\n"
        ".size a_local_name, 4\n"
        ".size __two_names, 4\n"
        ".size two_names, 4\n"
        ".size _two_names, 4\n");
extern const char unsized[], two_names[];

__attribute__((noinline)) static int a_static_function(int a)
{
    __asm__ volatile("" : "+r"(a));
    return a;
}

static const char *name_at(uintptr_t address)
{
    static char name[200];
    struct symbol_table table;
    if (!symbols_resolve(&table, &address, 1, true))
        return "no memory";
    const char *found = table.symbols[0].name;
    snprintf(name, sizeof(name), "%s", found != NULL ? found : "(none)");
    symbols_free(&table);
    return name;
}

TEST(sort, words_come_out_in_order)
{
    uint64_t words[257];
    uint64_t random = 1;
    for (size_t count = 0; count <= 257; count += count < 8 ? 1 : 31) {
        uint64_t sum = 0;
        for (size_t i = 0; i < count; i++)
            sum += words[i] = (random = random * 6364136223846793005u + 1) >> (count % 3 * 25);
        sort_words(words, count);
        for (size_t i = 0; i < count; i++) {
            sum -= words[i];
            CHECK(i == 0 || words[i - 1] <= words[i]);
        }
        CHECK_EQUAL(sum, 0);
    }
}

TEST(symbols, functions_of_the_program_have_names)
{
    CHECK_TEXT(name_at((uintptr_t)a_static_function), "a_static_function");
    CHECK_TEXT(name_at((uintptr_t)main + 3), "main");
}

TEST(symbols, functions_of_libraries_have_names)
{
    char name[200];
    snprintf(name, sizeof(name), "%s", name_at((uintptr_t)qsort));
    name[symbols_name_length(name)] = '\0';
    CHECK(strstr(name, "qsort") != NULL);
}

TEST(symbols, a_function_without_a_size_ends_at_the_next)
{
    CHECK_TEXT(name_at((uintptr_t)unsized), "unsized");
    CHECK_TEXT(name_at((uintptr_t)unsized + 7), "unsized");
    CHECK_TEXT(name_at((uintptr_t)unsized + 8), "after_unsized");
}

TEST(symbols, what_lies_behind_a_function_with_a_size_has_no_name)
{
    CHECK_TEXT(name_at((uintptr_t)two_names - 1), "(none)");
}

TEST(symbols, of_several_names_the_global_one_with_fewest_underscores_is_shown)
{
    CHECK_TEXT(name_at((uintptr_t)two_names), "two_names");
}

TEST(symbols, addresses_in_no_mapping_stay_unknown)
{
    uintptr_t addresses[3] = {0, 77, (uintptr_t) "text"};
    struct symbol_table table;
    CHECK(symbols_resolve(&table, addresses, 3, true));
    CHECK_EQUAL(table.symbol_count, 2);
    CHECK_EQUAL(symbols_find(&table, 77)->mapping, MAPPING_NONE);
    CHECK(symbols_find(&table, 77)->name == NULL);
    CHECK(symbols_find(&table, 78) == NULL);
    symbols_free(&table);
}

TEST(symbols, each_address_is_there_once_and_in_order)
{
    uintptr_t addresses[3000];
    struct symbol_table table;
    for (size_t i = 0; i < 3000; i++)
        addresses[i] = (uintptr_t)main + i * 7919 % 1000;
    CHECK(symbols_resolve(&table, addresses, 3000, true));
    CHECK_EQUAL(table.symbol_count, 1000);
    for (size_t i = 0; i < table.symbol_count; i++)
        CHECK_EQUAL(table.symbols[i].address, (uintptr_t)main + i);
    symbols_free(&table);
}

TEST(symbols, mappings_have_build_ids_and_the_program_is_first)
{
    char path[600] = "";
    uintptr_t address = (uintptr_t)main;
    struct symbol_table table;
    CHECK(symbols_resolve(&table, &address, 1, true));
    CHECK(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
    CHECK_TEXT(table.mappings[0].path, path);
    CHECK_EQUAL(table.symbols[0].mapping, 0);
    CHECK_EQUAL(table.mappings[0].build_id_bytes, 20);
    symbols_free(&table);
}

TEST(symbols, without_names_no_file_is_kept)
{
    uintptr_t address = (uintptr_t)main;
    struct symbol_table table;
    CHECK(symbols_resolve(&table, &address, 1, false));
    CHECK(table.symbols[0].name == NULL);
    CHECK_EQUAL(table.symbols[0].mapping, 0);
    CHECK_EQUAL(table.file_count, 0);
    symbols_free(&table);
}

TEST(symbols, the_kernel_s_own_code_is_read_from_memory)
{
    uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
    if (vdso == 0)
        SKIP("no vdso here");
    struct symbol_table table;
    struct elffile file;
    struct elffile_symbols symbols;
    CHECK(symbols_resolve(&table, &vdso, 1, true));
    const struct mapping *mapping = &table.mappings[table.symbols[0].mapping];
    CHECK_TEXT(mapping->path, "[vdso]");
    CHECK(mapping->build_id_bytes > 0);
    CHECK(elffile_wrap(&file, (const void *)vdso, mapping->limit - mapping->start));
    CHECK(elffile_find_symbols(&file, SHT_DYNSYM, &symbols));
    bool has_name = false;
    for (size_t i = 0; i < symbols.count; i++) {
        Elf64_Sym symbol = elffile_symbol(&symbols, i);
        if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && !has_name) {
            has_name = true;
            const char *name = name_at(vdso + symbol.st_value % 0x100000);
            CHECK(strcmp(name, "(none)") != 0);
        }
    }
    CHECK(has_name);
    symbols_free(&table);
}

TEST(symbols, a_version_is_no_part_of_a_name)
{
    CHECK_EQUAL(symbols_name_length("read@@GLIBC_2.2.5"), 4);
    CHECK_EQUAL(symbols_name_length("read"), 4);
}

static bool read_maps(struct mapping_list *list, const char *text, size_t bytes)
{
    char path[] = "/tmp/symbols_test.XXXXXX";
    int fd = mkstemp(path);
    bool done = write(fd, text, bytes) == (ssize_t)bytes && mappings_read(list, path);
    close(fd);
    unlink(path);
    return done;
}

TEST(mappings, executable_files_and_the_vdso_are_listed)
{
    static const char maps[] = "10000-20000 r--p 00000000 fe:01 12      /bin/a b\n"
                               "20000-30000 r-xp 00010000 fe:01 12      /bin/a b\n"
                               "30000-40000 rw-p 00000000 00:00 0 \n"
                               "40000-50000 rwxp 00000000 00:00 0 \n"
                               "50000-60000 r-xp 00000000 00:00 0 [vdso]\n"
                               "60000-70000 --xp 00000000 00:00 0 [vsyscall]\n"
                               "nonsense\n"
                               "70000-80000 r-xp 0000abcd fe:01 13      /lib/gone (deleted)\n";
    struct mapping_list list;
    CHECK(read_maps(&list, maps, strlen(maps)));
    CHECK_EQUAL(list.count, 3);
    CHECK_TEXT(list.mappings[0].path, "/bin/a b");
    CHECK_EQUAL(list.mappings[0].start, 0x20000);
    CHECK_EQUAL(list.mappings[0].limit, 0x30000);
    CHECK_EQUAL(list.mappings[0].file_offset, 0x10000);
    CHECK_TEXT(list.mappings[1].path, "[vdso]");
    CHECK_TEXT(list.mappings[2].path, "/lib/gone (deleted)");
    CHECK_EQUAL(list.mappings[2].limit, 0x80000);
    mappings_free(&list);
}

TEST(mappings, the_program_that_was_started_comes_first)
{
    char maps[300];
    uintptr_t entry = getauxval(AT_ENTRY);
    int length = sprintf(maps,
                         "1000-2000 r-xp 00000000 fe:01 12 /lib/first\n"
                         "2000-3000 r-xp 00000000 fe:01 12 /lib/second\n"
                         "%lx-%lx r-xp 00000000 fe:01 12 /bin/program\n",
                         entry, entry + 1);
    struct mapping_list list;
    CHECK(read_maps(&list, maps, (size_t)length));
    CHECK_EQUAL(list.count, 3);
    CHECK_TEXT(list.mappings[0].path, "/bin/program");
    CHECK_TEXT(list.mappings[1].path, "/lib/first");
    CHECK_TEXT(list.mappings[2].path, "/lib/second");
    mappings_free(&list);
}

TEST(mappings, long_lists_are_read_whole)
{
    enum { COUNT = 1000 };
    static char maps[COUNT * 100];
    size_t length = 0;
    for (unsigned i = 0; i < COUNT; i++)
        length += (size_t)sprintf(maps + length,
                                  "%x000-%x000 r-xp 00000000 fe:01 12      /lib/library.%u.so\n",
                                  2 * i + 1, 2 * i + 2, i);
    struct mapping_list list;
    CHECK(read_maps(&list, maps, length));
    CHECK_EQUAL(list.count, COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        CHECK_EQUAL(list.mappings[i].start, (2 * i + 1) * 0x1000);
    CHECK_TEXT(list.mappings[COUNT - 1].path, "/lib/library.999.so");
    mappings_free(&list);
}

TEST(mappings, a_path_that_is_too_long_is_cut)
{
    static char maps[5000];
    int length = sprintf(maps, "1000-2000 r-xp 00000000 fe:01 12 /%04000d\n", 0);
    struct mapping_list list;
    CHECK(read_maps(&list, maps, (size_t)length));
    CHECK_EQUAL(list.count, 1);
    CHECK_EQUAL(strlen(list.mappings[0].path), MAPPING_PATH_MAX - 1);
    mappings_free(&list);
}

TEST(mappings, without_a_file_the_list_is_empty)
{
    struct mapping_list list;
    CHECK(mappings_read(&list, "/nonexistent/maps"));
    CHECK_EQUAL(list.count, 0);
    mappings_free(&list);
}

/* Does with a file all that the symbol reader does; AddressSanitizer watches. */
static size_t walk_file(const unsigned char *bytes, size_t count)
{
    struct elffile file;
    struct elffile_symbols symbols;
    Elf64_Phdr segment;
    uint8_t id[BUILD_ID_BYTES_MAX];
    size_t sum = 0;
    if (!elffile_wrap(&file, bytes, count))
        return 0;
    sum += elffile_build_id(&file, id, sizeof(id));
    sum += elffile_find_segment(&file, 0x1000, 0x1000, &segment);
    for (unsigned type = SHT_SYMTAB; type <= SHT_DYNSYM; type += SHT_DYNSYM - SHT_SYMTAB) {
        if (!elffile_find_symbols(&file, type, &symbols))
            continue;
        for (size_t i = 0; i < symbols.count; i++) {
            Elf64_Sym symbol = elffile_symbol(&symbols, i);
            if (symbol.st_name < symbols.names_bytes)
                sum += strlen(symbols.names + symbol.st_name);
        }
    }
    return sum;
}

static unsigned char *read_own_file(size_t *count)
{
    struct stat status;
    int fd = open("/proc/self/exe", O_RDONLY);
    fstat(fd, &status);
    unsigned char *bytes = malloc((size_t)status.st_size);
    *count = (size_t)read(fd, bytes, (size_t)status.st_size);
    close(fd);
    return bytes;
}

TEST(elffile, a_file_cut_off_anywhere_is_read_within_its_bounds)
{
    size_t count;
    unsigned char *whole = read_own_file(&count);
    CHECK(walk_file(whole, count) > 1000);
    for (size_t cut = 0; cut < count; cut += cut < 600 ? 1 : count / 97) {
        unsigned char *part = malloc(cut + 1);
        memcpy(part + 1, whole, cut);
        walk_file(part + 1, cut);
        free(part);
    }
    free(whole);
}

TEST(elffile, a_file_of_nonsense_is_read_within_its_bounds)
{
    size_t count;
    unsigned char *whole = read_own_file(&count);
    unsigned char *kept = memcpy(malloc(count), whole, count);
    Elf64_Ehdr header;
    memcpy(&header, whole, sizeof(header));
    size_t spots[3] = {0, header.e_phoff, header.e_shoff};
    size_t lengths[3] = {sizeof(header), header.e_phnum * sizeof(Elf64_Phdr),
                         header.e_shnum * sizeof(Elf64_Shdr)};
    uint64_t random = 7;
    for (int round = 0; round < 3000; round++) {
        int which = round % 3;
        for (int i = 0; i < 4; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size_t at = spots[which] + (random >> 33) % lengths[which];
            whole[at] = (unsigned char)(random >> 24) & (random >> 60 & 1 ? 0xff : 0x0f);
        }
        walk_file(whole, count);
        for (int i = 0; i < 3; i++)
            memcpy(whole + spots[i], kept + spots[i], lengths[i]);
    }
    free(whole);
    free(kept);
}

/* A file of nothing but a header, a table of symbols, and a table of names at its very end. */
struct small_file {
    Elf64_Ehdr header;
    Elf64_Shdr sections[2];
    Elf64_Sym symbols[2];
    char names[8];
};

static struct small_file make_small_file(void)
{
    struct small_file file = {
        .header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB},
                   .e_shoff = offsetof(struct small_file, sections),
                   .e_shentsize = sizeof(Elf64_Shdr),
                   .e_shnum = 2},
        .sections = {{.sh_type = SHT_SYMTAB,
                      .sh_offset = offsetof(struct small_file, symbols),
                      .sh_size = sizeof(file.symbols),
                      .sh_entsize = sizeof(Elf64_Sym),
                      .sh_link = 1},
                     {.sh_type = SHT_STRTAB,
                      .sh_offset = offsetof(struct small_file, names),
                      .sh_size = sizeof(file.names)}},
        .symbols = {{.st_name = 0}, {.st_name = 4}},
        .names = "one\0two",
    };
    return file;
}

static bool find_small(const struct small_file *small, struct elffile_symbols *symbols)
{
    static struct small_file copy;
    struct elffile file;
    copy = *small;
    return elffile_wrap(&file, &copy, sizeof(copy)) &&
           elffile_find_symbols(&file, SHT_SYMTAB, symbols);
}

TEST(elffile, names_that_do_not_end_are_left_out)
{
    struct small_file small = make_small_file();
    struct elffile_symbols symbols;
    CHECK(find_small(&small, &symbols));
    CHECK_EQUAL(symbols.count, 2);
    CHECK_EQUAL(symbols.names_bytes, 8);
    CHECK_TEXT(symbols.names + elffile_symbol(&symbols, 1).st_name, "two");
    small.names[7] = 'x';
    CHECK(find_small(&small, &symbols));
    CHECK_EQUAL(symbols.names_bytes, 4);
}

TEST(elffile, places_outside_the_file_are_refused_however_large)
{
    struct small_file small = make_small_file();
    struct elffile_symbols symbols;
    small.sections[0].sh_offset = UINT64_MAX - sizeof(Elf64_Sym) + 1;
    CHECK(!find_small(&small, &symbols));
    small = make_small_file();
    small.sections[1].sh_size = UINT64_MAX - 8;
    CHECK(!find_small(&small, &symbols));
    small = make_small_file();
    small.header.e_shoff = UINT64_MAX - 16;
    CHECK(!find_small(&small, &symbols));
    small = make_small_file();
    small.header.e_shnum = 0;
    small.sections[0].sh_size = UINT64_MAX;
    CHECK(!find_small(&small, &symbols));
    small = make_small_file();
    small.sections[0].sh_link = 1u << 31;
    CHECK(!find_small(&small, &symbols));
}

TEST(elffile, nothing_but_regular_elf_files_is_opened)
{
    struct elffile file;
    char fifo[64];
    sprintf(fifo, "/tmp/symbols_test.%d", getpid());
    CHECK(!elffile_open(&file, "/dev/null"));
    CHECK(!elffile_open(&file, "/tmp"));
    CHECK(!elffile_open(&file, "/nonexistent"));
    CHECK(!elffile_open(&file, "/etc/passwd"));
    CHECK_EQUAL(mkfifo(fifo, 0600), 0);
    CHECK(!elffile_open(&file, fifo));
    unlink(fifo);
}
