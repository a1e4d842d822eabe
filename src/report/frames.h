/* From return addresses to what a reader of a profile wants to see of them.
 *
 *   pprof, text, dump  --snapshot-->  frames  --addresses-->  symbols
 *
 * Signal: async-signal-safe. */
#ifndef HPM_REPORT_FRAMES_H
#define HPM_REPORT_FRAMES_H

#include "base/base.h"
#include "prof/profile.h"
#include "prof/symbols.h"

/* What is shown for samples without a stack of their own, and as the root of one that was cut. */
#define FRAME_OTHER     "[other]"
#define FRAME_TRUNCATED "[truncated]"

/* An address inside the call that returns here: the one after it may be another function's. */
HPM_INLINE uintptr_t frames_call_address(uintptr_t return_address)
{
    return return_address - 1;
}

/* Resolves the call addresses of all stacks. False: no memory. */
bool frames_resolve(struct symbol_table *table, const struct snapshot *snapshot, bool want_names);

/* The symbol of the call that returns here, or NULL. Calls that were asked for not long ago are
 * remembered: most frames are in many stacks. The memory lasts until the next frames_resolve. */
const struct symbol *frames_find(const struct symbol_table *table, uintptr_t return_address);

/* An address in a line of its own, indented: the function that the symbol, if there is one, names,
 * or the place in its file. */
struct output;
void frames_put_line(struct output *output, const struct symbol_table *table,
                     const struct symbol *symbol, uintptr_t address);

/* The same functions as a pattern for readers that cut them off, and as a question. */
extern const char frames_entry_pattern[];
bool frames_is_entry_point(const char *name);

/* How many of the innermost frames are the allocator's own; at least one is left. */
size_t frames_own_count(const struct stack *stack, const struct symbol_table *table);

/* Each address of the table whose function is known, as text for `go tool pprof`. False: a write
 * failed; errno says how. Lock: none of its own: callers serialize (the dump does). */
bool frames_write_names(int fd, const struct symbol_table *table);

#endif
