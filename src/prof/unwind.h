/* The calling thread's stack, as return addresses, innermost first.
 *
 * Frames of the allocator itself are left out: those whose return address lies in the range given
 * to unwind_set_own_code.
 * Fails:  a step that cannot be made ends the stack, never the program: every word is read only
 *         from memory known to be readable.
 * Signal: async-signal-safe; takes no lock, allocates nothing (with libunwind: as libunwind). */
#ifndef HPM_PROF_UNWIND_H
#define HPM_PROF_UNWIND_H

#include "base/base.h"

/* Why a walk ended. Past the last frame it found, there are more, but for STACK_WHOLE. */
enum stack_end {
    STACK_WHOLE,      // it came to the thread's first frame
    STACK_TOO_DEEP,   // there was no room for more
    STACK_NO_RULE,    // no unwind data for the last frame's code, and no frame pointer to go by
    STACK_UNREADABLE, // the data led to what is no stack
    STACK_ENDS
};

/* Returns how many frames were stored. */
size_t unwind_walk(uintptr_t *frames, size_t max, enum stack_end *end);

void unwind_set_own_code(const void *start, const void *limit);

/* At start, before other threads allocate. May take the loader's lock: called by the constructor. */
void unwind_init(void);

/* "cfi" or "libunwind". */
const char *unwind_method(void);

#endif
