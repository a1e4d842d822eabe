/* How to step from a frame to its caller, read from the compiler's unwind table (.eh_frame).
 *
 * Follows DWARF 4, section 6.4, and the LSB's description of .eh_frame and .eh_frame_hdr. Every
 * byte is checked to lie inside the table: one that is cut off or makes no sense yields
 * STEP_UNKNOWN. Kept of the registers are those a step can need: the stack pointer, the frame
 * pointer, the return address, and any that the frame address is counted from. */
#ifndef HPM_PROF_UNWIND_CFI_H
#define HPM_PROF_UNWIND_CFI_H

#include "base/base.h"
#include "prof/objects.h"

enum step_kind {
    STEP_UNKNOWN,  // no rule: try the frame pointer
    STEP_END,      // the thread's first frame
    STEP_SP,       // frame address = stack pointer + offset
    STEP_FP,       // frame address = frame pointer + offset
    STEP_FP_SAVED, // frame address = the word at frame pointer + offset, + extra words
    STEP_SP_SAVED, // frame address = the word at stack pointer + offset, + extra words
    STEP_REGISTER, // frame address = register number `extra` + offset
    STEP_LINK,     // as STEP_SP, but the return address is in the link register still
    STEP_SIGNAL,   // the frame the kernel made for a signal handler
};

enum frame_pointer_rule {
    FP_SAME,  // the caller's is unchanged
    FP_AT_RA, // it is saved fp_offset from where the return address is
    FP_AT_FP, // it is saved at frame pointer + fp_offset
};

/* The return address is saved at frame address + ra_offset; the caller's stack pointer is the frame
 * address. Registers other than the stack and frame pointer are known only where a signal
 * interrupted: there the stack may be half aligned, or a frame not made yet. Eight bytes: an entry
 * of the cache holds it whole. */
struct step {
    uint8_t kind;
    uint8_t fp_rule : 2;
    int8_t extra : 6;
    int16_t ra_offset; // in words
    int32_t offset : 20;
    int32_t fp_offset : 12; // in words
};
static_assert(sizeof(struct step) == 8, "a step is one word");

/* The rule for code at `address`, which lies in the object. `fde` is where the code's record in
 * .eh_frame is; with 0 it is looked up in .eh_frame_hdr. */
struct step unwind_cfi_step_at(struct loaded_object *object, uintptr_t fde,
                               uintptr_t address);

HPM_INLINE struct step unwind_cfi_step(struct loaded_object *object, uintptr_t address)
{
    return unwind_cfi_step_at(object, 0, address);
}

/* Where code at the address keeps its caller's value of another register. */
struct kept_register {
    bool is_known, is_saved;
    int64_t offset; // of the place where it is saved, from the frame address
};
struct kept_register unwind_cfi_kept_at(struct loaded_object *object, uintptr_t fde,
                                        uintptr_t address, unsigned number);

/* A walk through the records of .eh_frame. Returns where the next one begins, 0 at the end; `start`
 * is where the code of the one at `at` begins, 0 when it is about none. */
uintptr_t unwind_cfi_next(struct loaded_object *object, uintptr_t at, uintptr_t *start);

#endif
