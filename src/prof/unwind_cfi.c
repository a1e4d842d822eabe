#include "prof/unwind_cfi.h"

#include "prof/unwind_reader.h"

#if defined(__x86_64__)
enum { REG_FP = 6, REG_SP = 7, REGISTERS = 16, REG_PC = 16, HAS_LINK = false };
#else
/* There is no program counter among the numbers: that of a register which is none. */
enum { REG_FP = 29, REG_SP = 31, REGISTERS = 31, REG_PC = 32, HAS_LINK = true };
#endif

enum { ENCODING_OMIT = 0xff, REMEMBERED_MAX = 8 };

enum rule_kind { RULE_SAME, RULE_UNDEFINED, RULE_AT_CFA, RULE_EXPRESSION, RULE_OTHER };

struct rule {
    enum rule_kind kind;
    int64_t offset;
};

struct row {
    bool cfa_is_expression;
    uint64_t cfa_register;
    int64_t cfa_offset; // of an expression: the base register's offset; it is then read,
    uint64_t cfa_added; // and this added
    struct rule fp, ra, wanted;
};

struct unit { // what a CIE says
    uint64_t code_factor;
    int64_t data_factor;
    uint64_t ra_register;
    uint8_t address_encoding;
    bool has_augmentation, is_signal;
    uintptr_t program, program_limit;
};

struct machine {
    struct row row, initial, remembered[REMEMBERED_MAX];
    unsigned remembered_count;
    uintptr_t location;
    uintptr_t address; // which the row is wanted for
    uint64_t wanted;   // a register that is wanted beside those a step needs
    const struct unit *unit;
};

static void note_read(struct loaded_object *object, uintptr_t start, uintptr_t limit)
{
    if (object->read_limit == 0 || start < object->read_start)
        object->read_start = start;
    if (limit > object->read_limit)
        object->read_limit = limit;
}

enum { TABLE_ENTRY_BYTES = 8, TABLE_ENCODING = 0x3b };

static int32_t table_entry(struct loaded_object *object, uintptr_t entries, size_t index,
                           int32_t *where)
{
    struct reader reader = reader_from(object, entries + index * TABLE_ENTRY_BYTES);
    int32_t location = reader_s32(&reader);
    *where = reader_s32(&reader);
    return location;
}

/* Where the table's last entry at or before the address leads; 0 when there is none. */
static uintptr_t find_fde(struct loaded_object *object, uintptr_t address)
{
    struct reader reader = reader_from(object, object->table);
    uint8_t version = reader_u8(&reader);
    uint8_t frame_encoding = reader_u8(&reader);
    uint8_t count_encoding = reader_u8(&reader);
    uint8_t table_encoding = reader_u8(&reader);
    if (version != 1 || table_encoding != TABLE_ENCODING || count_encoding == ENCODING_OMIT)
        return 0;
    if (frame_encoding != ENCODING_OMIT)
        reader_pointer(&reader, frame_encoding);
    size_t count = (size_t)reader_pointer(&reader, count_encoding);
    if (reader.is_broken || count > (reader.limit - reader.at) / TABLE_ENTRY_BYTES)
        return 0;
    note_read(object, object->table, reader.at + count * TABLE_ENTRY_BYTES);
    int64_t wanted = (int64_t)(address - object->table);
    size_t low = 0, high = count;
    int32_t where;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (table_entry(object, reader.at, middle, &where) <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return 0;
    table_entry(object, reader.at, low - 1, &where);
    return object->table + (uintptr_t)(intptr_t)where;
}

/* Reads a record's length and returns a reader of its bytes. */
static struct reader open_record(struct loaded_object *object, uintptr_t at)
{
    struct reader reader = reader_from(object, at);
    uint64_t length = reader_u32(&reader);
    if (length == 0xffffffff)
        length = reader_u64(&reader);
    reader.is_broken |= length == 0 || length > reader.limit - reader.at;
    reader.limit = reader.at + length;
    if (!reader.is_broken)
        note_read(object, at, reader.limit);
    return reader;
}

static void read_augmentation(struct reader *reader, const char *text, struct unit *unit)
{
    uint64_t bytes = reader_uleb(reader);
    uintptr_t end = reader->at + bytes;
    if (bytes > reader->limit - reader->at)
        reader->is_broken = true;
    for (; *text != '\0' && !reader->is_broken; text++) {
        if (*text == 'R')
            unit->address_encoding = reader_u8(reader);
        else if (*text == 'L')
            reader_u8(reader);
        else if (*text == 'P')
            reader_pointer(reader, reader_u8(reader) & 0x7f);
        else if (*text == 'S')
            unit->is_signal = true;
        else if (*text != 'B')
            break;
    }
    reader->at = end;
}

static bool read_cie(struct loaded_object *object, uintptr_t at, struct unit *unit)
{
    struct reader reader = open_record(object, at);
    uint32_t id = reader_u32(&reader);
    uint8_t version = reader_u8(&reader);
    char augmentation[8];
    size_t length = 0;
    do {
        augmentation[length] = (char)reader_u8(&reader);
    } while (augmentation[length] != '\0' && ++length < sizeof(augmentation) - 1);
    augmentation[length] = '\0';
    *unit = (struct unit){.code_factor = reader_uleb(&reader)};
    unit->data_factor = reader_sleb(&reader);
    unit->ra_register = version == 1 ? reader_u8(&reader) : reader_uleb(&reader);
    if (augmentation[0] == 'z') {
        unit->has_augmentation = true;
        read_augmentation(&reader, augmentation + 1, unit);
    }
    unit->program = reader.at;
    unit->program_limit = reader.limit;
    return !reader.is_broken && id == 0 && (version == 1 || version == 3) &&
           (augmentation[0] == '\0' || augmentation[0] == 'z');
}

static struct rule *rule_of(const struct machine *machine, struct row *row, uint64_t number)
{
    static struct rule ignored;
    if (number == REG_FP)
        return &row->fp;
    if (number == machine->unit->ra_register)
        return &row->ra;
    return number == machine->wanted ? &row->wanted : &ignored;
}

static void set_rule(struct machine *machine, uint64_t number, enum rule_kind kind, int64_t offset)
{
    *rule_of(machine, &machine->row, number) = (struct rule){kind, offset};
}

static void restore_rule(struct machine *machine, uint64_t number)
{
    *rule_of(machine, &machine->row, number) = *rule_of(machine, &machine->initial, number);
}

/* DW_OP_breg0 + n with an offset; with `added`, also a DW_OP_deref behind it, and what a
 * DW_OP_plus_uconst adds: a frame address that was put on the stack, which is all that compilers
 * and writers of assembly use it for. Returns false for any other expression. */
static bool read_expression(struct reader *reader, uint64_t *base, int64_t *offset, uint64_t *added)
{
    uint64_t length = reader_uleb(reader);
    if (reader->is_broken || length > reader->limit - reader->at) {
        reader->is_broken = true;
        return false;
    }
    uintptr_t end = reader->at + length;
    uint8_t operation = reader_u8(reader);
    *base = operation - 0x70u;
    *offset = reader_sleb(reader);
    bool is_plain = operation >= 0x70 && operation <= 0x8f && reader->at <= end;
    if (is_plain && added != NULL) {
        is_plain = reader->at < end && reader_u8(reader) == 0x06;
        *added = 0;
        if (is_plain && reader->at < end) {
            is_plain = reader_u8(reader) == 0x23;
            *added = reader_uleb(reader);
        }
    }
    is_plain = is_plain && reader->at == end;
    reader->at = end;
    return is_plain;
}

struct values {
    uint64_t numbers[8]; // the first is relative to the stack pointer
    size_t count;
};

/* To the first number others may be added, nothing else. */
static bool run_arithmetic(struct values *stack, uint8_t operation)
{
    if (stack->count < 2 || (stack->count == 2 && operation != 0x22))
        return false;
    uint64_t right = stack->numbers[--stack->count], *left = &stack->numbers[stack->count - 1];
    if (operation == 0x22) // DW_OP_plus
        *left += right;
    else if (operation == 0x1a) // DW_OP_and
        *left &= right;
    else if (operation == 0x24) // DW_OP_shl
        *left = right < 64 ? *left << right : 0;
    else if (operation == 0x2a) // DW_OP_ge
        *left = (int64_t)*left >= (int64_t)right;
    else
        return false;
    return true;
}

/* What linkers write for their table of calls (.plt): the frame is 8 or 16 above the stack pointer,
 * by the place in an entry. The code's address is known here, so it comes to a plain offset. */
static bool evaluate(struct reader reader, uintptr_t address, int64_t *offset)
{
    uint64_t length = reader_uleb(&reader);
    uintptr_t end = reader.at + length;
    if (length > reader.limit - reader.at || reader_u8(&reader) != 0x70 + REG_SP)
        return false;
    struct values stack = {.numbers = {(uint64_t)reader_sleb(&reader)}, .count = 1};
    while (reader.at < end && stack.count < array_count(stack.numbers)) {
        uint8_t operation = reader_u8(&reader);
        if (operation >= 0x30 && operation <= 0x4f) // DW_OP_lit0 and so on
            stack.numbers[stack.count++] = operation - 0x30u;
        else if (operation == 0x70 + REG_PC)
            stack.numbers[stack.count++] = address + (uint64_t)reader_sleb(&reader);
        else if (!run_arithmetic(&stack, operation))
            return false;
    }
    *offset = (int64_t)stack.numbers[0];
    return !reader.is_broken && reader.at == end && stack.count == 1;
}

static void define_cfa(struct machine *machine, uint64_t number, int64_t offset)
{
    machine->row.cfa_is_expression = false;
    machine->row.cfa_register = number;
    machine->row.cfa_offset = offset;
}

static void define_cfa_expression(struct machine *machine, struct reader *reader)
{
    struct row *row = &machine->row;
    int64_t offset;
    bool is_offset = evaluate(*reader, machine->address, &offset);
    row->cfa_is_expression = true;
    if (!read_expression(reader, &row->cfa_register, &row->cfa_offset, &row->cfa_added))
        row->cfa_register = UINT64_MAX;
    if (is_offset)
        define_cfa(machine, REG_SP, offset);
}

/* A saved register's place (not its value) relative to the frame pointer is understood. */
static void define_expression(struct machine *machine, struct reader *reader, bool is_place)
{
    uint64_t number = reader_uleb(reader), base;
    int64_t offset;
    bool is_plain = read_expression(reader, &base, &offset, NULL);
    set_rule(machine, number, is_plain && is_place && base == REG_FP ? RULE_EXPRESSION : RULE_OTHER,
             offset);
}

static void remember(struct machine *machine, struct reader *reader)
{
    if (machine->remembered_count == REMEMBERED_MAX)
        reader->is_broken = true;
    else
        machine->remembered[machine->remembered_count++] = machine->row;
}

static void recall(struct machine *machine, struct reader *reader)
{
    if (machine->remembered_count == 0)
        reader->is_broken = true;
    else
        machine->row = machine->remembered[--machine->remembered_count];
}

/* Wraps, as a table that nobody vouches for may ask for any product. */
static int64_t scale(uint64_t number, int64_t factor)
{
    return (int64_t)(number * (uint64_t)factor);
}

static void run_register_operation(struct machine *machine, struct reader *reader, uint8_t code)
{
    int64_t factor = machine->unit->data_factor;
    uint64_t number = reader_uleb(reader);
    switch (code) {
    case 0x05: // DW_CFA_offset_extended
        set_rule(machine, number, RULE_AT_CFA, scale(reader_uleb(reader), factor));
        break;
    case 0x06: // DW_CFA_restore_extended
        restore_rule(machine, number);
        break;
    case 0x07: // DW_CFA_undefined
        set_rule(machine, number, RULE_UNDEFINED, 0);
        break;
    case 0x08: // DW_CFA_same_value
        set_rule(machine, number, RULE_SAME, 0);
        break;
    case 0x11: // DW_CFA_offset_extended_sf
        set_rule(machine, number, RULE_AT_CFA, scale((uint64_t)reader_sleb(reader), factor));
        break;
    case 0x2f: // DW_CFA_GNU_negative_offset_extended
        set_rule(machine, number, RULE_AT_CFA, -scale(reader_uleb(reader), factor));
        break;
    default: // DW_CFA_register, DW_CFA_val_offset and val_offset_sf: one more number
        reader_uleb(reader);
        set_rule(machine, number, RULE_OTHER, 0);
    }
}

static void run_cfa_operation(struct machine *machine, struct reader *reader, uint8_t code)
{
    int64_t factor = machine->unit->data_factor;
    uint64_t number;
    switch (code) {
    case 0x0c: // DW_CFA_def_cfa
        number = reader_uleb(reader);
        define_cfa(machine, number, (int64_t)reader_uleb(reader));
        break;
    case 0x0d: // DW_CFA_def_cfa_register
        define_cfa(machine, reader_uleb(reader), machine->row.cfa_offset);
        break;
    case 0x0e: // DW_CFA_def_cfa_offset
        machine->row.cfa_offset = (int64_t)reader_uleb(reader);
        break;
    case 0x0f: // DW_CFA_def_cfa_expression
        define_cfa_expression(machine, reader);
        break;
    case 0x12: // DW_CFA_def_cfa_sf
        number = reader_uleb(reader);
        define_cfa(machine, number, scale((uint64_t)reader_sleb(reader), factor));
        break;
    default: // 0x13 DW_CFA_def_cfa_offset_sf
        machine->row.cfa_offset = scale((uint64_t)reader_sleb(reader), factor);
    }
}

static void run_extended(struct machine *machine, struct reader *reader, uint8_t code)
{
    switch (code) {
    case 0x00: // DW_CFA_nop
    case 0x2d: // DW_CFA_AARCH64_negate_ra_state
        break;
    case 0x01: // DW_CFA_set_loc
        machine->location = reader_pointer(reader, machine->unit->address_encoding);
        break;
    case 0x0a: // DW_CFA_remember_state
        remember(machine, reader);
        break;
    case 0x0b: // DW_CFA_restore_state
        recall(machine, reader);
        break;
    case 0x0c ... 0x0f:
    case 0x12 ... 0x13:
        run_cfa_operation(machine, reader, code);
        break;
    case 0x10: // DW_CFA_expression
    case 0x16: // DW_CFA_val_expression
        define_expression(machine, reader, code == 0x10);
        break;
    case 0x05 ... 0x09:
    case 0x11:
    case 0x14 ... 0x15:
    case 0x2f:
        run_register_operation(machine, reader, code);
        break;
    case 0x2e: // DW_CFA_GNU_args_size
        reader_uleb(reader);
        break;
    default:
        reader->is_broken = true;
    }
}

/* How far an operation moves the location; 0 for one that does not. */
static bool read_advance(struct reader *reader, uint8_t code, uint64_t *advance)
{
    if (code >> 6 == 1)
        *advance = code & 0x3f;
    else if (code == 0x02)
        *advance = reader_u8(reader);
    else if (code == 0x03)
        *advance = reader_u16(reader);
    else if (code == 0x04)
        *advance = reader_u32(reader);
    else
        return false;
    return true;
}

/* Runs a program until it has passed the address. */
static bool run_program(struct machine *machine, struct reader *reader, uintptr_t address)
{
    uint64_t advance;
    while (reader->at < reader->limit && !reader->is_broken && machine->location <= address) {
        uint8_t code = reader_u8(reader);
        if (read_advance(reader, code, &advance)) {
            if (address - machine->location < advance * machine->unit->code_factor)
                break;
            machine->location += advance * machine->unit->code_factor;
        } else if (code >> 6 == 2) {
            set_rule(machine, code & 0x3f, RULE_AT_CFA,
                     scale(reader_uleb(reader), machine->unit->data_factor));
        } else if (code >> 6 == 3) {
            restore_rule(machine, code & 0x3f);
        } else {
            run_extended(machine, reader, code);
        }
    }
    return !reader->is_broken;
}

static bool fits_words(int64_t bytes, int64_t limit)
{
    return bytes % (int64_t)sizeof(uintptr_t) == 0 && bytes / 8 >= -limit && bytes / 8 < limit;
}

/* STEP_UNKNOWN for a frame address that no step can say. */
static enum step_kind kind_of(const struct row *row)
{
    bool is_link = row->ra.kind == RULE_SAME;
    if (row->cfa_offset < -(1 << 19) || row->cfa_offset >= 1 << 19)
        return STEP_UNKNOWN;
    if (is_link)
        return HAS_LINK && row->cfa_register == REG_SP && !row->cfa_is_expression ? STEP_LINK
                                                                                  : STEP_UNKNOWN;
    if (row->cfa_register == REG_SP)
        return row->cfa_is_expression ? STEP_SP_SAVED : STEP_SP;
    if (row->cfa_register == REG_FP)
        return row->cfa_is_expression ? STEP_FP_SAVED : STEP_FP;
    return row->cfa_register < REGISTERS && !row->cfa_is_expression ? STEP_REGISTER : STEP_UNKNOWN;
}

static struct step pack(const struct row *row)
{
    struct step step = {.kind = STEP_UNKNOWN};
    if (row->ra.kind == RULE_UNDEFINED)
        step.kind = STEP_END;
    if ((row->ra.kind != RULE_AT_CFA && row->ra.kind != RULE_SAME) ||
        !fits_words(row->ra.offset, INT16_MAX) ||
        (row->cfa_is_expression && (row->cfa_added % 8 != 0 || row->cfa_added / 8 >= 32)))
        return step;
    if (row->fp.kind == RULE_AT_CFA || row->fp.kind == RULE_EXPRESSION) {
        bool is_at_ra = row->fp.kind == RULE_AT_CFA;
        int64_t offset =
            (int64_t)((uint64_t)row->fp.offset - (is_at_ra ? (uint64_t)row->ra.offset : 0));
        if (!fits_words(offset, 2048))
            return step;
        step.fp_rule = is_at_ra ? FP_AT_RA : FP_AT_FP;
        step.fp_offset = (int32_t)(offset / 8);
    } else if (row->fp.kind == RULE_OTHER) {
        return step;
    }
    step.kind = (uint8_t)kind_of(row);
    if (step.kind == STEP_REGISTER)
        step.extra = (int8_t)(row->cfa_register & 31);
    else if (row->cfa_is_expression)
        step.extra = (int8_t)(row->cfa_added / 8 & 31);
    step.offset = (int32_t)row->cfa_offset;
    step.ra_offset = (int16_t)(row->ra.offset / 8);
    return step;
}

struct code { // what an FDE says
    struct unit unit;
    uintptr_t start, bytes;
    struct reader program;
};

static bool read_fde(struct loaded_object *object, uintptr_t at, struct code *code)
{
    struct reader reader = open_record(object, at);
    uintptr_t id_place = reader.at;
    uint32_t id = reader_u32(&reader);
    if (reader.is_broken || id == 0 || !read_cie(object, id_place - id, &code->unit))
        return false;
    code->start = reader_pointer(&reader, code->unit.address_encoding);
    code->bytes = (uintptr_t)reader_value(&reader, code->unit.address_encoding & 0x0f);
    if (code->unit.has_augmentation)
        reader.at += min_size((size_t)reader_uleb(&reader), reader.limit - reader.at);
    code->program = reader;
    return !reader.is_broken;
}

uintptr_t unwind_cfi_next(struct loaded_object *object, uintptr_t at, uintptr_t *start)
{
    struct reader record = open_record(object, at);
    struct code code;
    *start = !record.is_broken && read_fde(object, at, &code) ? code.start : 0;
    return record.is_broken ? 0 : record.limit;
}

enum { WANTS_NONE = REG_PC };
enum outcome { NO_ROW, ROW, SIGNAL_FRAME };

/* The row for the address. */
static enum outcome find_row(struct loaded_object *object, uintptr_t fde, uintptr_t address,
                             uint64_t wanted, struct row *row)
{
    struct code code;
    fde = fde != 0 ? fde : find_fde(object, address);
    if (fde == 0 || !read_fde(object, fde, &code) || address - code.start >= code.bytes)
        return NO_ROW;
    if (code.unit.is_signal)
        return SIGNAL_FRAME;
    struct machine machine = {
        .unit = &code.unit, .location = code.start, .address = address, .wanted = wanted};
    struct reader program = reader_at(object, code.unit.program, code.unit.program_limit);
    if (!run_program(&machine, &program, UINTPTR_MAX))
        return NO_ROW;
    machine.initial = machine.row;
    machine.location = code.start;
    if (!run_program(&machine, &code.program, address))
        return NO_ROW;
    *row = machine.row;
    return ROW;
}

struct step unwind_cfi_step_at(struct loaded_object *object, uintptr_t fde, uintptr_t address)
{
    struct row row;
    enum outcome outcome = find_row(object, fde, address, WANTS_NONE, &row);
    if (outcome == ROW)
        return pack(&row);
    return (struct step){.kind = outcome == SIGNAL_FRAME ? STEP_SIGNAL : STEP_UNKNOWN};
}

struct kept_register unwind_cfi_kept_at(struct loaded_object *object, uintptr_t fde,
                                        uintptr_t address, unsigned number)
{
    struct row row;
    if (find_row(object, fde, address, number, &row) != ROW)
        return (struct kept_register){.is_known = false};
    return (struct kept_register){.is_known = row.wanted.kind == RULE_SAME ||
                                              row.wanted.kind == RULE_AT_CFA,
                                  .is_saved = row.wanted.kind == RULE_AT_CFA,
                                  .offset = row.wanted.offset};
}
