#define _GNU_SOURCE
#include "prof/unwind.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "prof/unwind_cache.h"

enum { OWN_FRAMES_MAX = 16 }; // the allocator's, at most

static uintptr_t own_start, own_limit;

void unwind_set_own_code(const void *start, const void *limit)
{
    own_start = (uintptr_t)start;
    own_limit = (uintptr_t)limit;
}

static bool is_own(uintptr_t address)
{
    return address >= own_start && address < own_limit;
}

/* Not in the static library: libunwind.a and the C++ runtime both define the calls that exceptions
 * are made of, and a program linked with both does not link. */
#if defined(HPM_LIBUNWIND) && defined(PIC)
#define UNW_LOCAL_ONLY
#include <libunwind.h>

enum { WALK_MAX = 128 + OWN_FRAMES_MAX };

/* Leaves out the allocator's own frames, which are the innermost. */
static size_t drop_own(uintptr_t *frames, size_t count)
{
    size_t last_own = count;
    for (size_t i = 0; i < count && i < OWN_FRAMES_MAX; i++) {
        if (is_own(frames[i]))
            last_own = i;
    }
    if (last_own == count)
        return count;
    size_t kept = count - last_own - 1;
    for (size_t i = 0; i < kept; i++)
        frames[i] = frames[last_own + 1 + i];
    return kept;
}

size_t unwind_walk(uintptr_t *frames, size_t max, enum stack_end *end)
{
    void *walked[WALK_MAX];
    int answer = unw_backtrace(walked, WALK_MAX);
    size_t count = answer > 0 ? (size_t)answer : 0;
    *end = count == WALK_MAX ? STACK_TOO_DEEP : STACK_WHOLE;
    count = drop_own((uintptr_t *)walked, count);
    if (count > max) {
        *end = STACK_TOO_DEEP;
        count = max;
    }
    for (size_t i = 0; i < count; i++)
        frames[i] = (uintptr_t)walked[i];
    return count;
}

void unwind_init(void)
{
}

const char *unwind_method(void)
{
    return "libunwind";
}
#else

enum { PROBE_BYTES = 4096, FRAME_BYTES_MAX = 8 << 20 };

/* A frame as it is stepped through. */
struct cursor {
    uintptr_t pc, sp, fp;
    uintptr_t scratch; // known where the thread was interrupted
    bool is_exact; // pc is not a return address but where the thread was interrupted
    bool is_guess; // led to by a frame pointer that nobody vouches for
};

/* Where the kernel keeps what a signal interrupted, from the stack pointer of its frame. */
#if defined(__x86_64__)
enum { SIGNAL_SCRATCH = 56, SIGNAL_FP = 120, SIGNAL_SP = 160, SIGNAL_PC = 168 };
enum { RED_ZONE_BYTES = 128 }; // below the stack pointer, which the kernel leaves alone

HPM_INLINE void capture(struct cursor *cursor)
{
    __asm__ volatile("lea 0(%%rip), %0\n\tmov %%rsp, %1\n\tmov %%rbp, %2"
                     : "=r"(cursor->pc), "=r"(cursor->sp), "=r"(cursor->fp));
    cursor->scratch = 0;
    cursor->is_exact = true;
    cursor->is_guess = false;
}
#else
enum { SIGNAL_REGISTERS = 312, SIGNAL_FP = SIGNAL_REGISTERS + 29 * 8,
       SIGNAL_SP = SIGNAL_REGISTERS + 31 * 8, SIGNAL_PC = SIGNAL_REGISTERS + 32 * 8,
       SIGNAL_SCRATCH = SIGNAL_PC };
enum { RED_ZONE_BYTES = 0 };

HPM_INLINE void capture(struct cursor *cursor)
{
    cursor->fp = (uintptr_t)__builtin_frame_address(0);
    cursor->sp = cursor->fp;
    cursor->pc = ((uintptr_t *)cursor->fp)[1];
    cursor->fp = ((uintptr_t *)cursor->fp)[0];
    cursor->scratch = 0;
    cursor->is_exact = false;
    cursor->is_guess = false;
}
#endif

/* A stretch of this thread's stack that was readable when it was last looked at. */
struct readable {
    uintptr_t start, limit;
};
static HPM_TLS struct readable readable;

/* Has the kernel read from the address: an unknown `how` changes nothing, and is found out only
 * after the set was read, so EFAULT means unreadable and EINVAL readable. */
static bool probe(uintptr_t address)
{
    int saved = errno;
    bool is_readable = syscall(SYS_rt_sigprocmask, ~0, address, NULL, 8) != 0 && errno != EFAULT;
    errno = saved;
    return is_readable;
}

static HPM_NOINLINE bool extend(struct readable *known, uintptr_t address)
{
    while (known->limit < address) {
        if (!probe(known->limit))
            return false;
        known->limit += PROBE_BYTES;
    }
    return true;
}

/* The known stretch begins at the stack pointer's page and grows upwards, a page at a time. */
static void begin_at(struct readable *known, uintptr_t stack_pointer)
{
    uintptr_t page = round_down(stack_pointer, PROBE_BYTES);
    if (page >= known->start && page < known->limit)
        return;
    known->start = page;
    known->limit = page + PROBE_BYTES;
}

/* A function interrupted after it took its registers back: the tables name their places still. */
static HPM_NOINLINE bool read_below(const struct cursor *cursor, uintptr_t address, uintptr_t *word)
{
    if (!cursor->is_exact || cursor->sp - address > RED_ZONE_BYTES ||
        address % sizeof(uintptr_t) != 0 || !probe(address))
        return false;
    *word = *(const uintptr_t *)address;
    return true;
}

/* Reads a word of the stack above the cursor. False: it is not to be read. */
HPM_INLINE bool read_word(const struct cursor *cursor, uintptr_t address, uintptr_t *word)
{
    if (unlikely(address < cursor->sp))
        return read_below(cursor, address, word);
    if (address - cursor->sp > FRAME_BYTES_MAX || address % sizeof(uintptr_t) != 0)
        return false;
    if (unlikely(address + sizeof(uintptr_t) > readable.limit) &&
        !extend(&readable, address + sizeof(uintptr_t)))
        return false;
    *word = *(const uintptr_t *)address;
    return true;
}

/* The handler may run on a stack of its own, above or below the one it interrupted. */
static bool step_signal(struct cursor *cursor)
{
    struct cursor next = {.is_exact = true, .is_guess = cursor->is_guess};
    if (!read_word(cursor, cursor->sp + SIGNAL_PC, &next.pc) ||
        !read_word(cursor, cursor->sp + SIGNAL_SP, &next.sp) ||
        !read_word(cursor, cursor->sp + SIGNAL_SCRATCH, &next.scratch) ||
        !read_word(cursor, cursor->sp + SIGNAL_FP, &next.fp))
        return false;
    if (!probe(next.sp)) // it may be no signal's frame
        return false;
    begin_at(&readable, next.sp);
    *cursor = next;
    return true;
}

/* What was readable before need not be so still, unless it is under a frame in use: the pages of a
 * fibre's stack may be gone. From the first guess on, all is looked at again in this walk. */
static void distrust(struct cursor *cursor)
{
    uintptr_t page = round_down(cursor->sp, PROBE_BYTES);
    if (!cursor->is_guess)
        readable = (struct readable){page, page};
    cursor->is_guess = true;
}

/* The convention of code built with frame pointers: the caller's, then the return address. */
static bool step_frame_pointer(struct cursor *cursor)
{
    struct cursor next = {.sp = cursor->fp + 2 * sizeof(uintptr_t), .is_guess = true};
    distrust(cursor);
    if (!read_word(cursor, cursor->fp, &next.fp) ||
        !read_word(cursor, cursor->fp + sizeof(uintptr_t), &next.pc))
        return false;
    *cursor = next;
    return true;
}

HPM_INLINE uintptr_t base_of(const struct cursor *cursor, struct step step)
{
    if (likely(step.kind == STEP_SP))
        return cursor->sp;
    return unlikely(step.kind == STEP_SCRATCH) ? cursor->scratch : cursor->fp;
}

static bool step_rule(struct cursor *cursor, struct step step)
{
    uintptr_t frame = base_of(cursor, step) + (uintptr_t)(intptr_t)step.offset;
    if (step.kind == STEP_FP_SAVED && !read_word(cursor, frame, &frame))
        return false;
    struct cursor next = {.sp = frame, .fp = cursor->fp, .is_guess = cursor->is_guess};
    if (frame <= cursor->sp || !read_word(cursor, frame + (uintptr_t)(step.ra_offset * 8), &next.pc))
        return false;
    if (step.fp_rule != FP_SAME) {
        uintptr_t base = step.fp_rule == FP_AT_FRAME ? frame : cursor->fp;
        if (!read_word(cursor, base + (uintptr_t)(intptr_t)(step.fp_offset * 8), &next.fp))
            return false;
    }
    *cursor = next;
    return true;
}

enum { STEPPED = STACK_ENDS }; // beside the ends

/* A return address may be the first byte after its function: the call lies before it. */
static unsigned step_out(struct cursor *cursor)
{
    struct step rule = unwind_cache_get(cursor->is_exact ? cursor->pc : cursor->pc - 1);
    bool stepped;
    unsigned otherwise = STACK_UNREADABLE;
    if (likely(rule.kind >= STEP_SP && rule.kind <= STEP_SCRATCH))
        stepped = step_rule(cursor, rule);
    else if (rule.kind == STEP_END)
        return STACK_WHOLE;
    else if (rule.kind == STEP_SIGNAL)
        stepped = step_signal(cursor);
    else {
        stepped = step_frame_pointer(cursor);
        otherwise = STACK_NO_RULE;
    }
    if (stepped && cursor->pc >= PROBE_BYTES)
        return STEPPED;
    return stepped && !cursor->is_guess ? STACK_WHOLE : otherwise;
}

size_t unwind_walk(uintptr_t *frames, size_t max, enum stack_end *end)
{
    struct cursor cursor;
    capture(&cursor);
    begin_at(&readable, cursor.sp);
    size_t count = 0, walked = 0;
    unsigned outcome;
    while ((outcome = step_out(&cursor)) == STEPPED && count < max) {
        frames[count++] = cursor.pc + cursor.is_exact;
        if (walked++ < OWN_FRAMES_MAX && is_own(cursor.pc))
            count = 0;
    }
    *end = outcome == STEPPED ? STACK_TOO_DEEP : (enum stack_end)outcome;
    return count;
}

void unwind_init(void)
{
    unwind_cache_init();
}

const char *unwind_method(void)
{
    return "cfi";
}
#endif
