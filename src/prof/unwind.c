#define _GNU_SOURCE
#include "prof/unwind.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/* Leaves out the allocator's own frames, which are the innermost. */
static size_t drop_own(uintptr_t *frames, size_t count)
{
    size_t last_own = count;
    for (size_t i = 0; i < count && i < 16; i++) {
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

/* Not in the static library: libunwind.a and the C++ runtime both define the calls that exceptions
 * are made of, and a program linked with both does not link. */
#if defined(HPM_LIBUNWIND) && defined(PIC)
#define UNW_LOCAL_ONLY
#include <libunwind.h>

enum { OWN_FRAMES_MAX = 16, WALK_MAX = 128 + OWN_FRAMES_MAX };

size_t unwind_walk(uintptr_t *frames, size_t max, bool *is_truncated)
{
    void *walked[WALK_MAX];
    int answer = unw_backtrace(walked, WALK_MAX);
    size_t count = answer > 0 ? (size_t)answer : 0;
    *is_truncated = count == WALK_MAX;
    count = drop_own((uintptr_t *)walked, count);
    if (count > max) {
        *is_truncated = true;
        count = max;
    }
    for (size_t i = 0; i < count; i++)
        frames[i] = (uintptr_t)walked[i];
    return count;
}

const char *unwind_method(void)
{
    return "libunwind";
}
#else

enum { OWN_FRAMES_MAX = 16, PROBE_BYTES = 4096, FRAME_BYTES_MAX = 8 << 20 };

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

/* The known stretch begins at the stack pointer's page and grows upwards, a page at a time. */
static bool is_readable_upto(struct readable *known, uintptr_t address)
{
    while (known->limit < address) {
        if (!probe(known->limit))
            return false;
        known->limit += PROBE_BYTES;
    }
    return true;
}

static void begin_at(struct readable *known, uintptr_t stack_pointer)
{
    uintptr_t page = round_down(stack_pointer, PROBE_BYTES);
    if (page >= known->start && page < known->limit)
        return;
    known->start = page;
    known->limit = page + PROBE_BYTES;
}

/* The end of this thread's stack as far as it can be known without asking the kernel: a thread's
 * control block lies at the upper end of its stack's mapping. */
static uintptr_t stack_limit(uintptr_t stack_pointer)
{
    uintptr_t control_block = (uintptr_t)pthread_self();
    return control_block > stack_pointer ? control_block : UINTPTR_MAX;
}

static bool is_plausible(uintptr_t frame, uintptr_t below, uintptr_t limit)
{
    return frame > below && frame - below < FRAME_BYTES_MAX && frame % sizeof(uintptr_t) == 0 &&
           frame + 2 * sizeof(uintptr_t) <= limit;
}

/* A frame begins with the caller's frame pointer and the return address. */
static size_t walk_frame_pointers(uintptr_t *frames, size_t max, uintptr_t frame,
                                  bool *is_truncated)
{
    uintptr_t below = frame - 1, limit = stack_limit(frame);
    size_t count = 0;
    begin_at(&readable, frame);
    *is_truncated = false;
    while (is_plausible(frame, below, limit) &&
           is_readable_upto(&readable, frame + 2 * sizeof(uintptr_t))) {
        const uintptr_t *words = (const uintptr_t *)frame;
        if (words[1] < PROBE_BYTES)
            return count;
        if (count == max) {
            *is_truncated = true;
            return count;
        }
        frames[count++] = words[1];
        below = frame;
        frame = words[0];
    }
    *is_truncated = frame != 0;
    return count;
}

size_t unwind_walk(uintptr_t *frames, size_t max, bool *is_truncated)
{
    uintptr_t walked[OWN_FRAMES_MAX + 128];
    size_t count =
        walk_frame_pointers(walked, min_size(max + OWN_FRAMES_MAX, array_count(walked)),
                            (uintptr_t)__builtin_frame_address(0), is_truncated);
    count = drop_own(walked, count);
    if (count > max) {
        *is_truncated = true;
        count = max;
    }
    for (size_t i = 0; i < count; i++)
        frames[i] = walked[i];
    return count;
}

const char *unwind_method(void)
{
    return "frame-pointer";
}
#endif
