/* What is mapped: the executable segments of loaded files, read from /proc/self/maps.
 *
 * Signal: async-signal-safe; pages straight from os. */
#ifndef HPM_PROF_MAPPINGS_H
#define HPM_PROF_MAPPINGS_H

#include "base/base.h"

enum { BUILD_ID_BYTES_MAX = 32, MAPPING_PATH_MAX = 1024 };

/* An executable segment of a loaded file, or the kernel's `[vdso]`. */
struct mapping {
    uintptr_t start, limit;
    uint64_t file_offset;
    bool is_named;          // names were found for all addresses that were asked for in it
    uint8_t build_id_bytes; // 0: none
    uint8_t build_id[BUILD_ID_BYTES_MAX];
    char path[MAPPING_PATH_MAX]; // as the kernel writes it; cut when longer
};

struct mapping_list {
    struct mapping *mappings; // the main program's first, then by address
    size_t count;
    size_t mapped_bytes; // of mappings
};

/* Reads a file in the form of /proc/self/maps; names and build ids are left for the caller to find.
 * A file that cannot be read makes an empty list. False: no memory; the list may be freed. */
bool mappings_read(struct mapping_list *list, const char *maps_path);
void mappings_free(struct mapping_list *list);

#endif
