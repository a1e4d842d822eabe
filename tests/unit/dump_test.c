#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "base/print.h"
#include "fake_dump.h"

TEST(dump, a_request_makes_a_file_by_the_default_pattern_and_says_so)
{
    char line[300];
    BEGIN("HOME=/");
    dump_request("signal");
    end_listening();
    CHECK(exists("hpmalloc.%s.%d.1.pb.gz", program_invocation_short_name, getpid()));
    CHECK_EQUAL(count_files(), 1);
    snprintf(line, sizeof(line),
             "hpmalloc: heap profile (signal) written to hpmalloc.%s.%d.1.pb.gz: 2 samples, 12.3 "
             "MiB live (estimated)\n",
             program_invocation_short_name, getpid());
    CHECK_TEXT(said, line);
    remove_folder();
}

TEST(dump, without_memory_there_is_a_line_and_no_file)
{
    BEGIN("HOME=/");
    has_no_memory = true;
    dump_request("signal");
    CHECK_EQUAL(dump_to_fd(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, STDOUT_FILENO), -ENOMEM);
    has_no_memory = false;
    end_listening();
    CHECK_TEXT(said, "hpmalloc: heap profile (signal) not written to its file: no memory for it "
                     "(error 12); raise the memory limit\n");
    CHECK_EQUAL(count_files(), 0);
    remove_folder();
}

TEST(dump, a_descriptor_gets_the_profile_and_stderr_no_line)
{
    char text[100] = "";
    BEGIN("HOME=/");
    int fd = memfd_create("profile", 0);
    CHECK_EQUAL(dump_to_fd(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, fd), 0);
    CHECK(pread(fd, text, sizeof(text) - 1, 0) > 0);
    CHECK(strstr(text, "heap profile") != NULL);
    close(fd);
    CHECK_EQUAL(dump_to_fd(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, fd), -EBADF);
    end_listening();
    CHECK_TEXT(said, "");
    remove_folder();
}

TEST(dump, what_is_no_profile_or_format_is_refused)
{
    BEGIN("HOME=/");
    CHECK_EQUAL(dump_to_fd(7, DUMP_FORMAT_TEXT, 1), -EINVAL);
    CHECK_EQUAL(dump_to_fd(DUMP_PROFILE_HEAP, 7, 1), -EINVAL);
    CHECK_EQUAL(dump_to_path(DUMP_PROFILE_HEAP, 7, "x", "api"), -EINVAL);
    end_listening();
    CHECK_EQUAL(count_files(), 0);
    remove_folder();
}

static int dump_into_broken_pipe(void)
{
    int ends[2];
    if (pipe(ends) != 0)
        abort();
    close(ends[0]);
    int error = dump_to_fd(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, ends[1]);
    close(ends[1]);
    return error;
}

static bool is_pending(int signal_number)
{
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, signal_number);
}

TEST(dump, a_pipe_that_nobody_reads_raises_no_signal)
{
    sigset_t mask;
    BEGIN("HOME=/");
    CHECK_EQUAL(dump_into_broken_pipe(), -EPIPE);
    CHECK(!is_pending(SIGPIPE));
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    CHECK(!sigismember(&mask, SIGPIPE));
    end_listening();
    remove_folder();
}

TEST(dump, a_signal_that_waited_before_still_waits)
{
    sigset_t pipe_only, kept;
    BEGIN("HOME=/");
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &kept);
    CHECK_EQUAL(dump_into_broken_pipe(), -EPIPE);
    CHECK(!is_pending(SIGPIPE));
    raise(SIGPIPE);
    CHECK_EQUAL(dump_into_broken_pipe(), -EPIPE);
    CHECK(is_pending(SIGPIPE));
    int taken;
    sigwait(&pipe_only, &taken);
    pthread_sigmask(SIG_SETMASK, &kept, NULL);
    end_listening();
    remove_folder();
}

TEST(dump, a_limit_on_file_sizes_is_an_error_and_no_signal)
{
    struct rlimit kept, small = {100, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &kept);
    small.rlim_max = kept.rlim_max;
    BEGIN("HPMALLOC_DUMP_PATH=x.%n");
    setrlimit(RLIMIT_FSIZE, &small);
    int error = dump_to_path(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, NULL, "api");
    setrlimit(RLIMIT_FSIZE, &kept);
    end_listening();
    CHECK_EQUAL(error, -EFBIG);
    CHECK_EQUAL(count_files(), 0);
    remove_folder();
}

static void *request_three(void *unused)
{
    for (int i = 0; i < 3; i++)
        dump_request("signal");
    return unused;
}

static void request_from_other_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, request_three, NULL);
    pthread_join(thread, NULL);
}

TEST(dump, requests_during_a_dump_are_answered_by_one_more)
{
    BEGIN("HPMALLOC_DUMP_PATH=x.%n");
    while_dumping = request_from_other_thread;
    dump_request("signal");
    CHECK_EQUAL(pictures, 2);
    CHECK_EQUAL(count_files(), 2);
    int fd = memfd_create("profile", 0);
    while_dumping = request_from_other_thread;
    CHECK_EQUAL(dump_to_fd(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, fd), 0);
    close(fd);
    CHECK_EQUAL(pictures, 4);
    CHECK_EQUAL(count_files(), 3);
    end_listening();
    remove_folder();
}

static int inner_error;

static void dump_on_same_thread(void)
{
    inner_error = dump_to_fd(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, STDOUT_FILENO);
    dump_all("exit");
}

TEST(dump, a_handler_that_interrupts_a_dump_is_refused_another)
{
    BEGIN("HPMALLOC_DUMP_PATH=x.%n");
    while_dumping = dump_on_same_thread;
    dump_request("signal");
    end_listening();
    CHECK_EQUAL(inner_error, -EDEADLK);
    CHECK_EQUAL(pictures, 1);
    remove_folder();
}

static void *dump_at_exit(void *unused)
{
    dump_all("exit");
    return unused;
}

static pthread_t waiting_thread;

static void start_waiting(void)
{
    pthread_create(&waiting_thread, NULL, dump_at_exit, NULL);
    usleep(20000);
}

TEST(dump, a_program_that_ends_waits_for_its_turn)
{
    BEGIN("HPMALLOC_DUMP_PATH=%r");
    while_dumping = start_waiting;
    dump_request("signal");
    pthread_join(waiting_thread, NULL);
    end_listening();
    CHECK(exists("signal.pb.gz"));
    CHECK(exists("exit.pb.gz"));
    remove_folder();
}

TEST(dump, a_quiet_process_dumps_without_a_line)
{
    BEGIN("HPMALLOC_DUMP_PATH=x", "HPMALLOC_QUIET=1");
    dump_request("signal");
    dump_request("signal");
    end_listening();
    print_set_quiet(false);
    CHECK_EQUAL(count_files(), 1);
    CHECK_TEXT(said, "");
    remove_folder();
}

TEST(dump, errno_stays_as_it_was)
{
    BEGIN("HPMALLOC_DUMP_PATH=missing/x");
    errno = 99;
    dump_request("signal");
    dump_to_path(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, NULL, "api");
    dump_to_fd(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, -1);
    dump_all("exit");
    CHECK_EQUAL(errno, 99);
    end_listening();
    remove_folder();
}

TEST(dump, a_forked_child_counts_from_one_under_its_own_pid)
{
    int status;
    BEGIN("HPMALLOC_DUMP_PATH=%p.%n");
    dump_request("signal");
    dump_fork_prepare();
    pid_t child = fork();
    if (child == 0) {
        dump_fork_child();
        dump_request("signal");
        _exit(0);
    }
    dump_fork_parent();
    waitpid(child, &status, 0);
    dump_request("signal");
    end_listening();
    CHECK(exists("%d.1.pb.gz", getpid()));
    CHECK(exists("%d.2.pb.gz", getpid()));
    CHECK(exists("%d.1.pb.gz", child));
    remove_folder();
}

static void *dump_while_cancelled(void *unused)
{
    pthread_cancel(pthread_self());
    dump_request("signal");
    return unused;
}

TEST(dump, a_cancelled_thread_ends_after_its_dump)
{
    pthread_t thread;
    BEGIN("HPMALLOC_DUMP_PATH=x.%n");
    pthread_create(&thread, NULL, dump_while_cancelled, NULL);
    pthread_join(thread, NULL);
    dump_request("signal");
    end_listening();
    CHECK_EQUAL(count_files(), 2);
    remove_folder();
}

/* Stacks of handlers may be small: a dump is run on one that is painted before. */
enum { STACK_BYTES = 64 * 1024, PAINT = 0xa5 };

/* A function of arm64 keeps more registers, and the least a handler's stack may be there, 5 KiB, is
 * more than twice the 2 KiB of x86-64. */
#if defined(__aarch64__)
enum { REQUEST_BYTES_MAX = 1280 };
#else
enum { REQUEST_BYTES_MAX = 1024 };
#endif

static void request_and_return(void)
{
    dump_request("signal");
}

static void only_return(void)
{
}

#ifdef __GLIBC__
static ucontext_t main_context, dump_context;

static size_t stack_bytes_of(void (*function)(void))
{
    static unsigned char stack[STACK_BYTES];
    size_t untouched = 0;
    memset(stack, PAINT, sizeof(stack));
    getcontext(&dump_context);
    dump_context.uc_stack.ss_sp = stack;
    dump_context.uc_stack.ss_size = sizeof(stack);
    dump_context.uc_link = &main_context;
    makecontext(&dump_context, function, 0);
    swapcontext(&main_context, &dump_context);
    while (untouched < sizeof(stack) && stack[untouched] == PAINT)
        untouched++;
    return sizeof(stack) - untouched;
}

#else // musl has no getcontext
static size_t stack_bytes_of(void (*function)(void))
{
    function();
    return 0;
}
#endif

#if defined(__OPTIMIZE__) && !defined(HPM_SANITIZED) && defined(__GLIBC__)
enum { IS_STACK_MEASURABLE = 1 };
#else
enum { IS_STACK_MEASURABLE = 0 };
#endif

TEST(dump, a_request_needs_little_stack)
{
    if (!IS_STACK_MEASURABLE)
        SKIP("not as the library is compiled");
    BEGIN("HPMALLOC_DUMP_PATH=x.%n.%t", "HPMALLOC_DUMP_FORMAT=pprof,text",
          "HPMALLOC_DUMP_PROFILE=heap,allocs");
    /* Once before, for what libc resolves at first use. */
    dump_request("signal");
    size_t used = stack_bytes_of(request_and_return) - stack_bytes_of(only_return);
    end_listening();
    CHECK_EQUAL(count_files(), 8);
    printf("# %zu bytes\n", used);
    CHECK(used < REQUEST_BYTES_MAX);
    remove_folder();
}
