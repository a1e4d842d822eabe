/* malloc at unusual times: before constructors, as threads end, after fork, from opened libraries,
 * and after the library's own destructor. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <pty.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/glibc_names.h"
#include "hpmalloc.h"
#include "tap.h"

/* Sizes that are small, large, and huge. */
static const size_t sizes[] = {1, 100, 5000, 32768, 100000, 40000000};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static bool use_malloc(void)
{
    bool is_fine = true;
    for (int i = 0; i < SIZES; i++) {
        char *block = malloc(sizes[i]);
        if (block == NULL)
            return false;
        block[0] = block[sizes[i] - 1] = 1;
        char *zeroed = calloc(1, sizes[i]);
        is_fine &= zeroed != NULL && zeroed[0] == 0 && zeroed[sizes[i] - 1] == 0;
        block = realloc(block, sizes[i] * 2);
        is_fine &= block != NULL && block[0] == 1;
        free(zeroed);
        free(block);
    }
    return is_fine;
}

static char *early_small, *early_large;
static bool was_fine_early;
static bool shall_wait_in_prepare;
static unsigned waits_in_prepare;

static void *use_much(void *unused)
{
    static char *blocks[4000];
    for (int i = 0; i < 4000; i++)
        blocks[i] = malloc((size_t)i);
    for (int i = 0; i < 4000; i++)
        free(blocks[i]);
    return unused;
}

/* As libraries do that stop their threads before a fork. */
static void prepare_early(void)
{
    pthread_t thread;
    if (!shall_wait_in_prepare || pthread_create(&thread, NULL, use_much, NULL) != 0)
        return;
    pthread_join(thread, NULL);
    waits_in_prepare++;
}

/* As of no file: what a program registers by atexit is run with its own destructors, which come
 * before those of the libraries. */
int __cxa_atexit(void (*work)(void *), void *argument, void *file);

/* After all destructors, for it was registered before any constructor ran. */
static void at_the_very_end(void *unused)
{
    (void)unused;
    char *block = malloc(1000), *large = malloc(500000);
    bool is_fine = block != NULL && large != NULL && use_malloc();
    free(block);
    free(large);
    if (!is_fine)
        _exit(77);
}

static void at_exit(void)
{
    if (!use_malloc())
        _exit(78);
}

static void begin_early(int count, char **arguments, char **environment)
{
    (void)count, (void)arguments, (void)environment;
    was_fine_early = use_malloc();
    early_small = strcpy(malloc(100), "from before all constructors");
    early_large = strcpy(malloc(100000), "a large one too");
    atexit(at_exit);
    __cxa_atexit(at_the_very_end, NULL, NULL);
    pthread_atfork(prepare_early, NULL, NULL);
}

#ifdef __GLIBC__
enum { BEGINS_BEFORE_CONSTRUCTORS = 1 };
__attribute__((section(".preinit_array"), used)) static void (*early)(int, char **, char **) =
    begin_early;
#else // musl calls nothing before constructors
enum { BEGINS_BEFORE_CONSTRUCTORS = 0 };
__attribute__((constructor)) static void begin_late(void)
{
    begin_early(0, NULL, NULL);
}
#endif

TEST(lifecycle, malloc_works_before_any_constructor)
{
    if (!BEGINS_BEFORE_CONSTRUCTORS)
        SKIP("this C library calls nothing before constructors");
    CHECK(was_fine_early);
    CHECK_TEXT(early_small, "from before all constructors");
    CHECK_TEXT(early_large, "a large one too");
    free(early_small);
    free(early_large);
}

/* Runs in a child and tells how it ended: 0 when all was well. */
static int run_child(void (*work)(void))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(30);
        work();
    }
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

static void exit_normally(void)
{
    exit(0);
}

TEST(lifecycle, malloc_works_in_atexit_handlers_and_after_the_librarys_destructor)
{
    CHECK_EQUAL(run_child(exit_normally), 0);
}

enum { KEYS = 20 };
static pthread_key_t keys[KEYS];
static _Atomic int destroyed, failed_in_destructors;

/* Comes back until the C library gives up: four rounds for each key. */
static void destroy(void *block)
{
    destroyed++;
    failed_in_destructors += !use_malloc();
    free(block);
    for (int i = 0; i < KEYS; i++)
        pthread_setspecific(keys[i], i % 2 == 0 ? NULL : pthread_getspecific(keys[i]));
}

static void *set_keys(void *unused)
{
    for (int i = 0; i < KEYS; i++)
        pthread_setspecific(keys[i], malloc(100 + (size_t)i * 1000));
    return unused;
}

TEST(lifecycle, malloc_works_in_destructors_of_thread_keys)
{
    for (int i = 0; i < KEYS; i++)
        pthread_key_create(&keys[i], destroy);
    for (int round = 0; round < 20; round++) {
        pthread_t thread;
        pthread_create(&thread, NULL, set_keys, NULL);
        pthread_join(thread, NULL);
    }
    CHECK(destroyed > 0);
    CHECK_EQUAL(failed_in_destructors, 0);
    for (int i = 0; i < KEYS; i++)
        pthread_key_delete(keys[i]);
}

static _Atomic bool is_over;

static void *churn(void *unused)
{
    void *blocks[64] = {NULL};
    for (unsigned i = 0, seed = 1; !is_over; i++) {
        free(blocks[i % 64]);
        blocks[i % 64] = malloc((size_t)rand_r(&seed) % 2000 + (i % 1000 == 0 ? 100000 : 0));
    }
    for (int i = 0; i < 64; i++)
        free(blocks[i]);
    return unused;
}

static void *use_in_thread(void *is_fine)
{
    *(bool *)is_fine = use_malloc();
    return NULL;
}

static bool thread_can_use_malloc(void)
{
    pthread_t thread;
    bool is_fine = false;
    return pthread_create(&thread, NULL, use_in_thread, &is_fine) == 0 &&
           pthread_join(thread, NULL) == 0 && is_fine;
}

static void be_grandchild(void)
{
    _exit(use_malloc() && thread_can_use_malloc() ? 0 : 1);
}

static void be_child(void)
{
    bool is_fine = use_malloc() && thread_can_use_malloc();
    is_fine &= run_child(be_grandchild) == 0;
    _exit(is_fine ? 0 : 1);
}

/* So it is with glibc's malloc and qemu 7.2. */
static const char hangs[] =
    "under qemu children of programs with busy threads hang, with any malloc";

TEST(lifecycle, children_of_a_program_with_busy_threads_can_allocate_run_threads_and_fork)
{
    if (tap_is_emulated())
        SKIP(hangs);
    enum { THREADS = 4, FORKS = 100 };
    pthread_t threads[THREADS];
    is_over = false;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, churn, NULL);
    int failed = 0;
    for (int i = 0; i < FORKS; i++)
        failed += run_child(be_child) != 0;
    is_over = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(failed, 0);
}

TEST(lifecycle, handlers_of_fork_may_allocate_and_wait_for_threads_that_do)
{
    enum { FORKS = 20 };
    shall_wait_in_prepare = true;
    int failed = 0;
    for (int i = 0; i < FORKS; i++)
        failed += run_child(be_grandchild) != 0;
    shall_wait_in_prepare = false;
    CHECK_EQUAL(failed, 0);
    CHECK_EQUAL(waits_in_prepare, FORKS);
}

static int run_on_terminal(void (*work)(void))
{
    int terminal, status = -1;
    pid_t child = forkpty(&terminal, NULL, NULL, NULL);
    if (child == 0)
        work();
    waitpid(child, &status, 0);
    close(terminal);
    return status;
}

/* A program of its own: the first fork there is that of the C library. */
static void fork_inside_the_c_library(void)
{
    pthread_t thread;
    is_over = false;
    pthread_create(&thread, NULL, churn, NULL);
    int failed = 0;
    for (int i = 0; i < 50; i++)
        failed += run_on_terminal(be_grandchild) != 0;
    is_over = true;
    pthread_join(thread, NULL);
    int ends[2];
    char sign = 0;
    if (pipe(ends) == 0 && fork() == 0) {
        failed += daemon(1, 1) != 0 || !use_malloc() || !thread_can_use_malloc();
        _exit(write(ends[1], "d", 1) != 1);
    }
    failed += read(ends[0], &sign, 1) != 1 || sign != 'd';
    _exit(failed != 0);
}

TEST(lifecycle, forkpty_and_daemon_are_forks_too)
{
    if (tap_is_emulated())
        SKIP(hangs);
    CHECK_EQUAL(run_child(fork_inside_the_c_library), 0);
}

static void *_Atomic handed_over[100];

static void *live_shortly(void *number)
{
    for (size_t i = 1; i < 60; i++) {
        void *block = malloc(i * 50);
        free(atomic_exchange(&handed_over[((uintptr_t)number + i) % 100], block));
        free(malloc(i * 500));
    }
    return NULL;
}

static void run_threads(int count)
{
    enum { AT_ONCE = 8 };
    pthread_t threads[AT_ONCE];
    for (uintptr_t i = 0; (int)i < count; i += AT_ONCE) {
        for (uintptr_t n = 0; n < AT_ONCE; n++)
            pthread_create(&threads[n], NULL, live_shortly, (void *)(i + n));
        for (int n = 0; n < AT_ONCE; n++)
            pthread_join(threads[n], NULL);
    }
}

/* Lists and shards of threads hold 10 to 28 MiB of free memory, now more and now less. */
TEST(lifecycle, ten_thousand_threads_leave_nothing_behind)
{
    const char *wanted = getenv("LIFECYCLE_THREADS");
    run_threads(400);
    struct mallinfo2 before = mallinfo2();
    run_threads(wanted != NULL ? atoi(wanted) : 10000);
    struct mallinfo2 after = mallinfo2();
    CHECK(after.arena < before.arena + (24 << 20));
    CHECK(after.uordblks < before.uordblks + (1 << 20));
    printf("# arena %zu, then %zu; in use %zu, then %zu\n", before.arena, after.arena,
           before.uordblks, after.uordblks);
}

#ifdef PLUGIN_PATH
enum { OPENINGS = 200 };

/* What a plugin allocates the program frees, and the other way round, its whole life through. */
TEST(lifecycle, an_opened_library_uses_the_same_heap)
{
    int flags[] = {RTLD_NOW, RTLD_LAZY | RTLD_GLOBAL, RTLD_NOW | RTLD_DEEPBIND};
    for (int i = 0; i < 3; i++) {
        void *plugin = dlopen(PLUGIN_PATH, flags[i]);
        if (plugin == NULL)
            tap_fail(__FILE__, __LINE__, "%s", dlerror());
        CHECK(plugin != NULL);
        if (plugin == NULL)
            return;
        char *(*get_early)(void) = (char *(*)(void))dlsym(plugin, "plugin_get_early");
        char *(*allocate)(size_t) = (char *(*)(size_t))dlsym(plugin, "plugin_allocate");
        void (*give_back)(void *) = (void (*)(void *))dlsym(plugin, "plugin_free");
        CHECK_TEXT(get_early(), "from the plugin's constructor");
        char *block = allocate(1000);
        CHECK(malloc_usable_size(block) >= 1000);
        give_back(malloc(1000));
        give_back(malloc(100000));
        dlclose(plugin);
        free(block);
    }
    CHECK(use_malloc());
}

/* Each loads a file of its own, so that each time is a first time, with constructors, and a last. */
static void *open_and_close(void *path)
{
    size_t fine = 0;
    char *block = NULL;
    for (int i = 0; i < OPENINGS; i++) {
        void *plugin = dlopen(path, RTLD_NOW);
        if (plugin == NULL)
            break;
        char *(*get_early)(void) = (char *(*)(void))dlsym(plugin, "plugin_get_early");
        char *(*allocate)(size_t) = (char *(*)(size_t))dlsym(plugin, "plugin_allocate");
        fine += strcmp(get_early(), "from the plugin's constructor") == 0;
        free(block);
        block = memset(allocate(3000), 1, 3000);
        dlclose(plugin);
    }
    free(block);
    return (void *)fine;
}

static void copy_file(const char *from, const char *to)
{
    char command[1000];
    snprintf(command, sizeof(command), "cp '%s' '%s'", from, to);
    if (system(command) != 0)
        tap_fail(__FILE__, __LINE__, "%s failed", command);
}

TEST(lifecycle, libraries_that_allocate_in_constructors_come_and_go_in_eight_threads)
{
    enum { THREADS = 8 };
    char folder[] = "/tmp/hpmalloc-plugins-XXXXXX", paths[THREADS][100];
    pthread_t threads[THREADS];
    CHECK(mkdtemp(folder) != NULL);
    hpm_profile_set_interval(4 << 10);
    for (int i = 0; i < THREADS; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/%d.so", folder, i);
        copy_file(PLUGIN_PATH, paths[i]);
        pthread_create(&threads[i], NULL, open_and_close, paths[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        void *fine = NULL;
        pthread_join(threads[i], &fine);
        CHECK_EQUAL((size_t)fine, OPENINGS);
        unlink(paths[i]);
    }
    rmdir(folder);
    hpm_profile_set_interval(512 << 10);
    CHECK(use_malloc());
}

static char *(*plugin_allocate)(size_t);

static void *allocate_when_cancelled(void *unused)
{
    pthread_cancel(pthread_self());
    for (size_t i = 1; i < 200; i++)
        free(plugin_allocate(100 + i));
    return unused;
}

static void *run_cancelled_thread(void)
{
    pthread_t thread;
    void *result = NULL;
    hpm_profile_set_interval(1);
    pthread_create(&thread, NULL, allocate_when_cancelled, NULL);
    pthread_join(thread, &result);
    hpm_profile_set_interval(0);
    return result;
}

static char *allocate_here(size_t bytes)
{
    return malloc(bytes);
}

/* What the C library loads for its first cancelled thread is loaded when the plugin comes. */
static void cancel_thread_in_plugin(void)
{
    plugin_allocate = allocate_here;
    run_cancelled_thread();
    usleep(50000);
    void *plugin = dlopen(PLUGIN_PATH, RTLD_NOW);
    plugin_allocate = (char *(*)(size_t))dlsym(plugin, "plugin_allocate");
    void *result = run_cancelled_thread();
    hpm_profile_set_interval(1);
    free(plugin_allocate(1000));
    _exit(result != NULL);
}

/* The unwinder, which has to look where the plugin is, opens files. */
TEST(lifecycle, a_thread_that_is_cancelled_does_not_end_inside_malloc)
{
    hpm_profile_set_interval(0);
    CHECK_EQUAL(run_child(cancel_thread_in_plugin), 0);
    hpm_profile_set_interval(512 << 10);
}
#endif
