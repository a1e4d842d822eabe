/* A snapshot as lines `root;...;leaf value`, which flame graphs are made of: bytes by stack.
 *
 *   dump  --snapshot, symbols-->  collapsed  --text-->  output
 *
 * Frames are functions as the linker knows them, else file+0xoffset, else 0xaddress, of an address
 * inside the call. In names, `;` becomes `:` and blanks become `_`.
 *
 * Lock:   none of its own: callers serialize (the dump does).
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_COLLAPSED_H
#define HPM_REPORT_COLLAPSED_H

#include "base/base.h"
#include "prof/profile.h"
#include "prof/symbols.h"

/* `profile` (DUMP_PROFILE_) decides what the values are; stacks without any are left out. False: a
 * write failed, or no memory; errno says which. */
bool collapsed_write(int fd, const struct snapshot *snapshot, const struct symbol_table *table,
                     unsigned profile);

#endif
