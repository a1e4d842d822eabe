#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "prof/elffile.h"
#include "prof/objects.h"
#include "prof/unwind.h"
#include "prof/unwind_cfi.h"
#include "tap.h"

/* This file is compiled twice, with frame pointers and without: the walk is exact either way. */
#define FRAME __attribute__((noinline, noclone))

enum { DEPTH = 64 };

__attribute__((constructor(1000))) static void prepare(void)
{
    unwind_init();
}

struct walk {
    uintptr_t frames[DEPTH];
    size_t count;
    enum stack_end end;
};

/* Keeps a call from becoming a jump. */
#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

/* In a section of its own, which is to be the library's. */
FRAME __attribute__((section("own_code"))) static void innermost(struct walk *walk, size_t max)
{
    walk->count = unwind_walk(walk->frames, max, &walk->end);
    KEEP_FRAME();
}

FRAME static void middle(struct walk *walk, size_t max)
{
    innermost(walk, max);
    KEEP_FRAME();
}

FRAME static void outermost(struct walk *walk, size_t max)
{
    middle(walk, max);
    KEEP_FRAME();
}

FRAME static void recurse(struct walk *walk, size_t max, int depth)
{
    if (depth == 0)
        innermost(walk, max);
    else
        recurse(walk, max, depth - 1);
    KEEP_FRAME();
}

/* Functions this small are within 200 bytes of their beginning. */
#ifdef __SANITIZE_ADDRESS__
enum { FUNCTION_BYTES = 1000 };
#else
enum { FUNCTION_BYTES = 200 };
#endif

/* It calls handlers itself, some time later. */
#ifdef __SANITIZE_THREAD__
enum { ARE_HANDLERS_CALLED_AT_ONCE = false };
#else
enum { ARE_HANDLERS_CALLED_AT_ONCE = true };
#endif

static bool is_in(uintptr_t address, const void *function)
{
    return address > (uintptr_t)function && address < (uintptr_t)function + FUNCTION_BYTES;
}

static size_t find_chain(const struct walk *walk)
{
    for (size_t i = 0; i + 2 < walk->count; i++) {
        if (is_in(walk->frames[i], (void *)innermost) &&
            is_in(walk->frames[i + 1], (void *)middle) &&
            is_in(walk->frames[i + 2], (void *)outermost))
            return i;
    }
    return SIZE_MAX;
}

TEST(unwind, the_chain_of_callers_is_found_innermost_first)
{
    struct walk walk;
    outermost(&walk, DEPTH);
    CHECK_EQUAL(find_chain(&walk), 0);
    CHECK(walk.count >= 5);
}

TEST(unwind, no_more_frames_are_stored_than_asked_and_the_rest_is_told)
{
    struct walk walk = {.frames = {0}};
    walk.frames[2] = 12345;
    outermost(&walk, 2);
    CHECK_EQUAL(walk.count, 2);
    CHECK_EQUAL(walk.frames[2], 12345);
    CHECK_EQUAL(walk.end, STACK_TOO_DEEP);
    CHECK(is_in(walk.frames[1], (void *)middle));
}

TEST(unwind, a_stack_deeper_than_asked_is_cut_at_its_outer_end)
{
    struct walk walk;
    recurse(&walk, DEPTH, 1000);
    CHECK_EQUAL(walk.count, DEPTH);
    CHECK_EQUAL(walk.end, STACK_TOO_DEEP);
    CHECK(is_in(walk.frames[0], (void *)innermost));
    CHECK(is_in(walk.frames[DEPTH - 1], (void *)recurse));
}

static void *walk_here(void *walk)
{
    outermost(walk, DEPTH);
    return NULL;
}

TEST(unwind, a_threads_stack_ends_with_the_thread)
{
    struct walk walk;
    pthread_t thread;
    pthread_create(&thread, NULL, walk_here, &walk);
    pthread_join(thread, NULL);
    CHECK_EQUAL(find_chain(&walk), 0);
    CHECK(walk.count >= 4 && walk.count < 10);
    CHECK(is_in(walk.frames[3], (void *)walk_here));
}

TEST(unwind, errno_is_kept)
{
    struct walk walk;
    errno = 4711;
    outermost(&walk, DEPTH);
    CHECK_EQUAL(errno, 4711);
}

extern const char __start_own_code[] HPM_HIDDEN, __stop_own_code[] HPM_HIDDEN; // by the linker

TEST(unwind, frames_of_the_library_itself_are_left_out)
{
    struct walk walk;
    unwind_set_own_code(__start_own_code, __stop_own_code);
    recurse(&walk, DEPTH, 3);
    unwind_set_own_code(NULL, NULL);
    CHECK(is_in(walk.frames[0], (void *)recurse));
}

#ifdef __GLIBC__
static ucontext_t main_context, fibre_context;
static struct walk fibre_walk;

static void run_fibre(void)
{
    outermost(&fibre_walk, DEPTH);
}

/* A small stack between pages that cannot be read: a step beyond its end would be a fault. */
TEST(unwind, a_fibres_stack_is_walked_and_never_left)
{
    enum { FIBRE_BYTES = 64 * 1024 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, FIBRE_BYTES + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages + page, FIBRE_BYTES, PROT_READ | PROT_WRITE);
    getcontext(&fibre_context);
    fibre_context.uc_stack.ss_sp = pages + page;
    fibre_context.uc_stack.ss_size = FIBRE_BYTES;
    fibre_context.uc_link = &main_context;
    makecontext(&fibre_context, run_fibre, 0);
    swapcontext(&main_context, &fibre_context);
    CHECK_EQUAL(find_chain(&fibre_walk), 0);
    munmap(pages, FIBRE_BYTES + 2 * page);
}
#else
TEST(unwind, a_fibres_stack_is_walked_and_never_left)
{
    SKIP("this C library has no getcontext");
}
#endif

#if defined(__x86_64__) && !defined(NO_FRAME_POINTERS)
/* Walks with a frame whose caller's frame pointer is `lie`. */
FRAME static void walk_with_lie(struct walk *walk, uintptr_t lie)
{
    uintptr_t *frame = __builtin_frame_address(0);
    uintptr_t truth = frame[0];
    frame[0] = lie;
    KEEP_FRAME();
    innermost(walk, DEPTH);
    KEEP_FRAME();
    frame[0] = truth;
    KEEP_FRAME();
}

TEST(unwind, a_wrong_frame_pointer_ends_the_stack_and_never_the_program)
{
    char *hole = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t lies[] = {0,           1,        8,           4096,     UINTPTR_MAX,
                        UINTPTR_MAX - 15, here + 3, here - 4096, (uintptr_t)hole,
                        here + 4 * MiB,   (uintptr_t)1 << 47, (uintptr_t)1 << 63};
    for (size_t i = 0; i < array_count(lies); i++) {
        struct walk walk = {.count = 0};
        walk_with_lie(&walk, lies[i]);
        CHECK(walk.count >= 1);
        CHECK(is_in(walk.frames[0], (void *)innermost));
    }
    munmap(hole, 4096);
}
#endif

enum { STACK_BYTES = 65536 };
static struct walk handler_walk;

/* Without unwind tables, as musl's, the C library's own frames end a stack before its root. */
#ifdef __GLIBC__
enum { HAS_LIBC_TABLES = true };
#else
enum { HAS_LIBC_TABLES = false };
#endif

static bool is_whole(const struct walk *walk)
{
    return walk->end == STACK_WHOLE || !HAS_LIBC_TABLES;
}

static void walk_in_handler(int number)
{
    (void)number;
    outermost(&handler_walk, DEPTH);
}

FRAME static void interrupted(void *stack, size_t bytes)
{
    stack_t other = {.ss_sp = stack, .ss_size = bytes};
    struct sigaction action = {.sa_handler = walk_in_handler, .sa_flags = SA_ONSTACK};
    sigaltstack(&other, NULL);
    sigaction(SIGUSR1, &action, NULL);
    handler_walk.count = 0;
    raise(SIGUSR1);
    KEEP_FRAME();
}

static size_t find_frame_in(const struct walk *walk, const void *function)
{
    size_t i = 0;
    while (i < walk->count && !is_in(walk->frames[i], function))
        i++;
    return i < walk->count ? i : SIZE_MAX;
}

static void *interrupt_here(void *stack)
{
    interrupted(stack, STACK_BYTES);
    sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
    return NULL;
}

static bool came_to_what_was_interrupted(void)
{
    return find_chain(&handler_walk) == 0 && is_whole(&handler_walk) &&
           find_frame_in(&handler_walk, (void *)interrupted) < 8;
}

/* The first thread's stack is above all that a program maps. */
TEST(unwind, a_handlers_own_stack_above_or_below_leads_to_what_it_interrupted)
{
    static char below[STACK_BYTES];
    char above[STACK_BYTES];
    pthread_t thread;
    if (!ARE_HANDLERS_CALLED_AT_ONCE)
        SKIP("ThreadSanitizer calls handlers itself");
    if (!HAS_LIBC_TABLES)
        SKIP("this C library's raise has no unwind table");
    interrupt_here(below);
    CHECK(came_to_what_was_interrupted());
    pthread_create(&thread, NULL, interrupt_here, above);
    pthread_join(thread, NULL);
    CHECK(came_to_what_was_interrupted());
}

#if defined(__x86_64__)
/* Functions that trap in the middle: one has taken back rbp, whose place its table still names
 * below the stack pointer; the other is aligning its stack and has the frame in r10. */
__asm__(".text\n"
        "trap_after_pop:\n.cfi_startproc\n"
        "push %rbp\n.cfi_def_cfa_offset 16\n.cfi_offset %rbp, -16\n"
        "pop %rbp\n.cfi_def_cfa_offset 8\nint3\nret\n.cfi_endproc\n"
        "trap_while_aligning:\n.cfi_startproc\n"
        "lea 8(%rsp), %r10\n.cfi_def_cfa %r10, 0\nand $-256, %rsp\nint3\n"
        "lea -8(%r10), %rsp\n.cfi_def_cfa %rsp, 8\nret\n.cfi_endproc\n");
void trap_after_pop(void);
void trap_while_aligning(void);

FRAME static void trapping(void (*trap)(void))
{
    struct sigaction action = {.sa_handler = walk_in_handler};
    sigaction(SIGTRAP, &action, NULL);
    handler_walk.count = 0;
    trap();
    KEEP_FRAME();
}

static bool came_to_the_trap(void)
{
    return find_chain(&handler_walk) == 0 && is_whole(&handler_walk) &&
           find_frame_in(&handler_walk, (void *)trapping) < 8;
}

TEST(unwind, registers_taken_back_are_found_below_an_interrupted_stack)
{
    if (!ARE_HANDLERS_CALLED_AT_ONCE)
        SKIP("ThreadSanitizer calls handlers itself");
    trapping(trap_after_pop);
    CHECK(came_to_the_trap());
}

TEST(unwind, a_function_interrupted_while_it_aligns_its_stack_is_walked_through)
{
    if (!ARE_HANDLERS_CALLED_AT_ONCE)
        SKIP("ThreadSanitizer calls handlers itself");
    trapping(trap_while_aligning);
    CHECK(came_to_the_trap());
}
#endif

/* Maps a program's code once more, as if another object were loaded; at `place` if it is given. */
static uintptr_t load_again(const char *path, uintptr_t place, size_t *bytes)
{
    struct elffile file;
    Elf64_Phdr segment;
    if (!elffile_open(&file, path) || !elffile_find_segment(&file, 0, file.bytes, &segment))
        return 0;
    elffile_close(&file);
    int fd = open(path, O_RDONLY);
    *bytes = segment.p_filesz;
    void *code = mmap((void *)place, *bytes, PROT_READ | PROT_EXEC,
                      MAP_PRIVATE | (place != 0 ? MAP_FIXED : 0), fd,
                      (off_t)round_down(segment.p_offset, 4096));
    close(fd);
    return (uintptr_t)code;
}

TEST(unwind, objects_loaded_one_after_the_other_are_found_at_once)
{
    enum { OBJECTS = 3 };
    uintptr_t code[OBJECTS];
    size_t bytes = 0;
    usleep(50000); // since whatever looked in vain before
    for (int i = 0; i < OBJECTS; i++) {
        code[i] = load_again("/proc/self/exe", 0, &bytes);
        CHECK(objects_find(code[i] + 100) == NULL);
        CHECK(objects_refresh(false));
        CHECK(objects_find(code[i] + 100) != NULL);
    }
    CHECK(objects_refresh(false));
    CHECK(!objects_refresh(false));
    for (int i = 0; i < OBJECTS; i++)
        munmap((void *)code[i], bytes);
}

/* A copy of this program's file, a byte longer. */
static void copy_program(char *path)
{
    struct elffile file;
    int fd = mkstemp(path);
    CHECK(elffile_open(&file, "/proc/self/exe"));
    CHECK(write(fd, file.start, file.bytes) == (ssize_t)file.bytes);
    CHECK(write(fd, "", 1) == 1);
    elffile_close(&file);
    close(fd);
}

TEST(unwind, an_object_loaded_where_another_was_is_not_taken_for_it)
{
    char path[] = "/tmp/unwind_test.XXXXXX";
    size_t bytes = 0;
    copy_program(path);
    uintptr_t code = load_again("/proc/self/exe", 0, &bytes);
    CHECK(objects_refresh(true));
    size_t former = objects_find(code)->copy_bytes;
    CHECK_EQUAL(load_again(path, code, &bytes), code);
    CHECK(objects_refresh(true));
    CHECK_EQUAL(objects_find(code)->copy_bytes, former + 1);
    munmap((void *)code, bytes);
    CHECK(objects_refresh(true));
    CHECK(objects_find(code) == NULL);
    CHECK(objects_refresh(false)); // what comes in its place is not kept waiting
    unlink(path);
}

TEST(unwind, the_method_has_a_name)
{
    CHECK(strcmp(unwind_method(), "cfi") == 0 ||
          strcmp(unwind_method(), "libunwind") == 0);
}

/* Whether the page is in this process's memory: bit 63 of its word (Linux's pagemap.rst). */
static bool is_mapped(uintptr_t address)
{
    uint64_t word = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY);
    ssize_t got = pread(fd, &word, sizeof(word), (off_t)(address / 4096 * sizeof(word)));
    close(fd);
    return got == sizeof(word) && word >> 63;
}

/* This program is linked so that its tables lie behind its code, in one segment. */
TEST(unwind, tables_that_lie_beside_code_are_given_back_and_nothing_else)
{
    if (tap_is_emulated())
        SKIP("the emulator passes on no advice about a file's pages");
    struct loaded_object *object = objects_find((uintptr_t)prepare);
    CHECK(object->is_constant && object->readable_start <= (uintptr_t)prepare);
    objects_forget_tables();
    CHECK_EQUAL(object->read_limit, 0);
    for (uintptr_t at = object->start; at < object->limit; at += 64)
        unwind_cfi_step_at(object, 0, at);
    uintptr_t start = object->read_start, limit = object->read_limit;
    CHECK(start > (uintptr_t)prepare && limit - start > 8192 && limit <= object->readable_limit);
    CHECK(objects_find((uintptr_t)printf)->read_limit == 0);
    uintptr_t page = round_up(start, 4096);
    bool can_see = is_mapped((uintptr_t)prepare);
    CHECK_EQUAL(is_mapped(page), can_see);
    objects_forget_tables();
    CHECK_EQUAL(object->read_limit, 0);
    CHECK(!is_mapped(page));
    CHECK_EQUAL(is_mapped((uintptr_t)prepare), can_see);
}
