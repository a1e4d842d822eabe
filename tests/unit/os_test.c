#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/os.h"
#include "tap.h"

enum { PAGES = 8 };

/* How many pages of the range this process has mapped: bit 63 of their words in /proc/self/pagemap. */
static int mapped_pages(const char *start, size_t pages)
{
    int fd = open("/proc/self/pagemap", O_RDONLY), mapped = 0;
    for (size_t i = 0; i < pages; i++) {
        uint64_t word = 0;
        off_t at = (off_t)((uintptr_t)start / os_page_bytes() + i) * 8;
        if (pread(fd, &word, sizeof(word), at) != sizeof(word))
            mapped = -1000;
        mapped += (int)(word >> 63);
    }
    close(fd);
    return mapped;
}

static bool is_all(const char *start, size_t bytes, char sign)
{
    for (size_t i = 0; i < bytes; i++) {
        if (start[i] != sign)
            return false;
    }
    return true;
}

TEST(os, the_pages_of_a_file_are_forgotten_and_read_again)
{
    if (tap_is_emulated())
        SKIP("qemu forgets anonymous pages only");
    size_t page = os_page_bytes(), bytes = PAGES * page;
    char path[] = "/tmp/hpmalloc-os-XXXXXX", *content = malloc(bytes);
    int fd = mkstemp(path);
    memset(content, 'f', bytes);
    CHECK_EQUAL(write(fd, content, bytes), (ssize_t)bytes);
    char *file = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(is_all(file, bytes, 'f'));
    CHECK_EQUAL(mapped_pages(file, PAGES), PAGES);
    os_forget_file(file + 1, bytes - page - 1);
    CHECK_EQUAL(mapped_pages(file, PAGES), 2);
    CHECK(is_all(file, bytes, 'f'));
    munmap(file, bytes);
    close(fd);
    unlink(path);
    free(content);
}

/* As by a program that unpacks itself over its own mappings. */
TEST(os, memory_that_took_a_files_place_is_not_lost)
{
    size_t bytes = PAGES * os_page_bytes();
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 'm', bytes);
    mprotect(memory, bytes, PROT_READ);
    os_forget_file(memory, bytes);
    CHECK(is_all(memory, bytes, 'm'));
    munmap(memory, bytes);
}
