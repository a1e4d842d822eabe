#define _GNU_SOURCE
#include "base/os.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/* As in <linux/futex.h>: the kernel's headers are no part of a C library's. */
enum { FUTEX_WAIT_PRIVATE = 128, FUTEX_WAKE_PRIVATE = 129 };

static counter calls[OS_CALL_COUNT];

static void count(enum os_call call)
{
    counter_add(&calls[call], 1);
}

static _Atomic size_t page_bytes;

#ifdef HPM_DEBUG
void os_act_page_bytes(size_t bytes)
{
    atomic_store_explicit(&page_bytes, bytes, memory_order_relaxed);
}
#endif

size_t os_page_bytes(void)
{
    size_t bytes = atomic_load_explicit(&page_bytes, memory_order_relaxed);
    if (likely(bytes != 0))
        return bytes;
    unsigned long answer = getauxval(AT_PAGESZ);
    bytes = answer != 0 ? answer : 4 * KiB;
    atomic_store_explicit(&page_bytes, bytes, memory_order_relaxed);
    return bytes;
}

bool os_has_raised_rights(void)
{
    return getauxval(AT_SECURE) != 0;
}

size_t os_space_limit_bytes(void)
{
    int saved = errno;
    struct rlimit space;
    bool is_limited = getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY;
    errno = saved;
    return is_limited ? (size_t)space.rlim_cur : 0;
}

size_t os_memory_limit_bytes(void)
{
    int saved = errno;
    struct sysinfo info;
    size_t memory = sysinfo(&info) == 0 ? (size_t)info.totalram * info.mem_unit : 0;
    errno = saved;
    size_t space = os_space_limit_bytes();
    return space != 0 && (memory == 0 || space < memory) ? space : memory;
}

size_t os_cpu_count(void)
{
    int saved = errno;
    cpu_set_t set;
    CPU_ZERO(&set);
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 0;
    errno = saved;
    return count > 0 ? (size_t)count : CPU_SETSIZE;
}

unsigned os_cpu(void)
{
    int cpu = sched_getcpu();
    return cpu < 0 ? 0 : (unsigned)cpu;
}

/* errno is kept: free() must not change it, and malloc's callers set ENOMEM themselves. */
static void *map_with_rights(void *hint, size_t bytes, int rights, int flags)
{
    int saved = errno;
    count(OS_CALL_MAP);
    void *start = mmap(hint, bytes, rights, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    errno = saved;
    return start == MAP_FAILED ? NULL : start;
}

static void *map(void *hint, size_t bytes, int flags)
{
    return map_with_rights(hint, bytes, PROT_READ | PROT_WRITE, flags);
}

void *os_map(size_t bytes)
{
    return map(NULL, round_up(bytes, os_page_bytes()), 0);
}

void *os_map_whole(size_t bytes)
{
    return map(NULL, round_up(bytes, os_page_bytes()), MAP_POPULATE);
}

void *os_reserve(size_t bytes)
{
    return map(NULL, round_up(bytes, os_page_bytes()), MAP_NORESERVE);
}

void *os_reserve_closed(size_t bytes)
{
    return map_with_rights(NULL, round_up(bytes, os_page_bytes()), PROT_READ, MAP_NORESERVE);
}

static bool is_aligned(const void *start, size_t alignment)
{
    return ((uintptr_t)start & (alignment - 1)) == 0;
}

/* Maps more than asked and cuts the ends off. */
static void *map_aligned_trim(size_t bytes, size_t alignment)
{
    size_t slack = alignment - os_page_bytes();
    char *start = map(NULL, bytes + slack, 0);
    if (start == NULL)
        return NULL;
    char *aligned = (char *)round_up((uintptr_t)start, alignment);
    size_t before = (size_t)(aligned - start);
    if (before != 0)
        os_unmap(start, before);
    if (slack != before)
        os_unmap(aligned + bytes, slack - before);
    return aligned;
}

void *os_map_aligned(size_t bytes, size_t alignment, void *hint)
{
    bytes = round_up(bytes, os_page_bytes());
    if (bytes == 0 || bytes > SIZE_MAX / 2 - alignment)
        return NULL;
    if (alignment <= os_page_bytes())
        return map(hint, bytes, 0);
    if (hint != NULL) {
        void *start = map(hint, bytes, 0);
        if (start == NULL || is_aligned(start, alignment))
            return start;
        os_unmap(start, bytes);
    }
    return map_aligned_trim(bytes, alignment);
}

void *os_map_file(int fd, size_t bytes)
{
    int saved = errno;
    count(OS_CALL_MAP);
    void *start = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    errno = saved;
    return start == MAP_FAILED ? NULL : start;
}

bool os_map_shared(void *target, int fd, size_t offset, size_t bytes)
{
    int saved = errno;
    count(OS_CALL_MAP);
    void *start =
        mmap(target, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)offset);
    errno = saved;
    return start != MAP_FAILED;
}

static bool advise(void *start, size_t bytes, int advice)
{
    int saved = errno;
    bool done = madvise(start, round_up(bytes, os_page_bytes()), advice) == 0;
    errno = saved;
    return done;
}

void os_advise_huge(void *start, size_t bytes, bool is_huge)
{
    advise(start, bytes, is_huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

bool os_keep_from_children(void *start, size_t bytes)
{
    return advise(start, bytes, MADV_DONTFORK);
}

bool os_clear_in_children(void *start, size_t bytes)
{
    return advise(start, bytes, MADV_WIPEONFORK);
}

void os_unmap(void *start, size_t bytes)
{
    int saved = errno;
    count(OS_CALL_UNMAP);
    munmap(start, round_up(bytes, os_page_bytes()));
    errno = saved;
}

/* The heap's pages may be smaller than the system's: the kernel would take whole ones, with what
 * lies behind the end. The ends of the range that share one are cleared by hand. */
bool os_release(void *start, size_t bytes)
{
    char *limit = (char *)start + bytes;
    char *first = (char *)round_up((uintptr_t)start, os_page_bytes());
    char *last = (char *)round_down((uintptr_t)limit, os_page_bytes());
    if (first >= last) {
        memset(start, 0, bytes);
        return true;
    }
    count(OS_CALL_RELEASE);
    if (!advise(first, (size_t)(last - first), MADV_DONTNEED))
        return false;
    memset(start, 0, (size_t)(first - (char *)start));
    memset(last, 0, (size_t)(limit - last));
    return true;
}

/* Asked to punch a hole into a file the kernel refuses: with EACCES where a file is mapped privately,
 * with EINVAL where there is none (madvise(2)). It is asked for the answer only. */
static bool is_private_file(void *start, size_t bytes)
{
    int saved = errno;
    bool is_refused = madvise(start, bytes, MADV_REMOVE) != 0 && errno == EACCES;
    errno = saved;
    return is_refused;
}

void os_forget_file(void *start, size_t bytes)
{
    char *first = (char *)round_up((uintptr_t)start, os_page_bytes());
    char *last = (char *)round_down((uintptr_t)start + bytes, os_page_bytes());
    if (first < last && is_private_file(first, (size_t)(last - first)))
        advise(first, (size_t)(last - first), MADV_DONTNEED);
}

static bool protect(void *start, size_t bytes, int rights)
{
    if (!is_aligned(start, os_page_bytes()) || bytes % os_page_bytes() != 0)
        return false;
    int saved = errno;
    count(OS_CALL_PROTECT);
    bool done = mprotect(start, bytes, rights) == 0;
    errno = saved;
    return done;
}

bool os_close(void *start, size_t bytes)
{
    return protect(start, bytes, PROT_NONE);
}

bool os_open(void *start, size_t bytes)
{
    return protect(start, bytes, PROT_READ | PROT_WRITE);
}

bool os_resize(void *start, size_t old_bytes, size_t new_bytes)
{
    int saved = errno;
    count(OS_CALL_REMAP);
    bool done = mremap(start, old_bytes, new_bytes, 0) != MAP_FAILED;
    errno = saved;
    return done;
}

bool os_move(void *start, size_t old_bytes, void *target, size_t new_bytes)
{
    int saved = errno;
    count(OS_CALL_REMAP);
    void *moved = mremap(start, old_bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, target);
    errno = saved;
    return moved != MAP_FAILED;
}

/* Only the lowest bit of the kernel's answer says anything. */
bool os_resident_pages(const void *start, size_t bytes, uint8_t *pages)
{
    int saved = errno;
    count(OS_CALL_RESIDENT);
    bool done = mincore((void *)(uintptr_t)start, bytes, pages) == 0;
    errno = saved;
    size_t page_count = round_up(bytes, os_page_bytes()) / os_page_bytes();
    for (size_t i = 0; i < page_count; i++)
        pages[i] = done ? pages[i] & 1 : 0;
    return done;
}

/* ENOMEM is a hole in the range; any other error is a kernel, or a filter, that does not tell. */
static bool tells_residency(const void *start)
{
    int saved = errno;
    uint8_t page;
    bool tells = mincore((void *)(uintptr_t)start, 1, &page) == 0 || errno == ENOMEM;
    errno = saved;
    return tells;
}

bool os_resident_bytes(const void *start, size_t bytes, size_t *resident)
{
    uint8_t pages[128];
    size_t step = sizeof(pages) * os_page_bytes();
    *resident = 0;
    for (size_t done = 0; done < bytes; done += step) {
        size_t part = min_size(step, bytes - done);
        const char *at = (const char *)start + done;
        if (!os_resident_pages(at, part, pages) && !tells_residency(at))
            return false;
        for (size_t i = 0; i * os_page_bytes() < part; i++)
            *resident += pages[i] * os_page_bytes();
    }
    return true;
}

static uint64_t clock_ns(clockid_t clock)
{
    int saved = errno;
    struct timespec now = {0};
    clock_gettime(clock, &now);
    errno = saved;
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t os_clock_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t os_clock_coarse_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC_COARSE);
}

uint64_t os_cpu_clock_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t os_wall_clock_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

void os_thread_name(char name[static OS_THREAD_NAME_BYTES])
{
    name[0] = '\0';
    prctl(PR_GET_NAME, name, 0, 0, 0);
}

uint64_t os_random_u64(void)
{
    int saved = errno;
    uint64_t value = 0;
    if (syscall(SYS_getrandom, &value, sizeof(value), 1 /* GRND_NONBLOCK */) != sizeof(value))
        value = mix_bits(os_clock_ns() ^ (uintptr_t)&value ^ ((uint64_t)getpid() << 32));
    errno = saved;
    return value;
}

bool os_wait(_Atomic uint32_t *word, uint32_t expected)
{
    int saved = errno;
    count(OS_CALL_WAIT);
    bool is_woken = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0) == 0;
    errno = saved;
    return is_woken;
}

void os_wait_for(_Atomic uint32_t *word, uint32_t expected, uint64_t nanoseconds)
{
    int saved = errno;
    struct timespec time = {(time_t)(nanoseconds / 1000000000u), (long)(nanoseconds % 1000000000u)};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &time, NULL, 0);
    errno = saved;
}

void os_wake(_Atomic uint32_t *word, int waiters)
{
    int saved = errno;
    count(OS_CALL_WAKE);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, waiters, NULL, NULL, 0);
    errno = saved;
}

void os_yield(void)
{
    sched_yield();
}

int os_put_cancel_off(void)
{
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}

void os_allow_cancel(int before)
{
    pthread_setcancelstate(before, NULL);
}

uint64_t os_call_count(enum os_call call)
{
    return counter_get(&calls[call]);
}
