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

/* Returns how many frames were stored; *is_truncated tells that there were more. */
size_t unwind_walk(uintptr_t *frames, size_t max, bool *is_truncated);

void unwind_set_own_code(const void *start, const void *limit);

/* At start, before other threads allocate. May take the loader's lock: called by the constructor. */
void unwind_init(void);

/* "cfi" or "libunwind". */
const char *unwind_method(void);

#endif
