#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/shared.h"
#include "tap.h"

enum { HEADER_BYTES = 100 };

static char path[64];

static void open_new(void)
{
    strcpy(path, "/tmp/hpmalloc-shared-XXXXXX");
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    CHECK_EQUAL(shared_open(fd, path, HEADER_BYTES), 0);
    close(fd);
}

TEST(shared, there_is_nothing_before_it_is_opened)
{
    CHECK(shared_at(0) == NULL);
}

TEST(shared, what_is_allocated_is_zeroed_aligned_and_in_the_file)
{
    char byte = 0;
    open_new();
    strcpy(shared_at(0), "header");
    uint32_t first = shared_alloc(5), second = shared_alloc(40);
    CHECK(first >= HEADER_BYTES && first % 16 == 0 && second == first + 16);
    char *bytes = shared_at(second);
    for (int i = 0; i < 40; i++)
        CHECK_EQUAL(bytes[i], 0);
    bytes[39] = 'x';
    int fd = open(path, O_RDONLY);
    CHECK(pread(fd, &byte, 1, second + 39) == 1 && byte == 'x');
    close(fd);
    unlink(path);
}

TEST(shared, it_grows_where_it_is_and_no_page_of_it_is_a_hole)
{
    enum { PART = 300000, PARTS = 20 };
    struct stat status;
    open_new();
    char *start = shared_at(0);
    uint32_t places[PARTS];
    for (int i = 0; i < PARTS; i++) {
        places[i] = shared_alloc(PART);
        CHECK(places[i] != 0);
        memset(shared_at(places[i]), i + 1, PART);
    }
    CHECK(shared_at(0) == start);
    for (int i = 0; i < PARTS; i++)
        CHECK_EQUAL(((char *)shared_at(places[i]))[PART - 1], i + 1);
    CHECK(stat(path, &status) == 0);
    CHECK(status.st_size >= PART * PARTS && status.st_blocks * 512 >= status.st_size);
    unlink(path);
}

TEST(shared, it_does_not_grow_into_another_file_that_took_its_name)
{
    struct stat status;
    open_new();
    unlink(path);
    close(open(path, O_RDWR | O_CREAT, 0600));
    CHECK_EQUAL(shared_alloc(4 * MiB), 0);
    CHECK(stat(path, &status) == 0 && status.st_size == 0);
    CHECK(shared_alloc(1000) != 0);
    unlink(path);
}

TEST(shared, it_has_an_end)
{
    open_new();
    CHECK_EQUAL(shared_alloc(SHARED_BYTES_MAX), 0);
    unlink(path);
}

static int status_of(pid_t child)
{
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(shared, a_child_of_fork_has_none_and_may_open_its_own)
{
    if (tap_is_emulated())
        SKIP("qemu keeps no pages from children");
    open_new();
    strcpy(shared_at(0), "parent");
    char mine[64];
    strcpy(mine, path);
    pid_t child = fork();
    if (child == 0) {
        bool has_none = shared_at(0) == NULL;
        shared_fork_child();
        open_new();
        strcpy(shared_at(0), "child");
        unlink(path);
        _exit(has_none ? 0 : 1);
    }
    CHECK_EQUAL(status_of(child), 0);
    CHECK(strcmp(shared_at(0), "parent") == 0);
    unlink(mine);
}

TEST(shared, even_one_made_behind_the_back_of_all_handlers)
{
    if (tap_is_emulated())
        SKIP("qemu keeps no pages from children");
    open_new();
    pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(shared_at(0) == NULL ? 0 : 1);
    CHECK_EQUAL(status_of(child), 0);
    unlink(path);
}
