/* libFuzzer's target for the reader of unwind tables: whatever the bytes, it reads none beside them
 * and yields a rule of a known kind.
 *
 * An input is five words, four code addresses relative to the table and where the table begins, and
 * then the bytes of the segment that holds the table. The addresses that the table itself names are
 * tried too, for a guessed one is rarely among them. */
#include <stdlib.h>
#include <string.h>

#include "prof/unwind_cfi.h"

enum {
    SEGMENT = 0x40000000,
    GUESSES = 4,
    NAMED_MAX = 32,
    TABLE_HEADER_BYTES = 12,
    ENTRY_BYTES = 8
};

static void try_address(struct loaded_object *object, uintptr_t address)
{
    struct step step = unwind_cfi_step(object, address);
    if (step.kind > STEP_SIGNAL || step.fp_rule > FP_AT_FP)
        abort();
    if (step.kind == STEP_REGISTER && step.extra < 0)
        abort();
    struct kept_register kept = unwind_cfi_kept_at(object, 0, address, (unsigned)address % 17);
    if (kept.is_saved && !kept.is_known)
        abort();
}

static void try_named(struct loaded_object *object, const uint8_t *segment, size_t bytes)
{
    size_t at = object->table - object->readable_start + TABLE_HEADER_BYTES;
    for (int i = 0; i < NAMED_MAX && at + ENTRY_BYTES <= bytes; i++, at += ENTRY_BYTES) {
        int32_t entry;
        memcpy(&entry, segment + at, sizeof(entry));
        uintptr_t start = object->table + (uintptr_t)(intptr_t)entry;
        try_address(object, start);
        try_address(object, start + (uintptr_t)i * 3);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    uint32_t words[GUESSES + 1];
    if (size < sizeof(words))
        return 0;
    memcpy(words, input, sizeof(words));
    size_t bytes = size - sizeof(words);
    /* A block of its own, so that the sanitizer sees a read before it as well as behind it. */
    uint8_t *segment = malloc(bytes);
    memcpy(segment, input + sizeof(words), bytes);
    struct loaded_object object = {
        .start = 0,
        .limit = UINTPTR_MAX,
        .table = SEGMENT + words[GUESSES] % (bytes + 1),
        .readable_start = SEGMENT,
        .readable_limit = SEGMENT + bytes,
        .delta = (ptrdiff_t)((uintptr_t)segment - SEGMENT),
    };
    for (int i = 0; i < GUESSES; i++)
        try_address(&object, object.table + (uintptr_t)(intptr_t)(int32_t)words[i]);
    try_named(&object, segment, bytes);
    free(segment);
    return 0;
}
