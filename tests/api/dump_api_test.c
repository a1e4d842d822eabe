/* What hpm_profile_dump and hpm_profile_write answer, and what they leave. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hpmalloc.h"
#include "tap.h"

static char folder[] = "/tmp/hpmalloc-test-XXXXXX";
static void *_Atomic live[1000];

static void remove_folder(void)
{
    DIR *files = opendir(folder);
    for (struct dirent *file; files != NULL && (file = readdir(files)) != NULL;)
        unlinkat(dirfd(files), file->d_name, 0);
    if (files != NULL)
        closedir(files);
    rmdir(folder);
}

__attribute__((constructor)) static void prepare(void)
{
    if (mkdtemp(folder) == NULL)
        abort();
    atexit(remove_folder);
    hpm_profile_set_interval(4096);
    for (int i = 0; i < 1000; i++)
        live[i] = hpm_malloc(1000);
}

static int count_files(void)
{
    int count = -2;
    DIR *files = opendir(folder);
    while (readdir(files) != NULL)
        count++;
    closedir(files);
    return count;
}

static const char *path_of(const char *name)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static size_t read_file(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return 0;
    size_t bytes = fread(text, 1, size - 1, file);
    text[bytes] = '\0';
    fclose(file);
    return bytes;
}

/* What a call says on stderr, into `said`. */
static int call_quietly(enum hpm_profile profile, enum hpm_format format, const char *path,
                        char *said, size_t size)
{
    int ends[2], saved = dup(STDERR_FILENO);
    if (pipe(ends) != 0)
        abort();
    dup2(ends[1], STDERR_FILENO);
    int answer = hpm_profile_dump(profile, format, path);
    dup2(saved, STDERR_FILENO);
    close(ends[1]);
    ssize_t bytes = read(ends[0], said, size - 1);
    said[bytes > 0 ? bytes : 0] = '\0';
    close(ends[0]);
    close(saved);
    return answer;
}

static int dump(enum hpm_profile profile, enum hpm_format format, const char *path)
{
    char said[1000];
    return call_quietly(profile, format, path, said, sizeof(said));
}

static bool is_gzip(const char *bytes)
{
    return (unsigned char)bytes[0] == 0x1f && (unsigned char)bytes[1] == 0x8b && bytes[2] == 8;
}

TEST(dump, a_profile_is_a_new_file_of_mode_0600)
{
    static char text[1 << 20];
    struct stat status;
    CHECK_EQUAL(dump(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, path_of("one.pb.gz")), 0);
    CHECK_EQUAL(stat(path_of("one.pb.gz"), &status), 0);
    CHECK_EQUAL(status.st_mode & 0777, 0600);
    CHECK(read_file(path_of("one.pb.gz"), text, sizeof(text)) > 100 && is_gzip(text));
    CHECK_EQUAL(dump(HPM_PROFILE_ALLOCS, HPM_FORMAT_TEXT, path_of("one.txt")), 0);
    CHECK(read_file(path_of("one.txt"), text, sizeof(text)) > 100 && !is_gzip(text));
    CHECK_EQUAL(count_files(), 2);
}

TEST(dump, a_path_is_taken_as_it_is_but_for_its_directives)
{
    char wanted[PATH_MAX];
    CHECK_EQUAL(dump(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, path_of("two")), 0);
    CHECK_EQUAL(access(path_of("two"), R_OK), 0);
    CHECK_EQUAL(dump(HPM_PROFILE_HEAP, HPM_FORMAT_TEXT, path_of("%p.%r.%%")), 0);
    snprintf(wanted, sizeof(wanted), "%s/%d.api.%%", folder, (int)getpid());
    CHECK_EQUAL(access(wanted, R_OK), 0);
}

TEST(dump, each_says_so_in_one_line_on_stderr)
{
    char said[1000];
    const char *path = path_of("line.pb.gz");
    CHECK_EQUAL(call_quietly(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, path, said, sizeof(said)), 0);
    CHECK(strncmp(said, "hpmalloc: ", 10) == 0);
    CHECK(strstr(said, path) != NULL);
    CHECK(strchr(said, '\n') == said + strlen(said) - 1);
    printf("# %s", said);
}

TEST(dump, an_existing_file_is_never_overwritten)
{
    char text[100];
    FILE *file = fopen(path_of("mine.pb.gz"), "w");
    fputs("mine", file);
    fclose(file);
    int files = count_files();
    CHECK_EQUAL(dump(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, path_of("mine.pb.gz")), -EEXIST);
    read_file(path_of("mine.pb.gz"), text, sizeof(text));
    CHECK_TEXT(text, "mine");
    CHECK_EQUAL(count_files(), files);
}

TEST(dump, a_symbolic_link_is_not_followed)
{
    char target[PATH_MAX];
    strcpy(target, path_of("target.pb.gz"));
    CHECK_EQUAL(symlink(target, path_of("link.pb.gz")), 0);
    CHECK_EQUAL(dump(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, path_of("link.pb.gz")), -EEXIST);
    CHECK(access(target, F_OK) != 0);
}

TEST(dump, what_cannot_be_written_is_a_negative_errno_and_leaves_nothing)
{
    int files = count_files();
    CHECK_EQUAL(dump(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, path_of("no/such/folder")), -ENOENT);
    CHECK_EQUAL(dump(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, path_of("one.pb.gz/below")), -ENOTDIR);
    CHECK_EQUAL(dump(HPM_PROFILE_HEAP, HPM_FORMAT_TEXT, "/proc/hpmalloc-test"), -ENOENT);
    CHECK_EQUAL(count_files(), files);
}

TEST(dump, unknown_profiles_and_formats_are_einval)
{
    int files = count_files();
    CHECK_EQUAL(dump((enum hpm_profile)99, HPM_FORMAT_PPROF, path_of("x")), -EINVAL);
    CHECK_EQUAL(dump(HPM_PROFILE_HEAP, (enum hpm_format)99, path_of("x")), -EINVAL);
    CHECK_EQUAL(dump((enum hpm_profile)-1, HPM_FORMAT_PPROF, path_of("x")), -EINVAL);
    CHECK_EQUAL(hpm_profile_write(HPM_PROFILE_HEAP, (enum hpm_format)99, 1), -EINVAL);
    CHECK_EQUAL(count_files(), files);
}

TEST(write, a_descriptor_gets_the_profile_and_stays_open)
{
    static char text[1 << 20];
    int fd = open(path_of("fd"), O_RDWR | O_CREAT, 0600);
    CHECK_EQUAL(hpm_profile_write(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, fd), 0);
    CHECK(fcntl(fd, F_GETFD) >= 0);
    CHECK(read_file(path_of("fd"), text, sizeof(text)) > 100 && is_gzip(text));
    close(fd);
}

TEST(write, a_bad_descriptor_is_what_write_says)
{
    CHECK_EQUAL(hpm_profile_write(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, -1), -EBADF);
    int read_only = open("/dev/null", O_RDONLY);
    CHECK_EQUAL(hpm_profile_write(HPM_PROFILE_HEAP, HPM_FORMAT_TEXT, read_only), -EBADF);
    close(read_only);
    int full = open("/dev/full", O_WRONLY);
    if (full < 0)
        SKIP("there is no /dev/full");
    CHECK_EQUAL(hpm_profile_write(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, full), -ENOSPC);
    close(full);
}

TEST(write, errno_is_kept_when_all_is_well)
{
    int fd = open("/dev/null", O_WRONLY);
    errno = 4711;
    CHECK_EQUAL(hpm_profile_write(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, fd), 0);
    CHECK_EQUAL(errno, 4711);
    close(fd);
}

static void *write_profiles(void *fd)
{
    long failed = 0;
    for (int i = 0; i < 50; i++)
        failed += hpm_profile_write(HPM_PROFILE_HEAP, HPM_FORMAT_PPROF, *(int *)fd) != 0;
    return (void *)failed;
}

TEST(write, threads_may_write_profiles_at_once)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    int fd = open("/dev/null", O_WRONLY);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, write_profiles, &fd);
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        CHECK(failed == NULL);
    }
    close(fd);
}
