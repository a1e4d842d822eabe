/* Bytes of an object's unwind table, read in order, each checked to lie inside it. Past the end a
 * reader yields zeroes, and is broken from then on. Formats are those of DWARF 4, section 7, and of
 * the LSB's .eh_frame. */
#ifndef HPM_PROF_UNWIND_READER_H
#define HPM_PROF_UNWIND_READER_H

#include "base/base.h"
#include "prof/objects.h"

struct reader {
    const struct loaded_object *object;
    uintptr_t at, limit; // as the program sees them
    bool is_broken;
};

/* Of a part of the table's surroundings; broken when that is not all readable. */
struct reader reader_at(const struct loaded_object *object, uintptr_t at, uintptr_t limit);
struct reader reader_from(const struct loaded_object *object, uintptr_t at);

uint8_t reader_u8(struct reader *reader);
uint16_t reader_u16(struct reader *reader);
uint32_t reader_u32(struct reader *reader);
uint64_t reader_u64(struct reader *reader);
int32_t reader_s32(struct reader *reader);
uint64_t reader_uleb(struct reader *reader);
int64_t reader_sleb(struct reader *reader);

/* A value in one of the formats of DW_EH_PE, and a pointer in one of its encodings. Indirect
 * pointers only name personality routines, which nobody here wants. */
uint64_t reader_value(struct reader *reader, uint8_t format);
uintptr_t reader_pointer(struct reader *reader, uint8_t encoding);

#endif
