/* What may come at any instruction: the signal that asks for a dump, inside malloc,
 * free, a dump, and fork; a fork by another thread. At some of them, at STEPS_TIMES as many. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hpmalloc.h"
#include "stepper.h"
#include "tap.h"

#ifdef STEPPER_WORKS
static char folder[] = "/tmp/hpmalloc-steps-XXXXXX";

/* The library reads its options as the program starts. */
__attribute__((constructor)) static void begin_in_folder(void)
{
    char pattern[100];
    if (getenv("STEPS_FOLDER") != NULL) {
        strcpy(folder, getenv("STEPS_FOLDER"));
        return;
    }
    if (mkdtemp(folder) == NULL)
        abort();
    snprintf(pattern, sizeof(pattern), "%s/%%p.%%n", folder);
    setenv("STEPS_FOLDER", folder, 1);
    setenv("HPMALLOC_DUMP_PATH", pattern, 1);
    setenv("HPMALLOC_DUMP_FORMAT", "legacy", 1);
    setenv("HPMALLOC_SYMBOLIZE", "off", 1);
    setenv("HPMALLOC_SAMPLE_INTERVAL", "16k", 1);
    setenv("HPMALLOC_QUIET", "1", 1);
    char *arguments[] = {"steps_test", NULL};
    execv("/proc/self/exe", arguments);
    abort();
}

__attribute__((destructor)) static void remove_folder(void)
{
    rmdir(folder);
}

/* Takes the dumps away and returns how many there were of this process, and of others. */
static int take_dumps(int *of_others)
{
    int own = 0, others = 0;
    DIR *files = opendir(folder);
    for (struct dirent *file; files != NULL && (file = readdir(files)) != NULL;) {
        if (file->d_name[0] == '.')
            continue;
        *(atoi(file->d_name) == getpid() ? &own : &others) += 1;
        unlinkat(dirfd(files), file->d_name, 0);
    }
    if (files != NULL)
        closedir(files);
    if (of_others != NULL)
        *of_others = others;
    return own;
}

static size_t stride_for(size_t steps, size_t wanted)
{
    const char *times = getenv("STEPS_TIMES");
    wanted *= times != NULL ? (size_t)atol(times) : 1;
    return steps <= wanted ? 1 : steps / wanted | 1;
}

static void ask_for_dump(void)
{
    raise(SIGUSR2);
}

enum { BLOCKS = 60 };
static char *blocks[BLOCKS];

/* Nothing is copied: a step is one turn of a string instruction.
 *
 * Lists are filled, given back and filled again. */
static void use_small(void)
{
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = malloc(700);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}

static void use_large(void)
{
    char *block = malloc(100000), *other = malloc(300000);
    free(block);
    free(realloc(other, 290000));
}

static void use_huge(void)
{
    char *block = malloc((size_t)40 << 20);
    free(realloc(block, (size_t)90 << 20));
}

static void begin_and_end_heap(void)
{
    hpm_release_memory(SIZE_MAX);
    use_large();
}

static void dump(void)
{
    int fd = open("/dev/null", O_WRONLY);
    hpm_profile_write(HPM_PROFILE_HEAP, HPM_FORMAT_LEGACY, fd);
    close(fd);
}

static void check_each_dump(const char *what, void (*work)(void), size_t wanted)
{
    work();
    size_t steps = stepper_run(work, 0, ask_for_dump), tried = 0, wrong = 0;
    take_dumps(NULL);
    for (size_t at = 1; at < steps; at += stride_for(steps, wanted), tried++) {
        stepper_run(work, at, ask_for_dump);
        wrong += stepper.steps == at && take_dumps(NULL) != 1;
    }
    printf("# %s: %zu instructions, a signal at %zu of them\n", what, steps, tried);
    CHECK(steps > 500);
    CHECK_EQUAL(wrong, 0);
}

TEST(steps, a_dump_is_made_whatever_instruction_of_malloc_and_free_it_is_asked_for_at)
{
    check_each_dump("small blocks", use_small, 10);
    check_each_dump("large blocks", use_large, 10);
    check_each_dump("huge blocks", use_huge, 10);
    check_each_dump("memory given back", begin_and_end_heap, 4);
}

TEST(steps, a_dump_is_made_whatever_instruction_of_a_dump_it_is_asked_for_at)
{
    check_each_dump("a dump", dump, 2);
}

/* The library's key for the end of threads is older than this one, whose destructor comes after. */
static pthread_key_t end_key;

static void stop_stepping(void *unused)
{
    (void)unused;
    stepper_stop();
}

static void *step_to_end(void *target)
{
    use_small();
    pthread_setspecific(end_key, &end_key);
    stepper_start((size_t)(uintptr_t)target, ask_for_dump);
    return NULL;
}

static void end_stepped_thread(size_t target)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, step_to_end, (void *)(uintptr_t)target) != 0)
        abort();
    pthread_join(thread, NULL);
}

TEST(steps, a_dump_is_made_whatever_instruction_of_a_threads_end_it_is_asked_for_at)
{
    size_t wrong = 0, tried = 0;
    pthread_key_create(&end_key, stop_stepping);
    end_stepped_thread(0);
    end_stepped_thread(0);
    size_t steps = stepper.steps;
    take_dumps(NULL);
    for (size_t at = 1; at < steps; at += stride_for(steps, 30), tried++) {
        end_stepped_thread(at);
        wrong += stepper.steps == at && take_dumps(NULL) != 1;
    }
    printf("# a thread's end: %zu instructions, a signal at %zu of them\n", steps, tried);
    pthread_key_delete(end_key);
    CHECK(steps > 500);
    CHECK_EQUAL(wrong, 0);
}

static size_t fork_target;

static void step_from_here(void)
{
    if (fork_target != 0)
        stepper_start(fork_target, ask_for_dump);
}

/* What an answer that was put off would wait for. */
static void be_child(void)
{
    use_small();
    use_large();
    dump();
    _exit(0);
}

static int fork_stepped(size_t target)
{
    fork_target = target;
    pid_t child = fork();
    fork_target = 0;
    if (child == 0)
        be_child();
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

#ifdef __GLIBC__
enum { FORK_HAS_KNOWN_END = 1 };
#else // musl blocks them before it comes to _Fork
enum { FORK_HAS_KNOWN_END = 0 };
#endif

/* Our handler runs before the library's; stepping must end where the C library blocks all signals. */
TEST(steps, a_dump_asked_for_as_a_fork_begins_is_the_parents)
{
    void *end = FORK_HAS_KNOWN_END ? dlsym(RTLD_DEFAULT, "_Fork") : NULL;
    if (end == NULL)
        SKIP("it is not known where this C library's fork blocks all signals");
    stepper.stop_at = (greg_t)(uintptr_t)end;
    pthread_atfork(step_from_here, NULL, NULL);
    CHECK_EQUAL(fork_stepped((size_t)1 << 40), 0);
    size_t steps = stepper.steps, lost = 0, others = 0, failed = 0;
    CHECK(steps > 200);
    take_dumps(NULL);
    for (size_t at = 1; at < steps; at += stride_for(steps, 40)) {
        int of_others;
        failed += fork_stepped(at) != 0;
        lost += take_dumps(&of_others) != 1;
        others += of_others != 0;
    }
    stepper.stop_at = 0;
    printf("# %zu instructions\n", steps);
    CHECK_EQUAL(failed, 0);
    CHECK_EQUAL(lost, 0);
    CHECK_EQUAL(others, 0);
}

/* A thread halts at an instruction; when what it holds keeps the fork from going on, it goes on too. */
static struct {
    _Atomic bool has_halted, is_forked;
    size_t target;
    void (*work)(void);
    size_t steps;
} halting;

enum { LIVE = 100, CHILD_BLOCKS = 1500 };
static unsigned char *live[LIVE];

static void halt(void)
{
    halting.has_halted = true;
    for (int i = 0; i < 20 && !halting.is_forked; i++)
        usleep(500);
}

static void *step_to_halt(void *unused)
{
    for (int i = 0; i < LIVE; i++)
        live[i] = memset(malloc(700), i, 700);
    halting.steps = stepper_run(halting.work, halting.target, halt);
    halting.has_halted = true;
    while (!halting.is_forked)
        usleep(100);
    for (int i = 0; i < LIVE; i++)
        free(live[i]);
    return unused;
}

static bool is_filled(const unsigned char *block, int sign)
{
    for (int i = 0; i < 700; i++) {
        if (block[i] != (unsigned char)sign)
            return false;
    }
    return true;
}

/* Takes over the cache of the thread that is no more, and more. */
static void *allocate_all(void *is_fine)
{
    static unsigned char *taken[CHILD_BLOCKS];
    bool fine = true;
    for (int i = 0; i < CHILD_BLOCKS; i++)
        taken[i] = memset(malloc(700), i % 251, 700);
    for (int i = 0; i < LIVE; i++)
        fine &= is_filled(live[i], i);
    for (int i = 0; i < CHILD_BLOCKS; i++) {
        fine &= is_filled(taken[i], i % 251);
        free(taken[i]);
    }
    for (int i = 0; i < LIVE; i++)
        free(live[i]);
    use_large();
    *(bool *)is_fine = fine;
    return NULL;
}

static int fork_beside(size_t target)
{
    pthread_t thread;
    halting.target = target;
    halting.has_halted = halting.is_forked = false;
    pthread_create(&thread, NULL, step_to_halt, NULL);
    while (!halting.has_halted)
        usleep(50);
    pid_t child = fork();
    if (child == 0) {
        bool is_fine = false;
        alarm(60);
        pthread_create(&thread, NULL, allocate_all, &is_fine);
        pthread_join(thread, NULL);
        _exit(!is_fine);
    }
    halting.is_forked = true;
    int status = -1;
    waitpid(child, &status, 0);
    pthread_join(thread, NULL);
    return status;
}

static void check_each_fork(const char *what, void (*work)(void), size_t wanted)
{
    halting.work = work;
    CHECK_EQUAL(fork_beside((size_t)1 << 40), 0);
    size_t steps = halting.steps, tried = 0, wrong = 0;
    for (size_t at = 1; at < steps; at += stride_for(steps, wanted), tried++)
        wrong += fork_beside(at) != 0;
    printf("# %s: %zu instructions, a fork at %zu of them\n", what, steps, tried);
    CHECK(steps > 500);
    CHECK_EQUAL(wrong, 0);
}

TEST(steps, whatever_instruction_a_thread_is_at_a_child_finds_no_block_twice)
{
    check_each_fork("small blocks", use_small, 10);
    check_each_fork("large blocks", use_large, 10);
    check_each_fork("memory given back", begin_and_end_heap, 4);
}
#else
TEST(steps, a_dump_is_made_whatever_instruction_of_malloc_and_free_it_is_asked_for_at)
{
    SKIP("the trap flag is x86-64's, and not for sanitizers");
}
#endif
