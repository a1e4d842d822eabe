/* Our stacks against another judge's, frame by frame, in whatever program this is preloaded into
 * or, with STATIC, linked with (its malloc, calloc and realloc wrapped by the linker).
 *
 * tests/prof/unwind.sh and unwind_static.sh build it from this file and the rooms they test. The
 * judge is libunwind; with JUDGE_LIBGCC the compiler's own unwinder, as a static-pie program cannot
 * be linked with libunwind; with JUDGE_TRUTH what the program, compiled with -finstrument-functions
 * and its functions in the section `falling`, said of each call and return: for musl, whose libc
 * has no unwind table, so that libunwind walks into it and faults. One allocation in
 * UNWINDCMP_EVERY is compared, UNWINDCMP_MAX of them at most in a process; at exit the totals are
 * written to the file UNWINDCMP_FILE, a dot and the process's number:
 *
 *   stacks   compared
 *   equal    all frames are: `frames` adds them up
 *   untabled lead through code that has no unwind table (made at run time, say): libunwind is no
 *            judge there, for it follows frame pointers as we do
 *   guessed  of these, equal up to such code and different behind it
 *   wrong    all others that differ; then a line for each of the first 20 kinds of difference */
#define _GNU_SOURCE
#if defined(JUDGE_LIBGCC)
#include <unwind.h>
#elif !defined(JUDGE_TRUTH)
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#endif

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "prof/unwind.h"
#include "prof/unwind_cache.h"

enum { COMPARED_MAX = 128, OWN_MAX = 16, WALK_MAX = COMPARED_MAX + OWN_MAX, KINDS_MAX = 20 };

struct stack {
    uintptr_t frames[WALK_MAX];
    size_t count;
    size_t untabled; // libunwind's: the first frame whose code has no table; SIZE_MAX: none
    int end;         // ours: an enum stack_end; libunwind's: what its last step returned
};

/* A place from which the two went different ways. */
struct kind {
    uintptr_t from;
    size_t seen, index;
    bool is_guess;
    uintptr_t ours, theirs; // 0: ended
    int our_end, their_end;
    char from_name[160], our_name[160], their_name[160];
};

static _Atomic size_t stack_count, equal_count, untabled_count, guessed_count, wrong_count;
static _Atomic size_t frame_count; // of equal stacks
static struct kind kinds[KINDS_MAX];
static size_t kind_count;
static pthread_mutex_t kinds_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t every = 50, max_count = 1000000;
static char file_name[1024]; // a copy: some programs write their titles over the environment
static bool is_ready;

static HPM_TLS bool is_inside;
static HPM_TLS size_t passed;

static void forget_parents_counts(void)
{
    stack_count = equal_count = untabled_count = guessed_count = wrong_count = frame_count = 0;
    kind_count = 0;
    pthread_mutex_init(&kinds_lock, NULL);
}

__attribute__((constructor)) static void start(void)
{
    const char *text;
    if ((text = getenv("UNWINDCMP_FILE")) != NULL)
        snprintf(file_name, sizeof(file_name), "%s", text);
    if ((text = getenv("UNWINDCMP_EVERY")) != NULL)
        every = strtoul(text, NULL, 10);
    if ((text = getenv("UNWINDCMP_MAX")) != NULL)
        max_count = strtoul(text, NULL, 10);
    unwind_init();
    pthread_atfork(NULL, NULL, forget_parents_counts);
    is_ready = file_name[0] != '\0' && every > 0;
}

#if defined(JUDGE_TRUTH)
#define UNWATCHED __attribute__((no_instrument_function))

extern const char __start_falling[], __stop_falling[];
static uintptr_t calls[WALK_MAX * 4]; // return addresses of the functions that run
static size_t call_count;

UNWATCHED void __cyg_profile_func_enter(void *function, void *return_address);
UNWATCHED void __cyg_profile_func_exit(void *function, void *return_address);

void __cyg_profile_func_enter(void *function, void *return_address)
{
    (void)function;
    if (call_count < sizeof(calls) / sizeof(calls[0]))
        calls[call_count] = (uintptr_t)return_address;
    call_count++;
}

void __cyg_profile_func_exit(void *function, void *return_address)
{
    (void)function, (void)return_address;
    call_count--;
}

static bool is_watched(uintptr_t address)
{
    return address > (uintptr_t)__start_falling && address <= (uintptr_t)__stop_falling;
}

/* The outermost is what called main, which has no table: that it is the end is known all the same.
 */
static void walk_theirs(struct stack *stack, uintptr_t caller)
{
    *stack = (struct stack){.frames = {caller}, .count = 1, .untabled = SIZE_MAX};
    for (size_t i = call_count; i > 0 && stack->count < WALK_MAX; i--) {
        if (stack->untabled == SIZE_MAX && !is_watched(stack->frames[stack->count - 1]))
            stack->untabled = stack->count - 1;
        stack->frames[stack->count++] = calls[i - 1];
    }
}
#elif defined(JUDGE_LIBGCC)
static _Unwind_Reason_Code add_frame(struct _Unwind_Context *context, void *argument)
{
    struct stack *stack = argument;
    int is_exact = 0;
    uintptr_t pc = _Unwind_GetIPInfo(context, &is_exact);
    if (pc == 0 || stack->count == WALK_MAX)
        return _URC_END_OF_STACK;
    stack->frames[stack->count++] = pc + (is_exact != 0);
    return _URC_NO_REASON;
}

static HPM_NOINLINE void walk_theirs(struct stack *stack, uintptr_t caller)
{
    (void)caller;
    stack->count = 0;
    stack->untabled = SIZE_MAX;
    stack->end = (int)_Unwind_Backtrace(add_frame, stack);
}
#else
/* For code it knows nothing of, libunwind makes up a function of one byte. */
static bool has_table(unw_cursor_t *cursor)
{
    unw_proc_info_t info;
    return unw_get_proc_info(cursor, &info) == 0 && info.end_ip > info.start_ip + 1;
}

/* By steps: each can fail by itself. */
static HPM_NOINLINE void walk_theirs(struct stack *stack, uintptr_t caller)
{
    (void)caller;
    unw_context_t context;
    unw_cursor_t cursor;
    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    stack->count = 0;
    stack->untabled = SIZE_MAX;
    while ((stack->end = unw_step(&cursor)) > 0 && stack->count < WALK_MAX) {
        unw_word_t pc = 0;
        unw_get_reg(&cursor, UNW_REG_IP, &pc);
        if (pc == 0)
            break;
        if (stack->untabled == SIZE_MAX && !has_table(&cursor))
            stack->untabled = stack->count;
        stack->frames[stack->count++] = (uintptr_t)pc + (unw_is_signal_frame(&cursor) < 0);
    }
}
#endif

/* Drops what lies inside the allocation. */
static bool cut_inner(struct stack *stack, uintptr_t caller)
{
    for (size_t i = 0; i < stack->count && i < OWN_MAX; i++) {
        if (stack->frames[i] != caller)
            continue;
        stack->count -= i;
        memmove(stack->frames, stack->frames + i, stack->count * sizeof(uintptr_t));
        if (stack->untabled != SIZE_MAX)
            stack->untabled -= i;
        return true;
    }
    return false;
}

/* A frame that was interrupted is one byte further with us, to read as a return address. */
static bool same_frame(uintptr_t ours, uintptr_t theirs)
{
    return ours == theirs || ours == theirs + 1;
}

static size_t count_equal(const struct stack *ours, const struct stack *theirs)
{
    size_t i = 0;
    while (i < COMPARED_MAX && i < ours->count && i < theirs->count &&
           same_frame(ours->frames[i], theirs->frames[i]))
        i++;
    return i;
}

static bool are_equal(const struct stack *ours, const struct stack *theirs, size_t equal)
{
    return equal == COMPARED_MAX || (equal == ours->count && equal == theirs->count);
}

static void name_address(char *name, size_t bytes, uintptr_t address)
{
    Dl_info info;
    if (address == 0)
        snprintf(name, bytes, "its end");
    else if (dladdr((void *)(address - 1), &info) == 0 || info.dli_fname == NULL)
        snprintf(name, bytes, "%#zx", (size_t)address);
    else
        snprintf(name, bytes, "%s+%#zx (%s)", info.dli_fname,
                 (size_t)(address - (uintptr_t)info.dli_fbase),
                 info.dli_sname != NULL ? info.dli_sname : "?");
}

static uintptr_t frame_or_end(const struct stack *stack, size_t index)
{
    return index < stack->count ? stack->frames[index] : 0;
}

static void remember(const struct stack *ours, const struct stack *theirs, size_t index,
                     bool is_guess)
{
    uintptr_t from = index > 0 ? ours->frames[index - 1] : 0;
    pthread_mutex_lock(&kinds_lock);
    size_t i = 0;
    while (i < kind_count && (kinds[i].from != from || kinds[i].is_guess != is_guess))
        i++;
    if (i == kind_count && kind_count < KINDS_MAX) {
        struct kind *kind = &kinds[kind_count++];
        *kind = (struct kind){.from = from, .index = index, .is_guess = is_guess};
        kind->ours = frame_or_end(ours, index);
        kind->theirs = frame_or_end(theirs, index);
        kind->our_end = ours->end;
        kind->their_end = theirs->end;
        name_address(kind->from_name, sizeof(kind->from_name), from);
        name_address(kind->our_name, sizeof(kind->our_name), kind->ours);
        name_address(kind->their_name, sizeof(kind->their_name), kind->theirs);
    }
    if (i < kind_count)
        kinds[i].seen++;
    pthread_mutex_unlock(&kinds_lock);
}

static HPM_NOINLINE void compare(uintptr_t caller)
{
    struct stack ours = {.untabled = SIZE_MAX}, theirs;
    enum stack_end end;
    ours.count = unwind_walk(ours.frames, WALK_MAX, &end);
    ours.end = (int)end;
    walk_theirs(&theirs, caller);
    stack_count++;
    bool is_whole = cut_inner(&ours, caller) & cut_inner(&theirs, caller);
    size_t equal = is_whole ? count_equal(&ours, &theirs) : 0;
    untabled_count += theirs.untabled < COMPARED_MAX;
    if (is_whole && are_equal(&ours, &theirs, equal)) {
        equal_count++;
        frame_count += equal;
        return;
    }
    bool is_guess = theirs.untabled < equal;
    *(is_guess ? &guessed_count : &wrong_count) += 1;
    remember(&ours, &theirs, equal, is_guess);
}

static HPM_NOINLINE void allocation(uintptr_t caller)
{
    if (!is_ready || is_inside || ++passed % every != 0 || stack_count >= max_count)
        return;
    is_inside = true;
    compare(caller);
    is_inside = false;
}

#define CALLER ((uintptr_t)__builtin_return_address(0))
#define EXPORT __attribute__((visibility("default")))

#if defined(STATIC)
void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);

void *__wrap_malloc(size_t bytes)
{
    allocation(CALLER);
    return __real_malloc(bytes);
}

/* musl's calls malloc, which is no allocation of the program's. */
void *__wrap_calloc(size_t count, size_t bytes)
{
    allocation(CALLER);
    bool was_inside = is_inside;
    is_inside = true;
    void *object = __real_calloc(count, bytes);
    is_inside = was_inside;
    return object;
}

void *__wrap_realloc(void *old, size_t bytes)
{
    allocation(CALLER);
    bool was_inside = is_inside;
    is_inside = true;
    void *object = __real_realloc(old, bytes);
    is_inside = was_inside;
    return object;
}
#else
/* The allocator that the program has without us. */
#define NEXT(name)                                                                                 \
    ({                                                                                             \
        static __typeof__(&name) next;                                                             \
        if (next == NULL)                                                                          \
            next = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                     \
        next;                                                                                      \
    })

EXPORT void *malloc(size_t bytes)
{
    allocation(CALLER);
    return NEXT(malloc)(bytes);
}

EXPORT void *calloc(size_t count, size_t bytes)
{
    allocation(CALLER);
    return NEXT(calloc)(count, bytes);
}

EXPORT void *realloc(void *old, size_t bytes)
{
    allocation(CALLER);
    return NEXT(realloc)(old, bytes);
}

/* As the library has it. */
EXPORT int dlclose(void *object)
{
    int status = NEXT(dlclose)(object);
    unwind_cache_forget();
    return status;
}
#endif

__attribute__((destructor)) static void finish(void)
{
    char path[4096];
    is_inside = true;
    if (!is_ready || stack_count == 0)
        return;
    snprintf(path, sizeof(path), "%s.%d", file_name, (int)getpid());
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return;
    fprintf(file, "stacks %zu equal %zu untabled %zu guessed %zu wrong %zu frames %zu\n",
            stack_count, equal_count, untabled_count, guessed_count, wrong_count, frame_count);
    for (size_t i = 0; i < kind_count; i++) {
        const struct kind *kind = &kinds[i];
        fprintf(file, "%s %zu: frame %zu, from %s: ours %s (%d), the judge's %s (%d)\n",
                kind->is_guess ? "guess" : "wrong", kind->seen, kind->index, kind->from_name,
                kind->our_name, kind->our_end, kind->their_name, kind->their_end);
    }
    fclose(file);
}
