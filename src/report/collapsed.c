#include "report/collapsed.h"

#include <errno.h>
#include <string.h>

#include "report/frames.h"
#include "report/output.h"
#include "report/rows.h"

static struct {
    struct output output;
    const struct symbol_table *table;
} collapsed;

/* Readers take `;` for the end of a frame, and the last blank of a line for that of the stack. */
static void put_name(const char *name, size_t length)
{
    static const bool is_special[256] = {[0 ... ' '] = true, [';'] = true, ['\x7f'] = true};
    for (size_t at = 0, plain; at < length; at += plain) {
        for (plain = 0; at + plain < length && !is_special[(unsigned char)name[at + plain]];)
            plain++;
        output_write(&collapsed.output, name + at, plain);
        if (at + plain < length)
            output_text(&collapsed.output, name[at + plain++] == ';' ? ":" : "_");
    }
}

static void put_address(uintptr_t address)
{
    output_text(&collapsed.output, "0x");
    output_hex(&collapsed.output, address, 1);
}

static void put_place(const struct mapping *mapping, uintptr_t address)
{
    const char *slash = strrchr(mapping->path, '/');
    const char *name = slash != NULL ? slash + 1 : mapping->path;
    put_name(name, strlen(name));
    output_text(&collapsed.output, "+");
    put_address(address - mapping->start + mapping->file_offset);
}

static void put_frame(uintptr_t return_address)
{
    uintptr_t address = frames_call_address(return_address);
    const struct symbol *symbol = frames_find(collapsed.table, return_address);
    if (symbol != NULL && symbol->name != NULL)
        put_name(symbol->name, symbols_name_length(symbol->name));
    else if (symbol != NULL && symbol->mapping != MAPPING_NONE)
        put_place(&collapsed.table->mappings[symbol->mapping], address);
    else
        put_address(address);
}

static void put_stack(const struct stack *stack)
{
    if (stack == NULL || stack->depth == 0) {
        output_text(&collapsed.output, FRAME_OTHER);
        return;
    }
    if (stack->end != STACK_WHOLE)
        output_text(&collapsed.output, FRAME_TRUNCATED ";");
    size_t innermost = frames_own_count(stack, collapsed.table);
    for (size_t i = stack->depth; i-- > innermost;) {
        put_frame(stack->frames[i]);
        if (i > innermost)
            output_text(&collapsed.output, ";");
    }
}

static void put_rows(const struct row_set *set, const struct row_order *order, unsigned profile)
{
    for (size_t i = 0; i < order->count; i++) {
        const struct profile_row *row = &set->rows[order->indices[i]];
        double value = rows_estimate(row, profile)->bytes;
        if (value < 0.5)
            continue;
        put_stack(row->stack);
        output_text(&collapsed.output, " ");
        output_decimal(&collapsed.output, (uint64_t)(value + 0.5));
        output_text(&collapsed.output, "\n");
    }
}

bool collapsed_write(int fd, const struct snapshot *snapshot, const struct symbol_table *table,
                     unsigned profile)
{
    static struct row_set set;
    static struct row_order order;
    bool done = false;
    collapsed.table = table;
    errno = ENOMEM;
    if (rows_merge(&set, snapshot)) {
        if (rows_sort(&order, set.rows, set.count, profile)) {
            output_begin(&collapsed.output, fd);
            put_rows(&set, &order, profile);
            done = output_finish(&collapsed.output);
            rows_sort_free(&order);
        }
        rows_merge_free(&set);
    }
    return done;
}
