/* When the keeper dumps, by estimates that are made up; what it is asked for, and how it ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/os.h"
#include "base/print.h"
#include "fake_dump.h"
#include "report/keeper.h"

static _Atomic size_t fake_used_bytes;

static size_t used_bytes(void)
{
    return fake_used_bytes;
}

/* Without a keeper, as in a child that was just forked. */
#define BEGIN_KEEPING(...)                                                                         \
    do {                                                                                           \
        fake_alloc_bytes = fake_live_bytes = fake_used_bytes = 0;                                  \
        BEGIN(__VA_ARGS__);                                                                        \
        keeper_fork_child();                                                                       \
        keeper_init(used_bytes);                                                                   \
    } while (0)

static void end_keeping(void)
{
    keeper_stop();
    end_listening();
    remove_folder();
}

/* A sample is taken, and estimates are these. */
static void sample(uint64_t alloc_bytes, uint64_t live_bytes)
{
    fake_alloc_bytes = alloc_bytes;
    fake_live_bytes = live_bytes;
    keeper_look();
}

static bool soon_exists(const char *name)
{
    for (int i = 0; i < 300 && !exists("%s", name); i++)
        usleep(10000);
    return exists("%s", name);
}

/* Long enough for what is due, and for the pause after it. */
static void wait_a_little(void)
{
    usleep(350000);
}

/* An emulator has one of its own; ThreadSanitizer too, but not always. */
#ifdef __SANITIZE_THREAD__
enum { KNOWS_CHILDRENS_THREADS = false };

static int count_threads(void)
{
    int count = -1;
    FILE *tool = popen("cat /proc/$PPID/task/*/comm | grep -c hpm-keeper", "r");
    if (tool == NULL || fscanf(tool, "%d", &count) != 1)
        abort();
    pclose(tool);
    return 1 + count;
}
#else
enum { KNOWS_CHILDRENS_THREADS = true };

static int count_threads(void)
{
    glob_t found;
    int count = glob("/proc/self/task/*", 0, NULL, &found) == 0 ? (int)found.gl_pathc : 0;
    globfree(&found);
    return count - tap_is_emulated();
}
#endif

/* One that was joined may be seen for a moment. */
static bool is_soon_alone(void)
{
    for (int i = 0; i < 100 && count_threads() > 1; i++)
        usleep(10000);
    return count_threads() == 1;
}

TEST(keeper, no_thread_is_there_before_it_is_needed)
{
    BEGIN_KEEPING("HOME=/");
    sample(GiB, GiB);
    CHECK_EQUAL(count_threads(), 1);
    CHECK(!keeper_ask_signal());
    end_keeping();
    BEGIN_KEEPING("HPMALLOC_DUMP_ON_GROWTH=1g", "HPMALLOC_DUMP_PATH=%r.%n");
    sample(2 * GiB, GiB - 1);
    CHECK_EQUAL(count_threads(), 1);
    sample(2 * GiB, GiB);
    CHECK_EQUAL(count_threads(), 2);
    CHECK(soon_exists("growth.1.pb.gz"));
    end_keeping();
    CHECK(is_soon_alone());
}

TEST(keeper, each_so_many_bytes_there_is_a_dump)
{
    BEGIN_KEEPING("HPMALLOC_DUMP_EVERY=100m", "HPMALLOC_DUMP_PATH=%r.%n");
    sample(100 * MiB - 1, 0);
    wait_a_little();
    CHECK_EQUAL(count_files(), 0);
    sample(120 * MiB, 0);
    CHECK(soon_exists("every.1.pb.gz"));
    wait_a_little();
    sample(200 * MiB - 1, 0);
    wait_a_little();
    CHECK_EQUAL(count_files(), 1);
    sample(1000 * MiB, 0);
    CHECK(soon_exists("every.2.pb.gz"));
    wait_a_little();
    CHECK_EQUAL(count_files(), 2);
    end_keeping();
}

TEST(keeper, each_so_long_there_is_a_dump_without_any_sample)
{
    BEGIN_KEEPING("HPMALLOC_DUMP_EVERY=200ms", "HPMALLOC_DUMP_PATH=%r.%n");
    uint64_t begin = os_clock_ns();
    CHECK(soon_exists("every.3.pb.gz"));
    CHECK(os_clock_ns() - begin >= 590000000);
    end_keeping();
}

TEST(keeper, growth_counts_from_the_last_dump_whatever_made_it)
{
    BEGIN_KEEPING("HPMALLOC_DUMP_ON_GROWTH=100m", "HPMALLOC_DUMP_PATH=%r.%n");
    sample(0, 100 * MiB);
    CHECK(soon_exists("growth.1.pb.gz"));
    wait_a_little();
    sample(0, 150 * MiB);
    dump_request("signal");
    sample(0, 249 * MiB);
    wait_a_little();
    CHECK_EQUAL(count_files(), 2);
    sample(0, 250 * MiB);
    CHECK(soon_exists("growth.3.pb.gz"));
    sample(0, 60 * MiB);
    dump_request("signal");
    usleep(1200000);
    sample(0, 165 * MiB);
    CHECK(soon_exists("growth.5.pb.gz"));
    end_keeping();
}

TEST(keeper, a_limit_is_passed_once_until_use_has_fallen_a_tenth)
{
    BEGIN_KEEPING("HPMALLOC_DUMP_ON_LIMIT=80%", "HPMALLOC_HEAP_LIMIT=1000m",
                  "HPMALLOC_DUMP_PATH=%r.%n");
    fake_used_bytes = 799 * MiB;
    sample(0, 10 * MiB);
    wait_a_little();
    CHECK_EQUAL(count_files(), 0);
    fake_used_bytes = 800 * MiB;
    CHECK(soon_exists("limit.1.pb.gz"));
    fake_used_bytes = 730 * MiB;
    usleep(1200000);
    fake_used_bytes = 900 * MiB;
    usleep(1200000);
    CHECK_EQUAL(count_files(), 1);
    fake_used_bytes = 700 * MiB;
    usleep(1200000);
    fake_used_bytes = 900 * MiB;
    CHECK(soon_exists("limit.2.pb.gz"));
    end_keeping();
}

TEST(keeper, a_storm_of_triggers_is_at_most_ten_dumps_a_second)
{
    BEGIN_KEEPING("HPMALLOC_DUMP_EVERY=64k", "HPMALLOC_DUMP_PATH=%n");
    uint64_t begin = os_clock_ns();
    for (uint64_t bytes = MiB; os_clock_ns() - begin < 1000000000; bytes += MiB) {
        sample(bytes, 0);
        usleep(1000);
    }
    keeper_stop();
    uint64_t tenths = (os_clock_ns() - begin) / KEEPER_SPACING_NS;
    printf("# %d dumps in %u tenths of a second\n", count_files(), (unsigned)tenths);
    CHECK(count_files() >= 2);
    CHECK(count_files() <= (int)tenths + 1);
    end_keeping();
}

TEST(keeper, what_fails_is_tried_again_later_each_time_and_then_made)
{
    BEGIN_KEEPING("HPMALLOC_DUMP_ON_GROWTH=100m", "HPMALLOC_DUMP_PATH=missing/%r");
    sample(0, 100 * MiB);
    usleep(1000000);
    if (mkdir("missing", 0700) != 0)
        abort();
    CHECK(soon_exists("missing/growth.pb.gz"));
    keeper_stop();
    end_listening();
    printf("# %d lines\n", count_lines(said));
    CHECK(count_lines(said) >= 2 && count_lines(said) <= 5);
    CHECK(says("hpmalloc: heap profile (growth) not written to missing/growth.pb.gz: no such "
               "folder (error 2); make it, or set HPMALLOC_DUMP_PATH to another\n"));
    remove_folder();
}

TEST(keeper, a_signal_is_answered_by_it_once_it_runs)
{
    BEGIN_KEEPING("HPMALLOC_DUMP_EVERY=1h", "HPMALLOC_DUMP_PATH=%r.%n");
    CHECK(keeper_ask_signal());
    CHECK(soon_exists("signal.1.pb.gz"));
    keeper_stop();
    CHECK(!keeper_ask_signal());
    CHECK(is_soon_alone());
    end_keeping();
}

TEST(keeper, it_blocks_every_signal_and_has_a_name)
{
    if (tap_is_emulated())
        SKIP("the kernel tells of the emulator's own signals");
    char name[32] = "", mask[200] = "";
    BEGIN_KEEPING("HPMALLOC_DUMP_EVERY=1h");
    wait_a_little();
    FILE *tool = popen("cat /proc/$PPID/task/*/comm | grep -c hpm-keeper;"
                       "grep -h ^SigBlk /proc/$PPID/task/*/status | sort | tail -n 1",
                       "r");
    CHECK(fgets(name, sizeof(name), tool) != NULL && fgets(mask, sizeof(mask), tool) != NULL);
    pclose(tool);
    CHECK_TEXT(name, "1\n");
    /* But for KILL, STOP, and what the C library keeps to itself. */
    uint64_t free_to_come = 1u << (SIGKILL - 1) | 1u << (SIGSTOP - 1) | (uint64_t)7 << 31;
    CHECK_EQUAL(strtoull(mask + strlen("SigBlk:"), NULL, 16) | free_to_come, UINT64_MAX);
    end_keeping();
}

TEST(keeper, its_end_waits_for_a_dump_under_way)
{
    BEGIN_KEEPING("HPMALLOC_DUMP_EVERY=1h", "HPMALLOC_DUMP_PATH=%r.%n");
    while_dumping = wait_a_little;
    CHECK(keeper_ask_signal());
    usleep(100000);
    keeper_stop();
    CHECK(exists("signal.1.pb.gz"));
    CHECK_EQUAL(count_files(), 1);
    end_keeping();
}

static int run_child(void (*work)(void))
{
    int status;
    dump_fork_prepare();
    pid_t child = fork();
    if (child == 0) {
        dump_fork_child();
        keeper_fork_child();
        work();
        keeper_stop();
        _exit(0);
    }
    dump_fork_parent();
    waitpid(child, &status, 0);
    return status;
}

static void be_child(void)
{
    if (count_threads() != 1 || keeper_ask_signal())
        _exit(1);
    sample(fake_alloc_bytes + 1, fake_live_bytes);
    if (count_threads() != 2 || !soon_exists("every.1.pb.gz"))
        _exit(2);
}

TEST(keeper, a_forked_child_has_none_until_its_first_sample)
{
    if (!KNOWS_CHILDRENS_THREADS)
        SKIP("ThreadSanitizer takes a child's new thread for an old one");
    BEGIN_KEEPING("HPMALLOC_DUMP_EVERY=500ms", "HPMALLOC_DUMP_PATH=%r.%n");
    CHECK_EQUAL(run_child(be_child), 0);
    end_keeping();
}

static void grow_as_child(void)
{
    sample(0, 149 * MiB);
    wait_a_little();
    if (count_files() != 0 || count_threads() != 1)
        _exit(1);
    sample(0, 150 * MiB);
    if (!soon_exists("growth.1.pb.gz"))
        _exit(2);
}

TEST(keeper, in_a_forked_child_growth_counts_from_the_fork)
{
    BEGIN_KEEPING("HPMALLOC_DUMP_ON_GROWTH=100m", "HPMALLOC_DUMP_PATH=%r.%n");
    sample(0, 50 * MiB);
    CHECK_EQUAL(run_child(grow_as_child), 0);
    end_keeping();
}

/* From now on this process can make no thread. */
static void forbid_threads(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 2, 0),
#ifdef SYS_clone3
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 1, 0),
#else
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
#endif
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    struct sock_fprog filter = {.len = array_count(steps), .filter = steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        _exit(77);
}

static void be_without_threads(void)
{
    forbid_threads();
    for (uint64_t i = 1; i < 10; i++)
        sample(i * GiB, 0);
    if (keeper_ask_signal())
        _exit(1);
    dump_request("signal");
}

TEST(keeper, a_thread_that_cannot_be_made_costs_one_line)
{
    BEGIN_KEEPING("HPMALLOC_DUMP_EVERY=100m", "HPMALLOC_DUMP_PATH=%r.%n");
    int status = run_child(be_without_threads);
    bool is_known = exists("signal.1.pb.gz");
    keeper_stop();
    end_listening();
    remove_folder();
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("seccomp is not to be had");
    CHECK_EQUAL(status, 0);
    CHECK(is_known);
    CHECK_EQUAL(count_lines(said), 2);
    CHECK(says("hpmalloc: no thread for the dumps that"));
}

TEST(keeper, its_stack_and_waking_leave_errno)
{
    BEGIN_KEEPING("HPMALLOC_DUMP_EVERY=64k");
    errno = 99;
    sample(GiB, GiB);
    keeper_ask_signal();
    CHECK_EQUAL(errno, 99);
    end_keeping();
}
