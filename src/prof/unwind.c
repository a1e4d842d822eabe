#define _GNU_SOURCE
#include "prof/unwind.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "prof/unwind_cache.h"

enum { OWN_FRAMES_MAX = 16 }; // the allocator's, at most

static uintptr_t own_start, own_limit;

HPM_EARLY void unwind_set_own_code(const void *start, const void *limit)
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

HPM_EARLY void unwind_init(void)
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
    uintptr_t code; // where the thread was interrupted, or in the call: before the return address,
                    // which may be the first byte after its function
    uintptr_t sp, fp;
    const uintptr_t *registers; // as the kernel keeps them, where a signal interrupted; else NULL
    bool is_exact;              // the thread was interrupted here
    bool is_guess;              // led to by a frame pointer that nobody vouches for
};

/* Where the kernel keeps what a signal interrupted, from the stack pointer of its frame. */
#if defined(__x86_64__)
enum { SIGNAL_REGISTERS = 40, SIGNAL_FP = 120, SIGNAL_SP = 160, SIGNAL_PC = 168 };
enum { RED_ZONE_BYTES = 128 }; // below the stack pointer, which the kernel leaves alone

/* mov $15, %rax; syscall: the call of the kernel that a signal handler returns to */
static const uint8_t signal_return[] = {0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05};

HPM_INLINE void capture(struct cursor *cursor)
{
    __asm__ volatile("lea 0(%%rip), %0\n\tmov %%rsp, %1\n\tmov %%rbp, %2"
                     : "=r"(cursor->code), "=r"(cursor->sp), "=r"(cursor->fp));
    cursor->registers = NULL;
    cursor->is_exact = true;
    cursor->is_guess = false;
}

/* With the registers a function keeps for its caller; by the numbers of the unwind table. */
HPM_INLINE bool capture_kept(struct cursor *cursor, unsigned number, uintptr_t *value)
{
    uintptr_t kept[16];
    __asm__ volatile("lea 0(%%rip), %0\n\tmov %%rsp, %1\n\tmov %%rbp, %2\n\tmov %%rbx, %3\n\t"
                     "mov %%r12, %4\n\tmov %%r13, %5\n\tmov %%r14, %6\n\tmov %%r15, %7"
                     : "=&r"(cursor->code), "=&r"(cursor->sp), "=&r"(cursor->fp), "=m"(kept[3]),
                       "=m"(kept[12]), "=m"(kept[13]), "=m"(kept[14]), "=m"(kept[15]));
    cursor->registers = NULL;
    cursor->is_exact = true;
    cursor->is_guess = false;
    bool is_kept = number == 3 || (number >= 12 && number <= 15);
    *value = is_kept ? kept[number] : 0;
    return is_kept;
}

/* The kernel's order is not that of the unwind table's numbers. */
static uintptr_t register_of(const struct cursor *cursor, unsigned number)
{
    static const uint8_t places[16] = {13, 12, 14, 11, 9, 8, 10, 15, 0, 1, 2, 3, 4, 5, 6, 7};
    return cursor->registers[places[number % 16]];
}

static uintptr_t link_of(const struct cursor *cursor)
{
    (void)cursor;
    return 0;
}

HPM_INLINE uintptr_t unsigned_address(uintptr_t address)
{
    return address;
}

/* A call puts the return address right below its frame. */
enum { PLAIN_RA = -1, PLAIN_RA_MASK = -1 };

HPM_INLINE intptr_t plain_ra(uint64_t word)
{
    (void)word;
    return PLAIN_RA * 8;
}
#else
enum {
    SIGNAL_REGISTERS = 312,
    SIGNAL_FP = SIGNAL_REGISTERS + 29 * 8,
    SIGNAL_SP = SIGNAL_REGISTERS + 31 * 8,
    SIGNAL_PC = SIGNAL_REGISTERS + 32 * 8
};
enum { RED_ZONE_BYTES = 0 };

/* mov x8, 139; svc 0: the call of the kernel that a signal handler returns to */
static const uint8_t signal_return[] = {0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4};

HPM_INLINE void capture(struct cursor *cursor)
{
    __asm__ volatile("adr %0, .\n\tmov %1, sp\n\tmov %2, x29"
                     : "=&r"(cursor->code), "=&r"(cursor->sp), "=&r"(cursor->fp));
    cursor->registers = NULL;
    cursor->is_exact = true;
    cursor->is_guess = false;
}

/* No compiler counts a frame from one of the others here. */
HPM_INLINE bool capture_kept(struct cursor *cursor, unsigned number, uintptr_t *value)
{
    (void)number;
    capture(cursor);
    *value = 0;
    return false;
}

static uintptr_t register_of(const struct cursor *cursor, unsigned number)
{
    return cursor->registers[number % 31];
}

static uintptr_t link_of(const struct cursor *cursor)
{
    return register_of(cursor, 30);
}

/* Code built with pointer authentication keeps a signature in the upper bits: xpaclri takes it off,
 * and is a hint that does nothing on processors that make none. */
HPM_INLINE uintptr_t unsigned_address(uintptr_t address)
{
    register uintptr_t link __asm__("x30") = address;
    __asm__("hint 7" : "+r"(link));
    return link;
}

enum { PLAIN_RA = 0, PLAIN_RA_MASK = 0 };

HPM_INLINE intptr_t plain_ra(uint64_t word)
{
    return ((int64_t)(word << 32) >> 48) * 8;
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
    next.registers = (const uintptr_t *)(cursor->sp + SIGNAL_REGISTERS);
    if (!read_word(cursor, cursor->sp + SIGNAL_PC, &next.code) ||
        !read_word(cursor, cursor->sp + SIGNAL_SP, &next.sp) ||
        !read_word(cursor, cursor->sp + SIGNAL_FP, &next.fp))
        return false;
    if (!probe(next.sp)) // it may be no signal's frame
        return false;
    begin_at(&readable, next.sp);
    *cursor = next;
    return true;
}

/* C libraries without an unwind table (musl's has none) have no entry for it either. */
static bool is_signal_return(const struct cursor *cursor)
{
    uintptr_t pc = cursor->code + 1;
    return !cursor->is_exact && probe(pc) && probe(pc + 8) &&
           memcmp((const void *)pc, signal_return, sizeof(signal_return)) == 0;
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
    uintptr_t pc;
    distrust(cursor);
    if (!read_word(cursor, cursor->fp, &next.fp) ||
        !read_word(cursor, cursor->fp + sizeof(uintptr_t), &pc))
        return false;
    next.code = unsigned_address(pc) - 1;
    *cursor = next;
    return true;
}

enum { STEPPED = STACK_ENDS };  // beside the ends
enum { AGAIN_STEPS_MAX = 256 }; // of a second walk

static HPM_TLS bool is_again; // in a second walk: it begins no third one

static unsigned step_out(struct cursor *cursor);

/* Follows one register from frame to frame, as step_out follows the two that frames are counted
 * from. */
static bool step_with(struct cursor *cursor, unsigned number, uintptr_t *value)
{
    struct cursor inner = *cursor;
    struct kept_register kept = unwind_cache_kept(inner.code, number);
    if (step_out(cursor) != STEPPED)
        return false;
    if (cursor->registers != NULL)
        *value = register_of(cursor, number);
    else if (kept.is_saved)
        return read_word(&inner, cursor->sp + (uintptr_t)kept.offset, value);
    return cursor->registers != NULL || kept.is_known;
}

static bool is_same_frame(const struct cursor *a, const struct cursor *b)
{
    return a->sp == b->sp && a->code == b->code;
}

/* A register's value in the frame that the cursor came to: from this very place all is walked once
 * more, slowly. It is for the loader's, in which a function is found at its first call. */
static HPM_NOINLINE bool find_register(const struct cursor *wanted, unsigned number,
                                       uintptr_t *value)
{
    struct cursor cursor;
    if (is_again || !capture_kept(&cursor, number, value))
        return false;
    is_again = true;
    struct readable known = readable; // perhaps of another stack, if a handler runs on its own
    readable = (struct readable){0, 0};
    begin_at(&readable, cursor.sp);
    bool is_known = true;
    for (size_t i = 0; i < AGAIN_STEPS_MAX && is_known && !is_same_frame(&cursor, wanted); i++)
        is_known = step_with(&cursor, number, value);
    readable = known;
    is_again = false;
    return is_known && is_same_frame(&cursor, wanted);
}

/* The frame address, where it is in neither of the two registers that are always known. */
static HPM_NOINLINE bool find_frame(const struct cursor *cursor, struct step step, uintptr_t *frame)
{
    uintptr_t offset = (uintptr_t)(intptr_t)step.offset;
    if (step.kind == STEP_REGISTER) {
        uintptr_t value = 0;
        bool is_found = cursor->registers != NULL;
        if (is_found)
            value = register_of(cursor, (unsigned)step.extra);
        else
            is_found = find_register(cursor, (unsigned)step.extra, &value);
        *frame = value + offset;
        return is_found;
    }
    bool is_read =
        read_word(cursor, (step.kind == STEP_SP_SAVED ? cursor->sp : cursor->fp) + offset, frame);
    *frame += (uintptr_t)(step.extra * 8);
    return is_read;
}

/* `ra_place` is where the return address is saved. */
HPM_INLINE bool read_frame_pointer(const struct cursor *cursor, struct step step,
                                   uintptr_t ra_place, uintptr_t *fp)
{
    if (step.fp_rule == FP_SAME) {
        *fp = cursor->fp;
        return true;
    }
    uintptr_t base = step.fp_rule == FP_AT_RA ? ra_place : cursor->fp;
    return read_word(cursor, base + (uintptr_t)(intptr_t)(step.fp_offset * 8), fp);
}

HPM_INLINE bool step_rule(struct cursor *cursor, struct step step)
{
    uintptr_t base = step.kind == STEP_SP ? cursor->sp : cursor->fp;
    uintptr_t frame = base + (uintptr_t)(intptr_t)step.offset;
    if (unlikely(step.kind > STEP_FP) && !find_frame(cursor, step, &frame))
        return false;
    struct cursor next = {.sp = frame, .is_guess = cursor->is_guess};
    uintptr_t ra_place = frame + (uintptr_t)(step.ra_offset * 8), pc;
    if (frame <= cursor->sp || !read_word(cursor, ra_place, &pc) ||
        !read_frame_pointer(cursor, step, ra_place, &next.fp))
        return false;
    next.code = unsigned_address(pc) - 1;
    *cursor = next;
    return true;
}

/* Only a function that was interrupted has its return address in a register yet. */
static HPM_NOINLINE bool step_link(struct cursor *cursor, struct step step)
{
    struct cursor next = {.sp = cursor->sp + (uintptr_t)(intptr_t)step.offset,
                          .is_guess = cursor->is_guess};
    if (cursor->registers == NULL || next.sp < cursor->sp ||
        !read_frame_pointer(cursor, step, next.sp, &next.fp))
        return false;
    next.code = unsigned_address(link_of(cursor)) - 1;
    *cursor = next;
    return true;
}

/* No code lies on the first page: an address there says that the stack has ended. */
HPM_INLINE bool is_code(uintptr_t code)
{
    return code + 1 >= PROBE_BYTES;
}

static unsigned step_out(struct cursor *cursor)
{
    struct step rule = unwind_cache_get(cursor->code);
    bool stepped;
    unsigned otherwise = STACK_UNREADABLE;
    if (likely(rule.kind >= STEP_SP && rule.kind <= STEP_REGISTER))
        stepped = step_rule(cursor, rule);
    else if (rule.kind == STEP_LINK)
        stepped = step_link(cursor, rule);
    else if (rule.kind == STEP_END)
        return STACK_WHOLE;
    else if (rule.kind == STEP_SIGNAL || (rule.kind == STEP_UNKNOWN && is_signal_return(cursor)))
        stepped = step_signal(cursor);
    else {
        stepped = step_frame_pointer(cursor);
        otherwise = STACK_NO_RULE;
    }
    if (stepped && is_code(cursor->code))
        return STEPPED;
    return stepped && !cursor->is_guess ? STACK_WHOLE : otherwise;
}

/* Steps of these shapes are made at once. */
#define PLAIN_MASK     ((struct step){.kind = 0xff, .fp_rule = FP_AT_FP, .ra_offset = PLAIN_RA_MASK})
#define PLAIN_SP       ((struct step){.kind = STEP_SP, .ra_offset = PLAIN_RA})
#define PLAIN_FP       ((struct step){.kind = STEP_FP, .ra_offset = PLAIN_RA})
#define PLAIN_FP_SAVED ((struct step){.fp_rule = FP_AT_RA})
static_assert((FP_SAME | FP_AT_RA) == 1 && FP_AT_FP == 2, "fp_rule's bits tell them apart");

/* The last word that a plain step may read. */
static uintptr_t last_plain_word(const struct cursor *cursor)
{
    return min_size(readable.limit - sizeof(uintptr_t), cursor->sp + FRAME_BYTES_MAX);
}

/* A step as nearly all are: by a rule that is remembered and of a usual shape, over words known to
 * be readable. False: nothing was done, and step_out is to decide. */
HPM_INLINE bool step_plain(struct cursor *cursor, uintptr_t last)
{
    uint64_t word;
    if (!unwind_cache_find(cursor->code, &word))
        return false;
    uintptr_t frame = (uintptr_t)((int64_t)(word << 12) >> 44); // step.offset
    uint64_t shape = word & unwind_step_word(PLAIN_MASK);
    if (likely(shape == unwind_step_word(PLAIN_SP)))
        frame += cursor->sp;
    else if (likely(shape == unwind_step_word(PLAIN_FP)))
        frame += cursor->fp;
    else
        return false;
    uintptr_t pc_at = frame + (uintptr_t)plain_ra(word);
    if (unlikely(pc_at < cursor->sp) || unlikely(pc_at > last) ||
        unlikely(pc_at % sizeof(uintptr_t) != 0) || plain_ra(word) >= 0)
        return false;
    uintptr_t code = unsigned_address(*(const uintptr_t *)pc_at) - 1;
    if (unlikely(!is_code(code)))
        return false;
    if ((word & unwind_step_word(PLAIN_FP_SAVED)) != 0) {
        uintptr_t fp_at = pc_at + (uintptr_t)((int64_t)word >> 52) * 8; // step.fp_offset
        if (unlikely(fp_at < cursor->sp))
            return false;
        if (unlikely(fp_at > last))
            return false;
        cursor->fp = *(const uintptr_t *)fp_at;
    }
    cursor->code = code;
    cursor->sp = frame;
    cursor->registers = NULL;
    cursor->is_exact = false;
    return true;
}

/* By value, so that the walk keeps its cursor in registers. */
struct stepped {
    struct cursor cursor;
    unsigned outcome;
};

static HPM_NOINLINE struct stepped step_slow(struct cursor cursor)
{
    unsigned outcome = step_out(&cursor);
    return (struct stepped){cursor, outcome};
}

HPM_INLINE size_t walk(uintptr_t *frames, size_t max, enum stack_end *end)
{
    struct cursor cursor;
    capture(&cursor);
    begin_at(&readable, cursor.sp);
    uintptr_t last = last_plain_word(&cursor);
    size_t count = 0;
    for (;;) {
        if (unlikely(!step_plain(&cursor, last))) {
            struct stepped stepped = step_slow(cursor);
            if (stepped.outcome != STEPPED) {
                *end = (enum stack_end)stepped.outcome;
                return count;
            }
            cursor = stepped.cursor;
            last = last_plain_word(&cursor);
        }
        if (unlikely(count == max)) {
            *end = STACK_TOO_DEEP;
            return count;
        }
        frames[count++] = cursor.code + 1;
        if (unlikely(is_own(cursor.code)) && count <= OWN_FRAMES_MAX)
            count = 0;
    }
}

size_t unwind_walk(uintptr_t *frames, size_t max, enum stack_end *end)
{
    size_t count = walk(frames, max, end);
    unwind_cache_settle();
    return count;
}

HPM_EARLY void unwind_init(void)
{
    unwind_cache_init();
}

const char *unwind_method(void)
{
    return "cfi";
}
#endif
