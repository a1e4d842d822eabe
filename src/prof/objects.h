/* The loaded objects: which file's code an address is in, and where its unwind table lies.
 *
 *   unwind_cache  --address-->  objects  <--segments-- the loader, at start
 *                                        <--/proc/self/maps, later
 *
 * What is loaded when the library starts is there until something is unloaded, so its tables are read
 * where they are until then. What comes later may go again at any time: of such a file we map a copy of our own, which no dlclose
 * takes away. It is found when an address in no known object turns up, without the loader's lock,
 * which an allocation must never wait for.
 *
 * Lock: callers hold unwind_cache's.
 * Signal: async-signal-safe. */
#ifndef HPM_PROF_OBJECTS_H
#define HPM_PROF_OBJECTS_H

#include "base/base.h"

/* Addresses are as the program sees them; `delta` added to one of an unwind table gives where its
 * bytes can be read. */
struct loaded_object {
    uintptr_t start, limit; // code
    uintptr_t table;        // .eh_frame_hdr; 0: none
    uintptr_t frames;       // .eh_frame, of a program without .eh_frame_hdr; 0: none
    uintptr_t readable_start, readable_limit; // what may be read around these
    ptrdiff_t delta;

    /* A file of our own mapping; NULL for what was there at the start. */
    const void *copy;
    size_t copy_bytes;
    uint64_t identity; // of its path and place: another file may come where one was
    bool is_present; // seen in the newest look at /proc/self/maps
    bool stays;      // for good: the program itself, and what is in no file
    bool is_constant; // nobody writes to the table's segment: its pages are the file's

    uintptr_t read_start, read_limit; // of its tables, since objects_forget_tables; 0: nothing
};

/* At start, before other threads allocate. May take the loader's lock: called by the constructor. */
void objects_init(void);

/* Before an object is unloaded: it may be one that an earlier constructor opened. What was there at
 * the start is found anew from then on, like what came later. */
void objects_distrust_start(void);

/* The object whose code holds the address, or NULL. */
struct loaded_object *objects_find(uintptr_t address);

/* Takes what was read of the tables out of memory. Where one byte is read the kernel maps 64 KiB and
 * more, which would be a tenth of a small program. */
void objects_forget_tables(void);

/* Rises when objects were found that came later than the start. Lock: none. */
uint32_t objects_generation(void);

/* Looks what was loaded and unloaded since. False: it did so in vain too recently, and is not to do
 * it `at_once`. */
bool objects_refresh(bool at_once);

#endif
