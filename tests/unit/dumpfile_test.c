#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fake_dump.h"
#include "report/dumpfile.h"

TEST(dumpfile, directives_are_filled_in)
{
    char host[100] = "", name[300];
    BEGIN("HPMALLOC_DUMP_PATH=%e-%p-%n-%r-%t-%h-100%%-%q");
    dump_request("signal");
    end_listening();
    gethostname(host, sizeof(host) - 1);
    snprintf(name, sizeof(name), "%s-%d-1-signal-20231114T221320Z-%s-100%%-%%q.pb.gz",
             program_invocation_short_name, getpid(), host);
    CHECK(exists("%s", name));
    CHECK(says(name));
    remove_folder();
}

TEST(dumpfile, an_ending_of_the_pattern_is_kept)
{
    BEGIN("HPMALLOC_DUMP_PATH=a.txt");
    dump_request("signal");
    end_listening();
    CHECK(exists("a.txt"));
    CHECK_EQUAL(count_files(), 1);
    remove_folder();
    BEGIN("HPMALLOC_DUMP_PATH=a.2.b", "HPMALLOC_DUMP_FORMAT=text");
    dump_request("signal");
    end_listening();
    CHECK(exists("a.2.b.txt"));
    remove_folder();
}

TEST(dumpfile, formats_and_profiles_of_one_dump_share_its_number)
{
    BEGIN("HPMALLOC_DUMP_PATH=x.%n", "HPMALLOC_DUMP_FORMAT=pprof,text",
          "HPMALLOC_DUMP_PROFILE=heap,allocs");
    dump_request("signal");
    dump_request("signal");
    end_listening();
    for (int n = 1; n <= 2; n++) {
        CHECK(exists("x.%d.heap.pb.gz", n));
        CHECK(exists("x.%d.heap.txt", n));
        CHECK(exists("x.%d.allocs.pb.gz", n));
        CHECK(exists("x.%d.allocs.txt", n));
    }
    CHECK_EQUAL(count_files(), 8);
    CHECK_EQUAL(pictures, 2);
    CHECK(says("allocs profile (signal) written to x.1.allocs.txt: 4 samples, 24.6 MiB allocated"));
    remove_folder();
}

TEST(dumpfile, formats_do_not_meet_under_one_ending)
{
    BEGIN("HPMALLOC_DUMP_PATH=x.txt", "HPMALLOC_DUMP_FORMAT=pprof,text");
    dump_request("signal");
    end_listening();
    CHECK(exists("x.txt"));
    CHECK(exists("x.txt.pb.gz"));
    remove_folder();
}

TEST(dumpfile, a_file_that_is_there_is_never_touched)
{
    BEGIN("HPMALLOC_DUMP_PATH=here.txt");
    make_file("here.txt", "mine");
    dump_request("signal");
    int error = dump_to_path(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, "here.txt", "api");
    end_listening();
    CHECK_EQUAL(error, -EEXIST);
    CHECK_EQUAL(size_of("here.txt"), 4);
    CHECK_EQUAL(count_files(), 1);
    CHECK_EQUAL(count_lines(said), 2);
    CHECK(
        says("hpmalloc: heap profile (signal) not written to here.txt: the file exists (error 17); "
             "put %n into HPMALLOC_DUMP_PATH, or move the file away\n"));
    remove_folder();
}

TEST(dumpfile, numbers_that_are_taken_are_passed_over)
{
    BEGIN("HPMALLOC_DUMP_PATH=x.%n.txt");
    make_file("x.1.txt", "mine");
    make_file("x.2.txt", "mine");
    dump_request("signal");
    dump_request("signal");
    end_listening();
    CHECK_EQUAL(size_of("x.1.txt"), 4);
    CHECK_EQUAL(size_of("x.2.txt"), 4);
    CHECK(exists("x.3.txt"));
    CHECK(exists("x.4.txt"));
    CHECK_EQUAL(count_files(), 4);
    remove_folder();
}

TEST(dumpfile, a_link_that_is_there_is_not_followed)
{
    BEGIN("HPMALLOC_DUMP_PATH=link.txt");
    make_file("target", "");
    CHECK_EQUAL(symlink("target", "link.txt"), 0);
    CHECK_EQUAL(dump_to_path(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, NULL, "api"), -EEXIST);
    CHECK_EQUAL(unlink("target"), 0);
    CHECK_EQUAL(dump_to_path(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, NULL, "api"), -EEXIST);
    end_listening();
    CHECK(!exists("target"));
    CHECK_EQUAL(count_files(), 0 + 1);
    remove_folder();
}

/* From now on the process has no rename that spares what is there, as on some filesystems. */
static bool forbid_renameat2(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0 /* the number of the system call */),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = array_count(steps), .filter = steps};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

TEST(dumpfile, where_renaming_cannot_spare_a_file_a_link_does)
{
    int status = 0;
    BEGIN("HPMALLOC_DUMP_PATH=x.%n.txt");
    make_file("x.1.txt", "mine");
    pid_t child = fork();
    if (child == 0) {
        if (!forbid_renameat2())
            _exit(77);
        dump_request("signal");
        _exit(0);
    }
    waitpid(child, &status, 0);
    end_listening();
    if (WEXITSTATUS(status) == 77) {
        remove_folder();
        SKIP("no seccomp here");
    }
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(size_of("x.1.txt"), 4);
    CHECK(size_of("x.2.txt") > 4);
    CHECK_EQUAL(count_files(), 2);
    remove_folder();
}

TEST(dumpfile, a_file_is_its_owner_s_alone)
{
    struct stat status;
    BEGIN("HPMALLOC_DUMP_PATH=x.txt");
    mode_t kept = umask(0);
    dump_request("signal");
    umask(kept);
    end_listening();
    CHECK_EQUAL(stat("x.txt", &status), 0);
    CHECK_EQUAL(status.st_mode & 07777, 0600);
    CHECK_EQUAL(status.st_nlink, 1);
    remove_folder();
}

TEST(dumpfile, a_folder_that_is_not_there_costs_one_line_of_advice)
{
    BEGIN("HPMALLOC_DUMP_PATH=missing/x.%n");
    CHECK_EQUAL(dump_to_path(DUMP_PROFILE_HEAP, DUMP_FORMAT_PPROF, NULL, "api"), -ENOENT);
    end_listening();
    CHECK_TEXT(said,
               "hpmalloc: heap profile (api) not written to missing/x.1.pb.gz: no such folder "
               "(error 2); make it, or set HPMALLOC_DUMP_PATH to another\n");
    CHECK_EQUAL(count_files(), 0);
    remove_folder();
}

TEST(dumpfile, a_path_that_is_too_long_is_an_error)
{
    static char path[5000];
    for (size_t i = 0; i + 2 < sizeof(path); i += 2)
        memcpy(path + i, "./", 2);
    BEGIN("HOME=/");
    CHECK_EQUAL(dump_to_path(DUMP_PROFILE_HEAP, DUMP_FORMAT_PPROF, path, "api"), -ENAMETOOLONG);
    end_listening();
    CHECK_EQUAL(count_lines(said), 1);
    CHECK_EQUAL(count_files(), 0);
    remove_folder();
}

TEST(dumpfile, a_path_of_the_caller_s_is_taken_as_it_is)
{
    BEGIN("HPMALLOC_DUMP_PATH=other");
    CHECK_EQUAL(dump_to_path(DUMP_PROFILE_ALLOCS, DUMP_FORMAT_TEXT, "mine.%r", "api"), 0);
    end_listening();
    CHECK(exists("mine.api"));
    CHECK_EQUAL(count_files(), 1);
    remove_folder();
}

TEST(dumpfile, descriptors_of_the_standard_streams_are_left_alone)
{
    static struct dumpfile file = {.pattern = "x", .reason = "api", .sequence = 1};
    BEGIN("HOME=/");
    int kept = dup(STDIN_FILENO);
    close(STDIN_FILENO);
    CHECK_EQUAL(dumpfile_open(&file), 0);
    CHECK(file.fd > STDERR_FILENO);
    CHECK_EQUAL(fcntl(STDIN_FILENO, F_GETFD), -1);
    CHECK(fcntl(file.fd, F_GETFD) & FD_CLOEXEC);
    dumpfile_discard(&file);
    dup2(kept, STDIN_FILENO);
    close(kept);
    end_listening();
    CHECK_EQUAL(count_files(), 0);
    remove_folder();
}

TEST(retain, the_newest_files_are_kept_wherever_the_program_goes)
{
    BEGIN("HPMALLOC_DUMP_PATH=x.%n", "HPMALLOC_DUMP_KEEP=2");
    dump_request("signal");
    CHECK_EQUAL(mkdir("below", 0700) | chdir("below"), 0);
    for (int i = 0; i < 3; i++)
        dump_request("signal");
    CHECK_EQUAL(chdir(".."), 0);
    end_listening();
    CHECK(!exists("x.1.pb.gz"));
    CHECK(!exists("below/x.2.pb.gz"));
    CHECK(exists("below/x.3.pb.gz"));
    CHECK(exists("below/x.4.pb.gz"));
    remove_folder();
}

TEST(retain, a_file_that_is_not_ours_any_more_stays)
{
    BEGIN("HPMALLOC_DUMP_PATH=x.%n", "HPMALLOC_DUMP_KEEP=1");
    dump_request("signal");
    CHECK_EQUAL(unlink("x.1.pb.gz"), 0);
    make_file("x.1.pb.gz", "mine");
    dump_request("signal");
    CHECK_EQUAL(size_of("x.1.pb.gz"), 4);
    make_file("x.2.pb.gz", "changed");
    dump_request("signal");
    CHECK_EQUAL(rename("x.3.pb.gz", "moved"), 0);
    CHECK_EQUAL(symlink("moved", "x.3.pb.gz"), 0);
    dump_request("signal");
    end_listening();
    CHECK(exists("x.2.pb.gz"));
    CHECK(exists("x.3.pb.gz"));
    CHECK(exists("moved"));
    CHECK(exists("x.4.pb.gz"));
    CHECK_EQUAL(count_lines(said), 4);
    remove_folder();
}

TEST(retain, a_name_given_by_a_call_is_the_callers_file)
{
    BEGIN("HPMALLOC_DUMP_PATH=x.%n", "HPMALLOC_DUMP_KEEP=1");
    CHECK_EQUAL(dump_to_path(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, "own", "api"), 0);
    CHECK_EQUAL(dump_to_path(DUMP_PROFILE_HEAP, DUMP_FORMAT_TEXT, NULL, "api"), 0);
    dump_request("signal");
    dump_request("signal");
    end_listening();
    CHECK(exists("own"));
    CHECK_EQUAL(count_files(), 2);
    remove_folder();
}

TEST(retain, nothing_goes_for_a_dump_that_failed)
{
    BEGIN("HPMALLOC_DUMP_PATH=x", "HPMALLOC_DUMP_KEEP=1");
    dump_request("signal");
    dump_request("signal");
    end_listening();
    CHECK(exists("x.pb.gz"));
    CHECK_EQUAL(count_files(), 1);
    remove_folder();
}

TEST(retain, a_childs_files_are_not_its_parents)
{
    int status;
    BEGIN("HPMALLOC_DUMP_PATH=%p.%n", "HPMALLOC_DUMP_KEEP=1");
    dump_request("signal");
    dump_fork_prepare();
    pid_t child = fork();
    if (child == 0) {
        dump_fork_child();
        dump_request("signal");
        dump_request("signal");
        _exit(0);
    }
    dump_fork_parent();
    waitpid(child, &status, 0);
    end_listening();
    CHECK(exists("%d.1.pb.gz", getpid()));
    CHECK(!exists("%d.1.pb.gz", child));
    CHECK(exists("%d.2.pb.gz", child));
    remove_folder();
}

TEST(dumpfile, what_is_there_may_be_a_fifo_or_a_folder)
{
    BEGIN("HPMALLOC_DUMP_PATH=x");
    CHECK_EQUAL(mkfifo("x.pb.gz", 0600), 0);
    dump_request("signal");
    CHECK_EQUAL(unlink("x.pb.gz") | mkdir("x.pb.gz", 0700), 0);
    dump_request("signal");
    end_listening();
    CHECK_EQUAL(count_files(), 1);
    CHECK_EQUAL(count_lines(said), 2);
    remove_folder();
}
