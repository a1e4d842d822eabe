/* Windows between two steps of one thread in which another may act: they are held open here, for the
 * system call in the middle returns late. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hpmalloc.h"
#include "tap.h"

enum { THREADS = 6, ROUNDS = 150 };

static _Atomic long moves, failures;

/* Stands before the C library's. */
void *mremap(void *address, size_t old_bytes, size_t new_bytes, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    void *target = (flags & MREMAP_FIXED) != 0 ? va_arg(arguments, void *) : NULL;
    va_end(arguments);
    void *moved = (void *)syscall(SYS_mremap, address, old_bytes, new_bytes, flags, target);
    if (target != NULL) {
        moves++;
        usleep(200);
    }
    return moved;
}

#define HUGE_BYTES ((size_t)33 << 20)

static char *alloc_huge(void)
{
    char *block = hpm_malloc(HUGE_BYTES);
    if (block == NULL)
        failures++;
    else
        block[0] = block[HUGE_BYTES - 1] = 7;
    return block;
}

/* Two of a size mostly lie side by side: the lower one has to move to grow. Nothing is kept, so that
 * the kernel is asked for each. */
static void *move_blocks(void *unused)
{
    for (int i = 0; i < ROUNDS; i++) {
        char *one = alloc_huge(), *other = alloc_huge();
        char *moved = other != NULL ? hpm_realloc(other, 2 * HUGE_BYTES) : NULL;
        if (moved == NULL || moved[0] != 7 || moved[HUGE_BYTES - 1] != 7)
            failures++;
        hpm_free(moved != NULL ? moved : other);
        hpm_free(one);
        hpm_release_memory(SIZE_MAX);
    }
    return unused;
}

/* The kernel gives the address that a block has left to whoever asks next. */
TEST(races, a_block_may_come_to_where_another_has_just_left)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, move_blocks, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK(moves > 10);
    CHECK_EQUAL(failures, 0);
    printf("# %ld blocks moved\n", (long)moves);
}
