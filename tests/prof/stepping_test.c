/* A walk at every instruction of functions without frame pointers, of the C library's too: from the
 * handler of the processor's trap after each. What the stack is, is known from watching every call
 * and return; the walk must find just that, whatever of a frame is set up or torn down already. Built
 * twice: bound when loaded, and lazily, where each first call goes through the loader. */
#define _GNU_SOURCE
#include <alloca.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/base.h"
#include "prof/unwind.h"
#include "tap.h"

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FRAME __attribute__((noinline, noclone))

enum { DEPTH = 64, TRAP_FLAG = 0x100, ALTERNATE_BYTES = 64 * KiB, SHOWN_MAX = 10 };

__attribute__((constructor(1000))) static void prepare(void)
{
    unwind_init();
}

/* The stepping at work, in one thread at a time. */
static struct {
    bool is_on;
    uintptr_t last_pc, last_sp;
    uintptr_t calls[DEPTH]; // return addresses, as calls were watched
    size_t depth;
    uintptr_t caller; // of what is stepped first
    size_t steps, wrong;
} stepping;

/* A call puts the address behind itself on the stack and goes elsewhere; a return takes it off. */
static void watch(uintptr_t pc, uintptr_t sp)
{
    uintptr_t top = *(const uintptr_t *)sp;
    if (sp == stepping.last_sp - 8 && top > stepping.last_pc && top <= stepping.last_pc + 8 &&
        pc != top && stepping.depth < DEPTH)
        stepping.calls[stepping.depth++] = top;
    else if (sp == stepping.last_sp + 8 && stepping.depth > 0 &&
             pc == stepping.calls[stepping.depth - 1])
        stepping.depth--;
    stepping.last_pc = pc;
    stepping.last_sp = sp;
}

static bool is_truth(const uintptr_t *frames, size_t count, uintptr_t pc)
{
    size_t at = 0;
    while (at < count && frames[at] != pc + 1)
        at++;
    for (size_t i = stepping.depth; i > 0; i--) {
        if (++at >= count || frames[at] != stepping.calls[i - 1])
            return false;
    }
    return ++at < count && frames[at] == stepping.caller;
}

static void show_wrong(uintptr_t pc, size_t count, enum stack_end end)
{
    Dl_info info = {.dli_fname = NULL};
    if (++stepping.wrong > SHOWN_MAX)
        return;
    dladdr((void *)pc, &info);
    printf("# wrong at %s %s+%#zx: %zu frames, ended by %d, %zu calls deep\n", info.dli_fname,
           info.dli_sname, (size_t)(pc - (uintptr_t)info.dli_saddr), count, end, stepping.depth);
}

static void on_trap(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t pc = (uintptr_t)registers[REG_RIP], frames[DEPTH];
    enum stack_end end;
    if (!stepping.is_on) {
        registers[REG_EFL] &= ~TRAP_FLAG;
        return;
    }
    registers[REG_EFL] |= TRAP_FLAG;
    watch(pc, (uintptr_t)registers[REG_RSP]);
    size_t count = unwind_walk(frames, DEPTH, &end);
    stepping.steps++;
    if (!is_truth(frames, count, pc))
        show_wrong(pc, count, end);
}

static void take_traps(bool on_alternate_stack)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | (on_alternate_stack ? SA_ONSTACK : 0)};
    action.sa_sigaction = on_trap;
    sigaction(SIGTRAP, &action, NULL);
}

/* Steps through the function's work. */
FRAME static void step_through(void (*work)(void))
{
    memset(&stepping, 0, sizeof(stepping));
    stepping.caller = (uintptr_t)__builtin_return_address(0);
    stepping.is_on = true;
    __asm__ volatile("int3" ::: "memory");
    work();
    stepping.is_on = false;
    __asm__ volatile("nop" ::: "memory");
}

static void step_and_check(void (*work)(void), size_t steps_min)
{
    step_through(work);
    CHECK(stepping.steps >= steps_min);
    CHECK_EQUAL(stepping.wrong, 0);
}

static volatile long sink, zero;

FRAME static long leaf(long a, long b)
{
    return a * 31 + b % 7;
}

FRAME static long many_registers(long a, long b, long c, long d, long e, long f)
{
    if (a < 0)
        return b;
    long sum = 0;
    for (long i = 0; i < 3; i++)
        sum += leaf(a + i, b) * leaf(c, d) + leaf(e, f + i) - a * b * c;
    return sum + a + b + c + d + e + f;
}

FRAME static long grows_its_frame(long size)
{
    volatile char *bytes = alloca((size_t)size);
    bytes[size - 1] = 3;
    return leaf(bytes[size - 1], size) + many_registers(size, 2, 3, 4, 5, 6);
}

FRAME static long aligns_its_frame(long x)
{
    volatile long words[32] __attribute__((aligned(128)));
    words[5] = x;
    return leaf(words[5], x) + grows_its_frame(100);
}

FRAME static long returns_early(long x)
{
    if (x == 0)
        return 7;
    long kept = leaf(x, x);
    sink += kept;
    return x > 5 ? kept : many_registers(kept, x, 1, 2, 3, 4) + kept;
}

FRAME static long jumps_out(long x)
{
    return many_registers(x, x, x, x, x, x);
}

static void own_functions(void)
{
    long (*volatile pointer)(long) = aligns_its_frame;
    sink +=
        pointer(300) + returns_early(zero) + returns_early(3) + returns_early(9) + jumps_out(-1);
    sink += jumps_out(1);
}

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void library_functions(void)
{
    static int numbers[] = {5, 3, 8, 1, 9, 2, 7};
    char text[200], copy[200];
    sink += snprintf(text, sizeof(text), "%ld %s %.3f %p", sink, "words", 2.5, (void *)text);
    memcpy(copy, text, strlen(text) + 1);
    sink += strtol(copy, NULL, 10) + (strchr(copy, 'w') != NULL);
    qsort(numbers, array_count(numbers), sizeof(numbers[0]), compare);
    sink += getpid();
}

TEST(unwind, at_every_instruction_the_callers_are_found)
{
    take_traps(false);
    step_and_check(own_functions, 300);
}

#ifdef __GLIBC__
enum { HAS_LIBC_TABLES = true };
#else // musl's functions have no unwind tables
enum { HAS_LIBC_TABLES = false };
#endif

TEST(unwind, at_every_instruction_of_the_C_library_the_callers_are_found)
{
    if (!HAS_LIBC_TABLES)
        SKIP("this C library has no unwind tables");
    take_traps(false);
    step_and_check(library_functions, 1000);
}

static void set_alternate_stack(void *start)
{
    stack_t alternate = {.ss_sp = start, .ss_size = ALTERNATE_BYTES};
    sigaltstack(&alternate, NULL);
    take_traps(true);
}

static void drop_alternate_stack(void)
{
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
}

TEST(unwind, from_an_alternate_stack_far_below_the_callers_are_found_beyond_it)
{
    static char alternate[ALTERNATE_BYTES] __attribute__((aligned(4096)));
    set_alternate_stack(alternate);
    step_and_check(own_functions, 300);
    if (HAS_LIBC_TABLES)
        step_and_check(library_functions, 1000);
    drop_alternate_stack();
}

/* Pages that cannot be read lie between the two. */
TEST(unwind, from_an_alternate_stack_between_guards_the_callers_are_found_beyond_it)
{
    char *pages = mmap(NULL, ALTERNATE_BYTES + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages + 4096, ALTERNATE_BYTES, PROT_READ | PROT_WRITE);
    set_alternate_stack(pages + 4096);
    step_and_check(own_functions, 300);
    drop_alternate_stack();
    munmap(pages, ALTERNATE_BYTES + 8192);
}

static void *step_in_thread(void *alternate)
{
    if (alternate != NULL)
        set_alternate_stack(alternate);
    step_through(own_functions);
    drop_alternate_stack();
    return NULL;
}

/* The main thread's stack lies above every thread's. */
TEST(unwind, from_an_alternate_stack_above_the_callers_are_found_below_it)
{
    char alternate[ALTERNATE_BYTES];
    pthread_t thread;
    pthread_create(&thread, NULL, step_in_thread, alternate);
    pthread_join(thread, NULL);
    CHECK(stepping.steps >= 300);
    CHECK_EQUAL(stepping.wrong, 0);
}
#else
TEST(unwind, at_every_instruction_the_callers_are_found)
{
    SKIP("the trap flag is x86-64's, and sanitizers keep values between the frames");
}
#endif
