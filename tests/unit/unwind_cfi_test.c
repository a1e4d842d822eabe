/* Unwind tables made by hand, at the very edge of mapped memory: whoever reads past them faults. */
#include "prof/unwind_cfi.h"

#include <sys/mman.h>
#include <unistd.h>

#include "tap.h"

enum { TABLE_BYTES = 4096, CODE = 0x10000, CODE_BYTES = 0x100, TABLE = 0x20000 };

static struct {
    uint8_t *bytes; // TABLE_BYTES, a page that cannot be read before and behind
    size_t used;
    struct loaded_object object;
} made;

static void put(const void *bytes, size_t count)
{
    memcpy(made.bytes + made.used, bytes, count);
    made.used += count;
}

static void put_u8(uint8_t byte)
{
    put(&byte, 1);
}

static void put_u32(uint32_t word)
{
    put(&word, 4);
}

static void begin_table(void)
{
    if (made.bytes == NULL) {
        uint8_t *pages = mmap(NULL, 3 * TABLE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        made.bytes = pages + TABLE_BYTES;
        mprotect(made.bytes, TABLE_BYTES, PROT_READ | PROT_WRITE);
    }
    memset(made.bytes, 0, TABLE_BYTES);
    made.used = 0;
}

/* Moves what was made to the end of the page and describes it. */
static void end_table(void)
{
    memmove(made.bytes + TABLE_BYTES - made.used, made.bytes, made.used);
    uintptr_t start = (uintptr_t)made.bytes + TABLE_BYTES - made.used;
    made.object = (struct loaded_object){.start = CODE,
                                         .limit = CODE + CODE_BYTES,
                                         .table = TABLE,
                                         .readable_start = TABLE,
                                         .readable_limit = TABLE + made.used,
                                         .delta = (ptrdiff_t)(start - TABLE)};
}

enum { HEADER_BYTES = 20, CIE_BYTES = 24 };

/* The number of the return address's register, and where it is at first. */
#if defined(__x86_64__)
#define CIE_BODY    "\x01zR\0\x01\x78\x10\x01\x1b"
#define CIE_PROGRAM "\x0c\x07\x08\x90\x01\0\0"
#else
#define CIE_BODY    "\x01zR\0\x01\x78\x1e\x01\x1b"
#define CIE_PROGRAM "\x0c\x1f\0\0\0\0\0"
#endif

/* A header with one entry; a CIE: the frame address is the stack pointer + 8, the return address is
 * saved 8 below it (or is in the link register, the frame address the stack pointer); an FDE for
 * the code with the given program. */
static void make_table(const uint8_t *program, size_t bytes)
{
    begin_table();
    put("\x01\x1b\x03\x3b", 4);
    put_u32(HEADER_BYTES - 4);
    put_u32(1);
    put_u32((uint32_t)(CODE - TABLE));
    put_u32(HEADER_BYTES + CIE_BYTES);
    put_u32(CIE_BYTES - 4);
    put_u32(0);
    put(CIE_BODY, 9);
    put(CIE_PROGRAM, 7);
    put_u32((uint32_t)(4 + 4 + 4 + 1 + bytes));
    put_u32(CIE_BYTES + 4);
    put_u32((uint32_t)(CODE - (TABLE + made.used)));
    put_u32(CODE_BYTES);
    put_u8(0);
    put(program, bytes);
    end_table();
}

#define MAKE(...)                                                                                  \
    do {                                                                                           \
        static const uint8_t program[] = {__VA_ARGS__};                                            \
        make_table(program, sizeof(program));                                                      \
    } while (0)

static struct step step_at(size_t offset)
{
    return unwind_cfi_step(&made.object, CODE + offset);
}

#if defined(__x86_64__)
TEST(unwind_cfi, a_pushed_frame_pointer_is_found_below_the_frame)
{
    /* advance 1; def_cfa_offset 16; offset rbp at -16; advance 3; def_cfa_register rbp */
    MAKE(0x41, 0x0e, 0x10, 0x86, 0x02, 0x43, 0x0d, 0x06);
    CHECK_EQUAL(step_at(0).kind, STEP_SP);
    CHECK_EQUAL(step_at(0).offset, 8);
    CHECK_EQUAL(step_at(0).fp_rule, FP_SAME);
    CHECK_EQUAL(step_at(1).offset, 16);
    CHECK_EQUAL(step_at(1).fp_rule, FP_AT_RA);
    CHECK_EQUAL(step_at(1).fp_offset, -1);
    CHECK_EQUAL(step_at(3).kind, STEP_SP);
    CHECK_EQUAL(step_at(4).kind, STEP_FP);
    CHECK_EQUAL(step_at(4).ra_offset, -1);
}

TEST(unwind_cfi, a_state_is_remembered_and_restored)
{
    /* advance 4; def_cfa_offset 32; remember; advance 4; def_cfa_offset 8; advance 1; restore */
    MAKE(0x44, 0x0e, 0x20, 0x0a, 0x44, 0x0e, 0x08, 0x41, 0x0b);
    CHECK_EQUAL(step_at(5).offset, 32);
    CHECK_EQUAL(step_at(8).offset, 8);
    CHECK_EQUAL(step_at(9).offset, 32);
}

TEST(unwind_cfi, a_realigned_stack_is_followed_through_its_expressions)
{
    /* expression rbp: breg6 0; def_cfa_expression: breg6 -8, deref */
    MAKE(0x10, 0x06, 0x02, 0x76, 0x00, 0x0f, 0x03, 0x76, 0x78, 0x06);
    CHECK_EQUAL(step_at(0).kind, STEP_FP_SAVED);
    CHECK_EQUAL(step_at(0).offset, -8);
    CHECK_EQUAL(step_at(0).fp_rule, FP_AT_FP);
}

TEST(unwind_cfi, an_entry_of_the_linkers_call_table_has_the_frame_its_push_has_moved_or_not)
{
    /* def_cfa_expression: breg7 8; breg16 0; lit15; and; lit11; ge; lit3; shl; plus */
    MAKE(0x0f, 0x0b, 0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22);
    CHECK_EQUAL(step_at(0).kind, STEP_SP);
    CHECK_EQUAL(step_at(0).offset, 8);
    CHECK_EQUAL(step_at(10).offset, 8);
    CHECK_EQUAL(step_at(11).offset, 16);
    CHECK_EQUAL(step_at(16).offset, 8);
    CHECK_EQUAL(step_at(16 + 15).offset, 16);
}

TEST(unwind_cfi, an_expression_of_other_operations_yields_no_rule)
{
    MAKE(0x0f, 0x04, 0x77, 0x08, 0x33, 0x24); // breg7 8; lit3; shl
    CHECK_EQUAL(step_at(0).kind, STEP_UNKNOWN);
    MAKE(0x0f, 0x03, 0x77, 0x08, 0x22); // breg7 8; plus
    CHECK_EQUAL(step_at(0).kind, STEP_UNKNOWN);
    MAKE(0x0f, 0x09, 0x77, 0x08, 0x30, 0x30, 0x30, 0x30, 0x30, 0x30, 0x30);
    CHECK_EQUAL(step_at(0).kind, STEP_UNKNOWN);
}

TEST(unwind_cfi, a_stack_about_to_be_aligned_is_known_by_any_register)
{
    MAKE(0x0c, 0x0a, 0x08); // def_cfa r10 + 8
    CHECK_EQUAL(step_at(0).kind, STEP_REGISTER);
    CHECK_EQUAL(step_at(0).extra, 10);
    CHECK_EQUAL(step_at(0).offset, 8);
    MAKE(0x0c, 0x10, 0x08); // def_cfa rip + 8
    CHECK_EQUAL(step_at(0).kind, STEP_UNKNOWN);
}

TEST(unwind_cfi, a_frame_address_put_on_the_stack_may_be_added_to)
{
    /* def_cfa_expression: breg7 168; deref; plus_uconst 8 */
    MAKE(0x0f, 0x06, 0x77, 0xa8, 0x01, 0x06, 0x23, 0x08);
    CHECK_EQUAL(step_at(0).kind, STEP_SP_SAVED);
    CHECK_EQUAL(step_at(0).offset, 168);
    CHECK_EQUAL(step_at(0).extra, 1);
    MAKE(0x0f, 0x05, 0x77, 0xa8, 0x01, 0x06, 0x96); // breg7 168; deref; nop
    CHECK_EQUAL(step_at(0).kind, STEP_UNKNOWN);
}

TEST(unwind_cfi, an_undefined_return_address_is_the_first_frame)
{
    MAKE(0x07, 0x10);
    CHECK_EQUAL(step_at(0).kind, STEP_END);
}
#elif defined(__aarch64__)
TEST(unwind_cfi, a_frame_record_far_below_the_frame_is_found)
{
    /* advance 4; def_cfa_offset 66608; offset x29 at -66608, x30 at -66600 */
    MAKE(0x44, 0x0e, 0xb0, 0x88, 0x04, 0x9d, 0x86, 0x41, 0x9e, 0x85, 0x41);
    CHECK_EQUAL(step_at(4).offset, 66608);
    CHECK_EQUAL(step_at(4).ra_offset, -66600 / 8);
    CHECK_EQUAL(step_at(4).fp_rule, FP_AT_RA);
    CHECK_EQUAL(step_at(4).fp_offset, -1);
}

TEST(unwind_cfi, a_leaf_has_its_return_address_in_the_link_register)
{
    MAKE(0x0c, 0x1f, 0x10); // def_cfa sp + 16
    CHECK_EQUAL(step_at(0).kind, STEP_LINK);
    CHECK_EQUAL(step_at(0).offset, 16);
}
#endif

TEST(unwind_cfi, code_outside_the_entry_yields_no_rule)
{
    MAKE(0);
    CHECK_EQUAL(step_at(CODE_BYTES).kind, STEP_UNKNOWN);
    CHECK_EQUAL(unwind_cfi_step(&made.object, CODE - 1).kind, STEP_UNKNOWN);
}

TEST(unwind_cfi, a_table_cut_off_anywhere_is_never_read_past_its_end)
{
    MAKE(0x41, 0x0e, 0x10, 0x86, 0x02, 0x43, 0x0d, 0x06, 0x0f, 0x03, 0x76, 0x78, 0x06);
    struct loaded_object whole = made.object;
    size_t known = 0;
    for (size_t kept = 0; kept < made.used; kept++) {
        memmove(made.bytes + TABLE_BYTES - kept, (uint8_t *)(whole.table + (uintptr_t)whole.delta),
                kept);
        made.object.delta = (ptrdiff_t)((uintptr_t)made.bytes + TABLE_BYTES - kept - TABLE);
        made.object.readable_limit = TABLE + kept;
        known += step_at(4).kind != STEP_UNKNOWN;
        MAKE(0x41, 0x0e, 0x10, 0x86, 0x02, 0x43, 0x0d, 0x06, 0x0f, 0x03, 0x76, 0x78, 0x06);
    }
    CHECK_EQUAL(known, 0);
}

/* The records' place is known, the header's is not. */
static size_t walk_records(uintptr_t *last)
{
    uintptr_t at = TABLE + HEADER_BYTES, start;
    size_t count = 0;
    for (; at != 0 && count < TABLE_BYTES; count++) {
        at = unwind_cfi_next(&made.object, at, &start);
        if (at != 0)
            *last = start;
    }
    return count;
}

TEST(unwind_cfi, records_are_walked_and_stepped_by_without_a_header)
{
    MAKE(0x41, 0x0e, 0x10);
    uintptr_t start = 0;
    CHECK_EQUAL(walk_records(&start), 3);
    CHECK_EQUAL(start, CODE);
    uintptr_t fde = TABLE + HEADER_BYTES + CIE_BYTES;
    CHECK_EQUAL(unwind_cfi_next(&made.object, TABLE + HEADER_BYTES, &start), fde);
    CHECK_EQUAL(start, 0);
    CHECK_EQUAL(unwind_cfi_step_at(&made.object, fde, CODE + 1).offset, 16);
    CHECK_EQUAL(unwind_cfi_step_at(&made.object, fde, CODE + CODE_BYTES).kind, STEP_UNKNOWN);
}

TEST(unwind_cfi, a_table_of_random_damage_ends_without_a_fault)
{
    uint64_t random = 88172645463325252u;
    for (int round = 0; round < 300000; round++) {
        MAKE(0x41, 0x0e, 0x10, 0x86, 0x02, 0x0a, 0x43, 0x0d, 0x06, 0x0b, 0x10, 0x06, 0x02, 0x76,
             0x00, 0x0f, 0x03, 0x76, 0x78, 0x06, 0x2e, 0x10, 0x12, 0x07, 0x7e, 0x01, 0x0f, 0x0b,
             0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22);
        uint8_t *start = (uint8_t *)(made.object.table + (uintptr_t)made.object.delta);
        for (int hits = 0; hits < 1 + round % 4; hits++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            start[random % made.used] = (uint8_t)(random >> 40);
        }
        step_at(random >> 56);
        walk_records(&(uintptr_t){0});
    }
    CHECK(true);
}
