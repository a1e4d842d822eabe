#include "report/frames.h"

#include <string.h>

#include "base/os.h"
#include "report/output.h"

/* Our entry points are looked for in so many of the innermost frames. */
enum { OWN_FRAMES_MAX = 8 };

/* What was found for addresses, each at the place of its hash until another takes it. */
enum { PLACE_BITS = 12 };
static struct place {
    uintptr_t address;
    const struct symbol *symbol;
    bool is_looked_up; // else only the address is known
    bool is_own;       // of one of our entry points
} places[1 << PLACE_BITS];

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

static struct place *place_of(uintptr_t address)
{
    return &places[(address * 0x9e3779b97f4a7c15u) >> (64 - PLACE_BITS)];
}

static const struct place *find_place(const struct symbol_table *table, uintptr_t return_address)
{
    uintptr_t address = frames_call_address(return_address);
    struct place *place = place_of(address);
    if (place->address != address || !place->is_looked_up) {
        const struct symbol *symbol = symbols_find(table, address);
        bool is_own = symbol != NULL && symbol->name != NULL && frames_is_entry_point(symbol->name);
        *place = (struct place){address, symbol, true, is_own};
    }
    return place;
}

const struct symbol *frames_find(const struct symbol_table *table, uintptr_t return_address)
{
    return find_place(table, return_address)->symbol;
}

size_t frames_own_count(const struct stack *stack, const struct symbol_table *table)
{
    size_t own = 0;
    for (size_t i = 0; i < OWN_FRAMES_MAX && i + 1 < stack->depth; i++) {
        if (find_place(table, stack->frames[i])->is_own)
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

/* Leaves out most repeats; returns how many addresses there are. */
static size_t collect_frames(const struct snapshot *snapshot, uintptr_t *addresses)
{
    size_t count = 0;
    memset(places, 0, sizeof(places));
    for (size_t row = 0; row < snapshot->row_count; row++) {
        const struct stack *stack = next_stack(snapshot, row);
        for (size_t i = 0; stack != NULL && i < stack->depth; i++) {
            uintptr_t address = frames_call_address(stack->frames[i]);
            struct place *place = place_of(address);
            if (place->address != address)
                addresses[count++] = place->address = address;
        }
    }
    return count;
}

bool frames_resolve(struct symbol_table *table, const struct snapshot *snapshot, bool want_names)
{
    size_t count = count_frames(snapshot);
    size_t bytes = max_size(count, 1) * sizeof(uintptr_t);
    uintptr_t *addresses = os_map_whole(bytes);
    if (addresses == NULL) {
        memset(table, 0, sizeof(*table));
        return false;
    }
    count = collect_frames(snapshot, addresses);
    bool done = symbols_resolve(table, addresses, count, want_names);
    os_unmap(addresses, bytes);
    return done;
}

void frames_put_line(struct output *output, const struct symbol_table *table,
                     const struct symbol *symbol, uintptr_t address)
{
    output_text(output, "        ");
    if (symbol != NULL && symbol->name != NULL) {
        output_write(output, symbol->name, symbols_name_length(symbol->name));
        output_text(output, "+0x");
        output_hex(output, address - symbol->start, 1);
        output_text(output, "\n");
    } else if (symbol != NULL && symbol->mapping != MAPPING_NONE) {
        const struct mapping *mapping = &table->mappings[symbol->mapping];
        output_print(output, "0x%lx (%.900s+0x%lx)\n", address, mapping->path,
                     address - mapping->start + mapping->file_offset);
    } else {
        output_print(output, "0x%lx\n", address);
    }
}

bool frames_write_names(int fd, const struct symbol_table *table)
{
    static struct output output;
    output_begin(&output, fd);
    output_text(&output, "num_symbols: 1\n");
    for (size_t i = 0; i < table->symbol_count; i++) {
        const struct symbol *symbol = &table->symbols[i];
        if (symbol->name == NULL)
            continue;
        output_text(&output, "0x");
        output_hex(&output, symbol->address, 1);
        output_text(&output, " ");
        output_write(&output, symbol->name, symbols_name_length(symbol->name));
        output_text(&output, "\n");
    }
    return output_finish(&output);
}
