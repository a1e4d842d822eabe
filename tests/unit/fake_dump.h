/* A dump of a profile that is made by hand, in a folder of its own, with what is said on stderr. */
#ifndef HPM_TESTS_FAKE_DUMP_H
#define HPM_TESTS_FAKE_DUMP_H

#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/options.h"
#include "fake_snapshot.h"
#include "report/dump.h"
#include "report/stats.h"
#include "tap.h"

extern char **environ;

/* What stands for the profile: one stack, and a deed to be done while a dump is under way. */
static void (*while_dumping)(void);
static int pictures;
static bool has_no_memory;

bool snapshot_take(struct snapshot *snapshot)
{
    static const uintptr_t frames[2] = {(uintptr_t)snapshot_take, (uintptr_t)main + 1};
    static struct stack *stack;
    static struct profile_row row;
    if (stack == NULL)
        stack = fake_stack(frames, 2, true);
    if (row.stack == NULL)
        row = fake_row(stack, 1 << 20, 12.3);
    fake_snapshot_into(snapshot, &row, 1);
    pictures++;
    void (*deed)(void) = while_dumping;
    while_dumping = NULL;
    if (deed != NULL)
        deed();
    return !has_no_memory;
}

void snapshot_calibrate(struct snapshot *snapshot, size_t exact_live_bytes)
{
    (void)snapshot, (void)exact_live_bytes;
}

/* What the estimates are, for the keeper and its triggers. */
static _Atomic uint64_t fake_alloc_bytes, fake_live_bytes;

uint64_t profile_alloc_bytes(void)
{
    return fake_alloc_bytes;
}

uint64_t profile_live_bytes(void)
{
    return fake_live_bytes;
}

void snapshot_free(struct snapshot *snapshot)
{
    snapshot->rows = NULL;
}

void stats_collect(struct hpm_stats *stats)
{
    *stats = (struct hpm_stats){.live_bytes = 12 << 20, .resident_bytes = 20 << 20};
}

bool stats_collect_class(unsigned number, struct hpm_class_stats *stats)
{
    (void)number, (void)stats;
    return false;
}

static char folder[64], said[16384];
static int said_fd, kept_stderr;

/* A fresh folder, made the current one, and the options in this environment. Sequence numbers
 * start anew, as in a forked child. */
static inline void begin_in_folder(const char *const *variables)
{
    char **kept = environ;
    strcpy(folder, "/tmp/dump_test.XXXXXX");
    if (mkdtemp(folder) == NULL || chdir(folder) != 0)
        abort();
    environ = (char **)variables;
    options_init();
    environ = kept;
    dump_init();
    dump_fork_prepare();
    dump_fork_child();
    pictures = 0;
    said_fd = memfd_create("stderr", 0);
    kept_stderr = dup(STDERR_FILENO);
    dup2(said_fd, STDERR_FILENO);
}

#define BEGIN(...) begin_in_folder((const char *const[]){__VA_ARGS__, NULL})

/* What was said on stderr is in `said` afterwards. */
static inline void end_listening(void)
{
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    ssize_t length = pread(said_fd, said, sizeof(said) - 1, 0);
    said[length > 0 ? length : 0] = '\0';
    close(said_fd);
}

static inline void remove_folder(void)
{
    char command[100];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    if (chdir("/") != 0 || system(command) != 0)
        abort();
}

static inline bool exists(const char *format, ...)
{
    char name[500];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof(name), format, arguments);
    va_end(arguments);
    return access(name, F_OK) == 0;
}

static inline int count_files(void)
{
    glob_t found;
    int count = glob(".[!.]*", 0, NULL, &found) == 0 ? (int)found.gl_pathc : 0;
    globfree(&found);
    count += glob("*", 0, NULL, &found) == 0 ? (int)found.gl_pathc : 0;
    globfree(&found);
    return count;
}

static inline int count_lines(const char *text)
{
    int count = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++)
        count++;
    return count;
}

static inline bool says(const char *text)
{
    if (strstr(said, text) == NULL)
        printf("# says: %s\n", said);
    return strstr(said, text) != NULL;
}

static inline void make_file(const char *name, const char *content)
{
    int fd = open(name, O_WRONLY | O_CREAT, 0644);
    if (write(fd, content, strlen(content)) != (ssize_t)strlen(content))
        abort();
    close(fd);
}

static inline off_t size_of(const char *name)
{
    struct stat status;
    return stat(name, &status) == 0 ? status.st_size : -1;
}

#endif
