/* Does to its stacks what programs do that no compiler made, and allocates meanwhile: run under the
 * library with each allocation sampled, by torture.sh, which says what must come of it.
 *
 * torture MODE [ARGUMENT...]; an exit status of 77 means: not on this machine. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define FRAME        __attribute__((noinline, noclone))
#define KEEP_FRAME() __asm__ volatile("" ::: "memory")
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { PAGE = 4096, NOT_HERE = 77, BLOCK_BYTES = 24 };

static uint64_t random_state = 88172645463325252u;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

static void fail(const char *what)
{
    fprintf(stderr, "torture: %s\n", what);
    exit(1);
}

static void use(void *block)
{
    if (block == NULL)
        fail("malloc returned NULL");
    memset(block, 0x5a, BLOCK_BYTES);
    free(block);
}

/* Pages with one on each side that cannot be touched. */
static char *map_guarded(size_t bytes)
{
    char *pages = mmap(NULL, bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + PAGE, bytes, PROT_READ | PROT_WRITE) != 0)
        fail("no memory");
    return pages + PAGE;
}

__attribute__((unused)) static int not_here(void)
{
    return NOT_HERE;
}

#if defined(__x86_64__)
/* Code without unwind data. malloc_with calls malloc with a frame pointer of the caller's choice;
 * malloc_on does so with the stack pointer too, with nothing but the return address below `top`. */
void *malloc_with(uintptr_t frame_pointer);
void *malloc_on(char *top, uintptr_t frame_pointer);
__asm__(".text\n"
        ".globl malloc_with\n.type malloc_with,@function\nmalloc_with:\n"
        "push %rbp\nmov %rdi, %rbp\nmov $24, %edi\ncall malloc@PLT\npop %rbp\nret\n"
        ".size malloc_with,.-malloc_with\n"
        ".globl malloc_on\n.type malloc_on,@function\nmalloc_on:\n"
        "push %rbp\npush %rbx\nmov %rsp, %rbx\nmov %rdi, %rsp\nmov %rsi, %rbp\nmov $24, %edi\n"
        "call malloc@PLT\nmov %rbx, %rsp\npop %rbx\npop %rbp\nret\n"
        ".size malloc_on,.-malloc_on\n");

/* Places a frame pointer might point to, were it none. */
static uintptr_t pick_lie(void)
{
    static char *hole;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (hole == NULL)
        hole = map_guarded(PAGE);
    const uintptr_t lies[] = {
        0,
        1,
        8,
        PAGE - 8,
        UINTPTR_MAX,
        UINTPTR_MAX - 7,
        here,
        here + 3,
        here + 4,
        here - 256,
        here + 4096,
        here + (4 << 20),
        here | 4088,
        (uintptr_t)hole,
        (uintptr_t)hole - 8,
        (uintptr_t)hole + PAGE - 8,
        (uintptr_t)hole + PAGE,
        (uintptr_t)1 << 47,
        ((uintptr_t)1 << 47) - 8,
        (uintptr_t)1 << 63,
        (uintptr_t)malloc,
        (uintptr_t)&lies,
        next_random(),
        next_random() >> 17,
        here + next_random() % (1 << 16),
        here + next_random() % (1 << 24) / 8 * 8,
    };
    return lies[next_random() % COUNT(lies)];
}

static int garble_register(void)
{
    for (int i = 0; i < 20000; i++)
        use(malloc_with(pick_lie()));
    return 0;
}

/* The frame pointer that its own caller saved, and the return address beside it when asked. */
FRAME static void *malloc_in_lie(uintptr_t frame_pointer, bool garble_return)
{
    uintptr_t *frame = __builtin_frame_address(0);
    uintptr_t truth[2] = {frame[0], frame[1]};
    frame[0] = frame_pointer;
    frame[1] ^= garble_return ? next_random() >> 16 : 0;
    KEEP_FRAME();
    void *block = malloc(BLOCK_BYTES);
    KEEP_FRAME();
    frame[0] = truth[0];
    frame[1] = truth[1];
    KEEP_FRAME();
    return block;
}

static int garble_frames(void)
{
    for (int i = 0; i < 20000; i++)
        use(malloc_in_lie(pick_lie(), i % 2));
    return 0;
}

/* Where the kernel's frame for a handler returns to. */
static uintptr_t signal_return(void)
{
    struct {
        void *handler;
        unsigned long flags;
        uintptr_t restorer;
        uint64_t mask;
    } action = {.handler = NULL};
    signal(SIGUSR1, (void (*)(int))exit);
    syscall(SYS_rt_sigaction, SIGUSR1, NULL, &action, 8);
    return action.restorer;
}

static void fill(uintptr_t *words, size_t count, uintptr_t restorer)
{
    const uintptr_t code[] = {restorer, (uintptr_t)printf + 1, (uintptr_t)garble_frames + 9,
                              (uintptr_t)malloc_with + 4, (uintptr_t)malloc + 1};
    for (size_t i = 0; i < count; i++)
        words[i] = i % 2 == 0 ? pick_lie() : code[next_random() % COUNT(code)];
}

/* Everything the callers keep on the stack is something else for a while. */
FRAME static void *malloc_in_rubble(uintptr_t restorer, uintptr_t frame_pointer)
{
    enum { WORDS = 256 };
    uintptr_t *callers = (uintptr_t *)__builtin_frame_address(0) + 2, kept[WORDS];
    memcpy(kept, callers, sizeof(kept));
    fill(callers, WORDS, restorer);
    KEEP_FRAME();
    void *block = malloc_with(frame_pointer != 0 ? frame_pointer : (uintptr_t)(callers + 3));
    KEEP_FRAME();
    memcpy(callers, kept, sizeof(kept));
    KEEP_FRAME();
    return block;
}

static int garble_stack(void)
{
    volatile char room[4096];
    uintptr_t restorer = signal_return();
    room[0] = 0;
    for (int i = 0; i < 20000; i++)
        use(malloc_in_rubble(restorer, i % 3 == 0 ? pick_lie() : 0));
    return room[0];
}

/* What the unwinder must take for the frame of a signal, which never came, as it leads to a stack
 * that is not there: below, above, and at no address at all. */
static int false_signal(void)
{
    enum { SAVED_SP = 160 / 8, SAVED_PC = 168 / 8 };
    char *hole = map_guarded(PAGE) + PAGE;
    const uintptr_t stacks[] = {
        0, 8, 0x10000, (uintptr_t)hole, (uintptr_t)hole - 8, UINTPTR_MAX - 7, (uintptr_t)1 << 63};
    for (size_t i = 0; i < COUNT(stacks); i++) {
        uintptr_t frame[64] = {0, signal_return()};
        frame[2 + SAVED_SP] = stacks[i];
        frame[2 + SAVED_PC] = (uintptr_t)printf + 1;
        use(malloc_with((uintptr_t)frame));
    }
    return 0;
}

static int stack_top(void)
{
    enum { STACK_BYTES = 16384 };
    char *stack = map_guarded(STACK_BYTES), *top = stack + STACK_BYTES;
    for (uintptr_t i = 0; i < 2000; i++) {
        char *from = top - i % 64 * 16;
        use(malloc_on(from, (uintptr_t)from - 32 + i % 80));
        use(malloc_on(from, (uintptr_t)top - 8));
        use(malloc_on(from, (uintptr_t)top));
        use(malloc_on(from, pick_lie()));
    }
    return 0;
}

/* A stack whose upper half goes away while the lower is used again: what was readable at the last
 * sample is not at the next. */
static int stack_shrinks(void)
{
    enum { STACK_BYTES = 65536 };
    char *stack = map_guarded(STACK_BYTES), *middle = stack + STACK_BYTES / 2;
    for (int i = 0; i < 3; i++) {
        use(malloc_on(middle, (uintptr_t)stack + STACK_BYTES - 64));
        mprotect(middle, STACK_BYTES / 2, PROT_NONE);
        use(malloc_on(middle, (uintptr_t)stack + STACK_BYTES - 64));
        mprotect(middle, STACK_BYTES / 2, PROT_READ | PROT_WRITE);
    }
    return 0;
}
#else
#define garble_register not_here
#define garble_frames   not_here
#define garble_stack    not_here
#define false_signal    not_here
#define stack_top       not_here
#define stack_shrinks   not_here
#endif

#ifdef __GLIBC__
enum { FIBRES = 32, FIBRE_BYTES = 8192, ROUNDS = 200 };

static ucontext_t scheduler, fibre[FIBRES];
static int fibres_at_work;

FRAME static void fibre_allocates(int depth)
{
    use(malloc(BLOCK_BYTES + (size_t)depth));
    if (depth > 0)
        fibre_allocates(depth - 1);
    KEEP_FRAME();
}

static void run_fibre(int number)
{
    for (int i = 0; i < ROUNDS; i++) {
        fibre_allocates(number % 5);
        swapcontext(&fibre[number], &scheduler);
    }
    fibres_at_work--;
}

static int fibres(void)
{
    for (int i = 0; i < FIBRES; i++) {
        getcontext(&fibre[i]);
        fibre[i].uc_stack.ss_sp = map_guarded(FIBRE_BYTES);
        fibre[i].uc_stack.ss_size = FIBRE_BYTES;
        fibre[i].uc_link = &scheduler;
        makecontext(&fibre[i], (void (*)(void))run_fibre, 1, i);
    }
    fibres_at_work = FIBRES;
    for (int round = 0; round <= ROUNDS; round++) {
        for (int i = 0; i < FIBRES; i++)
            swapcontext(&scheduler, &fibre[i]);
    }
    return fibres_at_work == 0 ? 0 : 1;
}
#else // musl has no swapcontext
#define fibres not_here
#endif

static _Atomic bool is_over;
static _Atomic long opened;

FRAME static void *calls_plugin(void *library, size_t bytes)
{
    void *(*allocate)(size_t) = (void *(*)(size_t))dlsym(library, "plugin_allocate");
    void *block = allocate(bytes);
    KEEP_FRAME();
    return block;
}

static void *open_plugin(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fail(dlerror());
    return library;
}

static void *open_and_close(void *path)
{
    while (!is_over) {
        void *library = open_plugin(path);
        for (size_t i = 0; i < 8; i++)
            use(calls_plugin(library, BLOCK_BYTES + i));
        dlclose(library);
        opened++;
    }
    return NULL;
}

/* Each path is opened and closed by a thread, while dumps are asked for. */
static int open_in_threads(char **paths, int count)
{
    pthread_t threads[64];
    for (int i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, open_and_close, paths[i]);
    for (int i = 0; i < 100; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        kill(getpid(), SIGUSR2);
    }
    is_over = true;
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    printf("%ld\n", (long)opened);
    return opened > 100 ? 0 : 1;
}

static bool is_near(void *a, void *b)
{
    uintptr_t distance = (uintptr_t)a - (uintptr_t)b;
    return distance + 2 * PAGE < 4 * PAGE;
}

/* Opens a plugin after another was closed, and comes to lie where that was. What it allocates
 * stays. */
static int open_after(void *was, const char *path)
{
    void *second = open_plugin(path);
    if (!is_near(dlsym(second, "plugin_allocate"), was))
        return NOT_HERE;
    return calls_plugin(second, 5000) != NULL ? 0 : 1;
}

static int open_in_turn(char **paths)
{
    void *first = open_plugin(paths[0]), *was = dlsym(first, "plugin_allocate");
    use(calls_plugin(first, BLOCK_BYTES));
    dlclose(first);
    return open_after(was, paths[1]);
}

/* The first file is written over with the second while it is not loaded, as `cp` does. */
static int open_replaced(char **paths)
{
    char command[1000];
    snprintf(command, sizeof(command), "cat '%s' >'%s'", paths[1], paths[0]);
    void *first = open_plugin(paths[0]), *was = dlsym(first, "plugin_allocate");
    use(calls_plugin(first, BLOCK_BYTES));
    dlclose(first);
    if (dlopen(paths[0], RTLD_NOW | RTLD_NOLOAD) != NULL)
        return NOT_HERE; // musl unloads nothing
    return system(command) == 0 ? open_after(was, paths[0]) : 1;
}

/* Counts who asks the loader or the compiler's unwinder, in front of the real ones. */
static _Atomic long asked;

int dl_iterate_phdr(int (*visit)(struct dl_phdr_info *, size_t, void *), void *data)
{
    static __typeof__(&dl_iterate_phdr) next;
    asked++;
    if (next == NULL)
        next = (__typeof__(&dl_iterate_phdr))dlsym(RTLD_NEXT, "dl_iterate_phdr");
    return next(visit, data);
}

int dladdr(const void *address, Dl_info *info)
{
    (void)address, (void)info;
    asked++;
    return 0;
}

int _Unwind_Backtrace(void *visit, void *data)
{
    (void)visit, (void)data;
    asked++;
    return 0;
}

const void *_Unwind_Find_FDE(void *pc, void *bases)
{
    (void)pc, (void)bases;
    asked++;
    return NULL;
}

int backtrace(void **frames, int count)
{
    (void)frames, (void)count;
    asked++;
    return 0;
}

static int ask_nobody(char **paths)
{
    long at_start = asked;
    for (size_t i = 0; i < 20000; i++)
        use(malloc(BLOCK_BYTES + i % 3000));
    void *library = open_plugin(paths[0]);
    use(calls_plugin(library, BLOCK_BYTES));
    dlclose(library);
    printf("%ld at start, %ld later\n", at_start, asked - at_start);
    return asked == at_start ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } modes[] = {{"register", garble_register}, {"frames", garble_frames}, {"stack", garble_stack},
                 {"signal", false_signal},      {"top", stack_top},        {"fibres", fibres},
                 {"shrinks", stack_shrinks}};
    const char *mode = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < COUNT(modes); i++) {
        if (strcmp(mode, modes[i].name) == 0)
            return modes[i].run();
    }
    if (strcmp(mode, "threads") == 0)
        return open_in_threads(argv + 2, argc - 2);
    if (strcmp(mode, "turn") == 0)
        return open_in_turn(argv + 2);
    if (strcmp(mode, "replaced") == 0)
        return open_replaced(argv + 2);
    return strcmp(mode, "nobody") == 0 ? ask_nobody(argv + 2) : 2;
}
