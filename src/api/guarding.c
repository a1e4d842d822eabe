#include "api/guarding.h"

#include <stdlib.h>

#include "api/probes.h"
#include "base/print.h"
#include "heap/guard.h"
#include "heap/pagemap.h"
#include "heap/span.h"
#include "prof/unwind.h"
#include "report/crime.h"

enum { FRAMES_MAX = 32, LINE_BYTES = 256 };

struct trace {
    size_t depth;
    uintptr_t frames[FRAMES_MAX];
};

static uint64_t guarded_share; // one in so many samples; 0: none
static struct history {
    struct trace allocated, freed;
} histories[GUARD_SLOTS];

/* Of the fault or the wrong call: static, for handlers may have a small stack. */
static struct trace crime;

void guarding_init(uint64_t share)
{
    if (share == 0)
        return;
    if (guard_init())
        guarded_share = share;
    else
        print_line("no room for guarded objects: HPMALLOC_GUARD is off");
}

HPM_API static inline void remember(struct trace *trace)
{
    enum stack_end end;
    trace->depth = unwind_walk(trace->frames, FRAMES_MAX, &end);
}

HPM_API static void *alloc_traced(unsigned class, size_t bytes, size_t alignment, sample_tag tag,
                                  bool at_end)
{
    struct guard_object object;
    char *start = guard_alloc(bytes, alignment, class, tag, at_end);
    if (start != NULL && guard_find(start, &object)) {
        histories[object.slot].freed.depth = 0;
        remember(&histories[object.slot].allocated);
    }
    return start;
}

HPM_API void *guarding_alloc(struct thread *thread, unsigned class, size_t bytes, size_t alignment,
                             sample_tag tag)
{
    if (likely(guarded_share == 0) || alignment > HEAP_PAGE_BYTES ||
        !sampler_toss(&thread->sampler, 1 / (double)guarded_share))
        return NULL;
    return alloc_traced(class, bytes, alignment, tag, sampler_toss(&thread->sampler, 0.5));
}

static struct crime_stack stack_of(const char *title, const struct trace *trace)
{
    return (struct crime_stack){title, trace->frames, trace->depth};
}

/* Before the first object of a slot there is no history, and its stacks are empty. */
static void report(const char *line, const char *title, const struct guard_object *object)
{
    const struct history *history = &histories[object->slot];
    const struct crime_stack stacks[] = {stack_of(title, &crime),
                                         stack_of("it was freed:", &history->freed),
                                         stack_of("it was allocated:", &history->allocated)};
    crime_report(line, stacks, array_count(stacks));
}

static void describe_wrong_place(char *line, const char *address, const struct guard_object *object)
{
    if (object->state == GUARD_LIVE && address > object->start &&
        address < object->start + object->bytes)
        print_format(line, LINE_BYTES,
                     "free of %p: it points %zu bytes into an object of %zu bytes", address,
                     (size_t)(address - object->start), object->bytes);
    else
        print_format(line, LINE_BYTES, "free of %p: not allocated by hpmalloc, or freed and gone",
                     address);
}

static void describe_free(char *line, enum guard_crime what, const void *address,
                          const struct guard_object *object, size_t distance)
{
    if (what == GUARD_FREED_BEFORE)
        print_format(line, LINE_BYTES, "double free of %p: object of %zu bytes", address,
                     object->bytes);
    else if (what == GUARD_OVERFLOW)
        print_format(line, LINE_BYTES,
                     "overflow of %p: object of %zu bytes, written to up to byte %zu past its end",
                     address, object->bytes, distance);
    else if (what == GUARD_UNDERFLOW)
        print_format(line, LINE_BYTES,
                     "underflow of %p: object of %zu bytes, written to up to byte %zu before its "
                     "start",
                     address, object->bytes, distance);
    else
        describe_wrong_place(line, address, object);
}

HPM_API static _Noreturn void die_of(enum guard_crime what, const void *address,
                                     const struct guard_object *object, size_t distance)
{
    char line[LINE_BYTES];
    describe_free(line, what, address, object, distance);
    remember(&crime);
    report(line, "found as it is freed:", object);
    abort();
}

HPM_API sample_tag guarding_free(void *address)
{
    struct guard_object object;
    size_t distance;
    if (guard_find(address, &object) && object.start == address && object.state == GUARD_LIVE) {
        remember(&histories[object.slot].freed);
        probe_free(address);
    }
    enum guard_crime what = guard_free(address, &object, &distance);
    if (unlikely(what != GUARD_INNOCENT)) {
        if (what != GUARD_FREED_BEFORE)
            histories[object.slot].freed.depth = 0;
        die_of(what, address, &object, distance);
    }
    return object.tag;
}

HPM_API size_t guarding_usable_bytes(const void *address)
{
    struct guard_object object;
    if (!guard_find(address, &object) || object.start != address || object.state != GUARD_LIVE)
        die_of(object.state == GUARD_FREED && object.start == address ? GUARD_FREED_BEFORE
                                                                      : GUARD_NO_OBJECT,
               address, &object, 0);
    return object.bytes;
}

static void describe_fault(char *line, const char *address, const char *access,
                           const struct guard_object *object)
{
    const char *end = object->start + object->bytes;
    if (object->state == GUARD_UNUSED)
        print_format(line, LINE_BYTES, "wild %s at %p: among guarded objects, but of none", access,
                     address);
    else if (address >= end)
        print_format(line, LINE_BYTES,
                     "overflow at %p: %s of byte %zu past the end of %p, %s of %zu bytes", address,
                     access, (size_t)(address - end) + 1, object->start,
                     object->state == GUARD_LIVE ? "object" : "freed object", object->bytes);
    else if (address < object->start)
        print_format(line, LINE_BYTES,
                     "underflow at %p: %s of byte %zu before the start of %p, %s of %zu bytes",
                     address, access, (size_t)(object->start - address), object->start,
                     object->state == GUARD_LIVE ? "object" : "freed object", object->bytes);
    else if (object->state == GUARD_FREED)
        print_format(line, LINE_BYTES,
                     "use after free at %p: %s %zu bytes into %p, freed object of %zu bytes",
                     address, access, (size_t)(address - object->start), object->start,
                     object->bytes);
    else
        print_format(line, LINE_BYTES, "%s at %p refused: %zu bytes into %p, object of %zu bytes",
                     access, address, (size_t)(address - object->start), object->start,
                     object->bytes);
}

/* The innermost is where the kernel has the handler return to: the program was interrupted at the
 * next. */
static void drop_innermost(struct trace *trace)
{
    for (size_t i = 1; i < trace->depth; i++)
        trace->frames[i - 1] = trace->frames[i];
    trace->depth -= trace->depth != 0;
}

/* A block of heap/hardened, freed and closed: who freed it is not kept. */
HPM_API static void explain_block(const char *address, const char *access)
{
    char line[LINE_BYTES];
    const struct span *span = pagemap_find(address);
    if (span == NULL || span->kind != SPAN_QUARANTINED)
        return;
    print_format(line, LINE_BYTES, "use after free at %p: %s %zu bytes into %p, freed block",
                 address, access, (size_t)(address - span->start), span->start);
    remember(&crime);
    drop_innermost(&crime);
    const struct crime_stack stack = stack_of("the access:", &crime);
    crime_report(line, &stack, 1);
}

HPM_API void guarding_explain_fault(const void *address, const char *access)
{
    struct guard_object object;
    char line[LINE_BYTES];
    if (!guard_find(address, &object)) {
        explain_block(address, access);
        return;
    }
    if (!guard_accuse(&object))
        return;
    describe_fault(line, address, access, &object);
    remember(&crime);
    drop_innermost(&crime);
    report(line, "the access:", &object);
}
