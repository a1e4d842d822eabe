/* What a program or library is, as far as running under hpmalloc and naming its stacks go.
 *
 *   elffile  -->  binary  -->  doctor
 */
#ifndef HPPROF_BINARY_H
#define HPPROF_BINARY_H

#include <stdbool.h>
#include <stdint.h>

enum binary_kind {
    BINARY_NONE,    // no ELF file, or none that can be read
    BINARY_FOREIGN, // of another class than this machine's
    BINARY_ELF,
};

enum libc_kind { LIBC_UNKNOWN, LIBC_GNU, LIBC_MUSL };

struct binary {
    enum binary_kind kind;
    uint16_t machine; // EM_
    enum libc_kind libc;
    bool has_interpreter; // the loader's; a program without one is linked statically
    bool has_unwind_data; // .eh_frame, for more than what the compiler's own start files have
    bool has_symbols;     // .symtab: not stripped
    bool has_debug;       // .debug_info
    bool defines_malloc;  // by a name that the loader, or the linker, found first
    bool holds_hpmalloc;  // linked with the static library, and in use; or the library itself
    bool is_go;
    char build_id[65]; // hexadecimal digits, or ""
};

/* False: kind is BINARY_NONE or BINARY_FOREIGN, and nothing else is known. */
bool binary_read(struct binary *binary, const char *path);

/* Whether it is linked with a library whose name begins like this. */
bool binary_is_linked_with(const char *path, const char *library);

/* Where distributions put what was stripped from it is a file. */
bool binary_has_debug_file(const struct binary *binary);

#endif
