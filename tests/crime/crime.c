/* One crime for each argument. Prints the address it is about, commits it, and ends normally: that
 * is when the library looks at what it had no reason to look at before. `names` prints all names. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "crime/crime.h"

static char global[64];

static void free_twice(size_t bytes)
{
    void *block = announce(allocate(bytes));
    release(block);
    release(block);
}

static void free_twice_small(void)
{
    free_twice(64);
}

static void free_twice_largest_small(void)
{
    free_twice(32768);
}

static void free_twice_large(void)
{
    free_twice(100000);
}

static void free_twice_huge(void)
{
    free_twice(40000000);
}

static void free_twice_beside_live(void)
{
    allocate(64);
    free_twice(64);
    allocate(64);
}

/* `count` other objects of the size are freed in between; the one is from their middle. */
static void free_again_after(size_t bytes, int count)
{
    static void *others[100000];
    for (int i = 0; i < count; i++)
        others[i] = allocate(bytes);
    void *block = announce(others[count / 2]);
    for (int i = 0; i < count; i++)
        release(others[i]);
    release(block);
}

static void free_again_after_10(void)
{
    free_again_after(64, 10);
}

static void free_again_after_1000(void)
{
    free_again_after(64, 1000);
}

static void free_again_after_100000(void)
{
    free_again_after(64, 100000);
}

static void *release_in_thread(void *block)
{
    release(block);
    return NULL;
}

static void free_again_in_thread(void)
{
    pthread_t thread;
    void *block = announce(allocate(64));
    pthread_create(&thread, NULL, release_in_thread, block);
    pthread_join(thread, NULL);
    release(block);
}

/* To say what was done is a place where a cancelled thread ends: it must not, for it has to abort. */
static void *release_when_cancelled(void *block)
{
    pthread_cancel(pthread_self());
    release(block);
    release(block);
    return NULL;
}

static void free_twice_when_cancelled(void)
{
    pthread_t thread;
    void *block = announce(allocate(64));
    pthread_create(&thread, NULL, release_when_cancelled, block);
    pthread_join(thread, NULL);
}

static pthread_barrier_t barrier;

static void *release_and_wait(void *block)
{
    release(block);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void free_again_beside_thread(void)
{
    pthread_t thread;
    void *block = announce(allocate(64));
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, release_and_wait, block);
    pthread_barrier_wait(&barrier);
    release(block);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
}

static void free_inside(size_t bytes, size_t offset)
{
    char *block = allocate(bytes);
    release(announce(block + offset));
}

static void free_inside_small(void)
{
    free_inside(64, 16);
}

static void free_inside_small_odd(void)
{
    free_inside(1000, 333);
}

static void free_inside_large(void)
{
    free_inside(100000, 4096);
}

static void free_inside_huge(void)
{
    free_inside(40000000, 4096);
}

static void free_far_inside_huge(void)
{
    free_inside(40000000, 20000000);
}

static void free_misaligned(void)
{
    free_inside(64, 1);
}

static void free_misaligned_by_half(void)
{
    free_inside(64, 8);
}

static void free_misaligned_large(void)
{
    free_inside(100000, 1);
}

static void free_large_again_in_thread(void)
{
    pthread_t thread;
    void *block = announce(allocate(100000));
    pthread_create(&thread, NULL, release_in_thread, block);
    pthread_join(thread, NULL);
    release(block);
}

static void free_wild(void)
{
    release(announce((void *)0x123456789ab0));
}

/* No address at all: the processor takes it for none. */
static void free_text(void)
{
    release(announce((void *)0x4141414141414140));
}

static void free_code(void)
{
    release(announce((void *)(uintptr_t)free_text));
}

/* What another allocator gave, here the C library's own. */
#if defined(__GLIBC__) && !defined(CRIME_LIBC)
extern void *__libc_malloc(size_t bytes);
#else
#define __libc_malloc(bytes) mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
#endif

static void free_foreign(void)
{
    release(announce(__libc_malloc(64)));
}

static void free_stack(void)
{
    char local[64];
    release(announce(local + (16 - (uintptr_t)local % 16)));
}

static void free_global(void)
{
    release(announce(global));
}

static void free_mapping(void)
{
    release(announce(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
}

static void free_near_null(void)
{
    release(announce((void *)16));
}

static void resize_global(void)
{
    resize(announce(global), 1000);
}

static void resize_freed_small(void)
{
    void *block = announce(allocate(64));
    release(block);
    resize(block, 64);
}

static void resize_freed_small_to_more(void)
{
    void *block = announce(allocate(64));
    release(block);
    resize(block, 640);
}

static void resize_freed_large(void)
{
    void *block = announce(allocate(100000));
    release(block);
    resize(block, 200000);
}

static void resize_inside_small(void)
{
    char *block = allocate(64);
    resize(announce(block + 16), 1000);
}

static void resize_inside_large(void)
{
    char *block = allocate(100000);
    resize(announce(block + 8192), 200000);
}

static void resize_misaligned(void)
{
    char *block = allocate(64);
    resize(announce(block + 1), 1000);
}

static void resize_stack(void)
{
    char local[64];
    resize(announce(local + (16 - (uintptr_t)local % 16)), 1000);
}

static void resize_wild(void)
{
    resize(announce((void *)0x123456789ab0), 1000);
}

static void resize_inside_huge(void)
{
    char *block = allocate(40000000);
    resize(announce(block + 4096), 50000000);
}

static void resize_freed_huge(void)
{
    void *block = announce(allocate(40000000));
    release(block);
    resize(block, 50000000);
}

static void measure_freed_large(void)
{
    void *block = announce(allocate(100000));
    release(block);
    measure(block);
}

static void measure_inside_large(void)
{
    char *block = allocate(100000);
    measure(announce(block + 4096));
}

static void measure_global(void)
{
    measure(announce(global));
}

static void no_crime(void)
{
    release(announce(allocate(64)));
}

static const struct crime calls[] = {
    CRIME(free_twice_small),
    CRIME(free_twice_beside_live),
    CRIME(free_twice_largest_small),
    CRIME(free_twice_large),
    CRIME(free_twice_huge),
    CRIME(free_again_after_10),
    CRIME(free_again_after_1000),
    CRIME(free_again_after_100000),
    CRIME(free_again_in_thread),
    CRIME(free_twice_when_cancelled),
    CRIME(free_again_beside_thread),
    CRIME(free_inside_small),
    CRIME(free_inside_small_odd),
    CRIME(free_inside_large),
    CRIME(free_inside_huge),
    CRIME(free_far_inside_huge),
    CRIME(free_stack),
    CRIME(free_global),
    CRIME(free_mapping),
    CRIME(free_near_null),
    CRIME(resize_global),
    CRIME(resize_freed_small),
    CRIME(resize_freed_small_to_more),
    CRIME(resize_freed_large),
    CRIME(resize_inside_small),
    CRIME(resize_inside_large),
    CRIME(measure_global),
    CRIME(free_misaligned),
    CRIME(free_misaligned_by_half),
    CRIME(free_misaligned_large),
    CRIME(free_large_again_in_thread),
    CRIME(free_wild),
    CRIME(free_text),
    CRIME(free_code),
    CRIME(free_foreign),
    CRIME(resize_misaligned),
    CRIME(resize_stack),
    CRIME(resize_wild),
    CRIME(resize_inside_huge),
    CRIME(resize_freed_huge),
    CRIME(measure_freed_large),
    CRIME(measure_inside_large),
    CRIME(no_crime),
};

static bool commit(const struct crime *crimes, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, crimes[i].name) == 0) {
            crimes[i].commit();
            return true;
        }
    }
    return false;
}

static void print_names(const struct crime *crimes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        puts(crimes[i].name);
}

static int print_all_names(void)
{
    print_names(calls, sizeof(calls) / sizeof(calls[0]));
    print_names(accesses, access_count);
    return 0;
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    if (strcmp(arguments[1], "names") == 0)
        return print_all_names();
    bool is_known = commit(calls, sizeof(calls) / sizeof(calls[0]), arguments[1]) ||
                    commit(accesses, access_count, arguments[1]);
    return is_known ? 0 : 2;
}
