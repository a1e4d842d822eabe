#include "report/frames.h"

#include <string.h>

#include "base/os.h"

/* Our entry points are looked for in so many of the innermost frames. */
enum { OWN_FRAMES_MAX = 8 };

/* Matched against demangled names without parameters, or mangled ones where nothing demangles. */
const char frames_entry_pattern[] =
    "malloc|calloc|realloc|reallocarray|posix_memalign|aligned_alloc|memalign|valloc|pvalloc|"
    "hpm_.*|operator new.*|_Zn[wa].*";

bool frames_is_entry_point(const char *name)
{
    static const char *const names[] = {"malloc",       "calloc",         "realloc",
                                        "reallocarray", "posix_memalign", "aligned_alloc",
                                        "memalign",     "valloc",         "pvalloc"};
    size_t length = symbols_name_length(name);
    for (size_t i = 0; i < array_count(names); i++) {
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0)
            return true;
    }
    return strncmp(name, "hpm_", 4) == 0 || strncmp(name, "_Znw", 4) == 0 ||
           strncmp(name, "_Zna", 4) == 0;
}

size_t frames_own_count(const struct stack *stack, const struct symbol_table *table)
{
    size_t own = 0;
    for (size_t i = 0; i < OWN_FRAMES_MAX && i + 1 < stack->depth; i++) {
        const struct symbol *symbol = symbols_find(table, frames_call_address(stack->frames[i]));
        if (symbol != NULL && symbol->name != NULL && frames_is_entry_point(symbol->name))
            own = i + 1;
    }
    return own;
}

/* The sizes allocated at one stack often lie side by side: it is taken once. */
static const struct stack *next_stack(const struct snapshot *snapshot, size_t row)
{
    const struct stack *stack = snapshot->rows[row].stack;
    return row > 0 && snapshot->rows[row - 1].stack == stack ? NULL : stack;
}

static size_t count_frames(const struct snapshot *snapshot)
{
    size_t count = 0;
    for (size_t row = 0; row < snapshot->row_count; row++) {
        const struct stack *stack = next_stack(snapshot, row);
        count += stack != NULL ? stack->depth : 0;
    }
    return count;
}

static void collect_frames(const struct snapshot *snapshot, uintptr_t *addresses)
{
    for (size_t row = 0; row < snapshot->row_count; row++) {
        const struct stack *stack = next_stack(snapshot, row);
        for (size_t i = 0; stack != NULL && i < stack->depth; i++)
            *addresses++ = frames_call_address(stack->frames[i]);
    }
}

bool frames_resolve(struct symbol_table *table, const struct snapshot *snapshot, bool want_names)
{
    size_t count = count_frames(snapshot);
    size_t bytes = max_size(count, 1) * sizeof(uintptr_t);
    uintptr_t *addresses = os_map(bytes);
    if (addresses == NULL) {
        memset(table, 0, sizeof(*table));
        return false;
    }
    collect_frames(snapshot, addresses);
    bool done = symbols_resolve(table, addresses, count, want_names);
    os_unmap(addresses, bytes);
    return done;
}
