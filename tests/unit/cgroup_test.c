/* Limits of control groups, read from folders that look like the kernel's. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/cgroup.h"
#include "tap.h"

static char folder[64];

static void begin(void)
{
    strcpy(folder, "/tmp/cgroup_test.XXXXXX");
    if (mkdtemp(folder) == NULL)
        abort();
}

static void end(void)
{
    char command[100];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    if (system(command) != 0)
        abort();
}

/* Makes a file of the system, and its folders. */
static void put(const char *name, const char *content)
{
    char path[500];
    snprintf(path, sizeof(path), "%s%s", folder, name);
    for (char *at = path + strlen(folder) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
    FILE *file = fopen(path, "w");
    if (file == NULL)
        abort();
    fputs(content, file);
    fclose(file);
}

static const char v2_mount[] =
    "24 30 0:22 / /sys rw - sysfs sysfs rw\n"
    "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
static const char v1_mount[] =
    "32 31 0:29 / /sys/fs/cgroup/cpu rw shared:10 - cgroup cgroup rw,cpu\n"
    "33 31 0:30 /box/a /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

static void check_level(unsigned level, uint64_t limit, uint64_t used)
{
    struct cgroup_memory memory = {0, 0};
    CHECK(cgroup_read(level, &memory));
    CHECK_EQUAL(memory.limit_bytes, limit);
    CHECK_EQUAL(memory.used_bytes, used);
}

static bool has_level(unsigned level)
{
    struct cgroup_memory memory;
    return cgroup_read(level, &memory);
}

TEST(cgroup, version_2_has_a_limit_at_any_level_and_file_pages_do_not_count)
{
    begin();
    put("/proc/self/cgroup", "0::/box/a\n");
    put("/proc/self/mountinfo", v2_mount);
    put("/sys/fs/cgroup/box/a/memory.max", "max\n");
    put("/sys/fs/cgroup/box/memory.max", "1000000\n");
    put("/sys/fs/cgroup/box/memory.current", "900000\n");
    put("/sys/fs/cgroup/box/memory.stat", "anon 5\ninactive_anon 7\ninactive_file 300000\n");
    cgroup_init(folder);
    check_level(0, CGROUP_NO_LIMIT, 0);
    check_level(1, 1000000, 600000);
    check_level(2, CGROUP_NO_LIMIT, 0);
    CHECK(!has_level(3));
    end();
}

TEST(cgroup, version_1_of_a_container_sees_its_own_group_as_the_root)
{
    begin();
    put("/proc/self/cgroup", "5:cpu:/\n4:hugetlb,memory:/box/a/b\n0::/\n");
    put("/proc/self/mountinfo", v1_mount);
    put("/sys/fs/cgroup/memory/b/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1500000\n");
    put("/sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 500000\n");
    cgroup_init(folder);
    check_level(0, CGROUP_NO_LIMIT, 0);
    check_level(1, 2000000, 1000000);
    CHECK(!has_level(2));
    end();
}

TEST(cgroup, a_group_outside_of_what_is_mounted_is_the_mounted_one)
{
    begin();
    put("/proc/self/cgroup", "4:memory:/elsewhere\n");
    put("/proc/self/mountinfo", v1_mount);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "5\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "4\n");
    cgroup_init(folder);
    check_level(0, 5, 4);
    CHECK(!has_level(1));
    end();
}

TEST(cgroup, lines_longer_than_a_page_are_passed_over)
{
    static char mounts[20000];
    begin();
    memset(mounts, 'x', 10000);
    mounts[10000] = '\n';
    strcat(mounts, v2_mount);
    put("/proc/self/cgroup", "0::/\n");
    put("/proc/self/mountinfo", mounts);
    put("/sys/fs/cgroup/memory.max", "5\n");
    put("/sys/fs/cgroup/memory.current", "4\n");
    cgroup_init(folder);
    check_level(0, 5, 4);
    end();
}

TEST(cgroup, without_groups_there_is_no_level)
{
    begin();
    cgroup_init(folder);
    CHECK(!has_level(0));
    put("/proc/self/cgroup", "garbage\n::::\n0:\n\n0::relative\n");
    put("/proc/self/mountinfo", "- - -\n - cgroup2\n");
    cgroup_init(folder);
    CHECK(!has_level(0));
    end();
}
