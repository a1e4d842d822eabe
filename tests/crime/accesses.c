/* Crimes at objects that were allocated and freed as they should be: what is written and read
 * beside them, and after. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "crime/crime.h"

#define NOINLINE __attribute__((noinline))

static char alternate_stack[65536];

/* Guarded objects lie at either end of a page: a block that ends, or begins, with one. Others stay
 * allocated. */
static NOINLINE char *allocate_at_page(size_t bytes, size_t end)
{
    for (int i = 0; i < 400; i++) {
        char *block = allocate(bytes);
        if (((uintptr_t)block + end) % 4096 == 0)
            return block;
    }
    return NULL;
}

static char *volatile place;
static volatile char seen;

static void write_at(char *address, size_t bytes)
{
    place = announce(address);
    for (size_t i = 0; i < bytes; i++)
        place[i] = 1;
}

static void overflow_at_page_by_1(void)
{
    write_at(allocate_at_page(64, 64) + 64, 1);
}

static void overflow_at_page_by_2000(void)
{
    write_at(allocate_at_page(64, 64) + 64 + 1999, 1);
}

static void underflow_at_page_by_1(void)
{
    write_at(allocate_at_page(64, 0) - 1, 1);
}

static void read_past_page(void)
{
    place = announce(allocate_at_page(64, 64) + 64);
    seen = *place;
}

/* The object's end is no multiple of 16: the page does not end with it. */
static void overflow(size_t bytes, size_t by)
{
    char *block = announce(allocate(bytes));
    place = block + bytes;
    for (size_t i = 0; i < by; i++)
        place[i] = 1;
    release(block);
}

static void overflow_by_1(void)
{
    overflow(70, 1);
}

static void overflow_by_2(void)
{
    overflow(70, 2);
}

static void overflow_by_8(void)
{
    overflow(70, 8);
}

static void overflow_by_zero(void)
{
    char *block = announce(allocate(70));
    place = block;
    place[70] = 0;
    release(block);
}

static void underflow_by_1(void)
{
    char *block = announce(allocate_at_page(64, 64));
    place = block;
    place[-1] = 1;
    release(block);
}

static NOINLINE char *freed_block(size_t bytes)
{
    char *block = allocate(bytes);
    release(block);
    return block;
}

static void write_after_free(void)
{
    write_at(freed_block(64) + 8, 1);
}

static void read_after_free(void)
{
    place = announce(freed_block(64) + 8);
    seen = *place;
}

static void read_by_the_system_after_free(void)
{
    place = announce(freed_block(64));
    if (write(STDOUT_FILENO, place, 8) != 8)
        release(place);
}

static void on_fault(int number)
{
    static const char words[] = "the program's handler\n";
    if (write(STDERR_FILENO, words, sizeof(words) - 1) < 0)
        abort();
    _exit(number);
}

static void read_after_free_with_handler(void)
{
    signal(SIGSEGV, on_fault);
    read_after_free();
}

static sigjmp_buf before_fault;

static void jump_back(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (number == SIGSEGV && info->si_addr == place)
        siglongjmp(before_fault, 1);
    abort();
}

/* The program lives on, and its handler is what it says it is. */
static void read_after_free_and_live(void)
{
    struct sigaction action = {.sa_sigaction = jump_back, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sigaction before;
    sigaction(SIGSEGV, &action, NULL);
    if (sigsetjmp(before_fault, 1) == 0)
        read_after_free();
    if (sigaction(SIGSEGV, NULL, &before) != 0 || before.sa_sigaction != jump_back ||
        before.sa_flags != action.sa_flags)
        abort();
}

static void on_fault_on_stack(int number)
{
    char local;
    uintptr_t stack = (uintptr_t)alternate_stack, at = (uintptr_t)&local;
    _exit(at > stack && at - stack < sizeof(alternate_stack) ? number : 1);
}

static void read_after_free_on_stack(void)
{
    stack_t stack = {.ss_sp = alternate_stack, .ss_size = sizeof(alternate_stack)};
    struct sigaction action = {.sa_handler = on_fault_on_stack,
                               .sa_flags = (int)SA_RESETHAND | SA_ONSTACK};
    sigaltstack(&stack, NULL);
    sigaction(SIGSEGV, &action, NULL);
    read_after_free();
}

static void wild_read(void)
{
    place = announce((char *)16);
    seen = *place;
}

static void overflow_large_by_1(void)
{
    overflow(100000, 1);
}

static void overflow_huge_by_1(void)
{
    overflow(40000000, 1);
}

static void overflow_and_end(void)
{
    place = announce(allocate(70));
    place[70] = 1;
}

static void overflow_large_and_end(void)
{
    place = announce(allocate(100000));
    place[100000] = 1;
}

static void overflow_and_resize(void)
{
    place = announce(allocate(70));
    place[70] = 1;
    resize(place, 700);
}

static void write_into_freed(void)
{
    place = announce(allocate(64));
    release(place);
    place[8] = 1;
}

static void write_into_freed_and_go_on(void)
{
    write_into_freed();
    for (int i = 0; i < 200000; i++)
        release(allocate(64));
    _exit(0);
}

static void write_everywhere_in_freed(void)
{
    place = announce(allocate(64));
    release(place);
    memset(place, 0, 64);
}

/* Freed memory has no address in it that a program could follow. */
static void follow_freed_pointer(void)
{
    struct node {
        char *next;
    } *volatile node = allocate(sizeof(struct node));
    node->next = announce(allocate(64));
    release(node);
    seen = *node->next;
}

/* Blocks of a size that lie one behind the other, as far as an allocator has them so: of a few
 * dozen, two neighbours. */
static NOINLINE void allocate_neighbours(size_t bytes, char **lower, char **upper)
{
    enum { COUNT = 64 };
    char *blocks[COUNT];
    for (int i = 0; i < COUNT; i++)
        blocks[i] = allocate(bytes);
    *lower = *upper = blocks[0];
    for (int i = 0; i < COUNT * COUNT; i++) {
        char *one = blocks[i / COUNT], *other = blocks[i % COUNT];
        if (other > one && (*upper == *lower || other - one < *upper - *lower)) {
            *lower = one;
            *upper = other;
        }
    }
}

static void overflow_into_live(size_t bytes)
{
    char *lower, *upper;
    allocate_neighbours(bytes, &lower, &upper);
    place = announce(lower);
    memset(lower, 'A', (size_t)(upper - lower) + 8);
    release(lower);
    release(upper);
}

static void overflow_into_live_small(void)
{
    overflow_into_live(64);
}

static void overflow_into_live_medium(void)
{
    overflow_into_live(2000);
}

/* What the program does afterwards, and all that it was given is handed back. */
static NOINLINE void go_on_with(size_t bytes)
{
    enum { COUNT = 3000 };
    static char *blocks[COUNT];
    for (int i = 0; i < COUNT; i++)
        blocks[i] = allocate(bytes);
    for (int i = 0; i < COUNT; i++)
        release(blocks[i]);
}

static void overflow_into_freed(void)
{
    char *lower, *upper;
    allocate_neighbours(64, &lower, &upper);
    place = announce(upper);
    release(upper);
    memset(lower, 'A', (size_t)(upper - lower) + 24);
    go_on_with(64);
}

static void overflow_into_freed_medium(void)
{
    char *lower, *upper;
    allocate_neighbours(2000, &lower, &upper);
    place = announce(upper);
    release(upper);
    memset(lower, 'A', (size_t)(upper - lower) + 24);
    go_on_with(2000);
}

static void write_all_of_freed_and_go_on(void)
{
    place = announce(allocate(64));
    release(allocate(64));
    release(place);
    memset(place, 'A', 64);
    go_on_with(64);
}

static void write_all_of_freed_medium_and_go_on(void)
{
    char *other = allocate(2000);
    place = announce(allocate(2000));
    allocate(2000);
    release(other);
    release(place);
    memset(place, 'A', 2000);
    go_on_with(2000);
}

/* As an attacker would: the link of a freed object made to point to where it wants to write. */
static void redirect_freed_link(char *where)
{
    static char *blocks[4];
    for (int i = 0; i < 4; i++)
        blocks[i] = allocate(64);
    for (int i = 0; i < 4; i++)
        release(blocks[i]);
    place = announce(blocks[3]);
    memcpy(blocks[3], &where, sizeof(where));
    go_on_with(64);
}

/* A program that does it each time round: lists of freed objects are looked at now and then. */
static void write_into_freed_each_round(void)
{
    enum { COUNT = 32, ROUNDS = 1000 };
    char *blocks[COUNT];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < COUNT; i++)
            blocks[i] = allocate(64);
        for (int i = 0; i < COUNT; i++)
            release(blocks[i]);
        place = blocks[COUNT / 2];
        place[8] = 1;
    }
    _exit(0);
}

static char target[128];

static void redirect_freed_link_to_global(void)
{
    redirect_freed_link((char *)(((uintptr_t)target + 15) & ~(uintptr_t)15));
}

static void redirect_freed_link_to_misaligned(void)
{
    redirect_freed_link(target + 1 - (uintptr_t)target % 2);
}

static void redirect_freed_link_to_object(void)
{
    redirect_freed_link(allocate(64));
}

static void underflow_into_live(void)
{
    char *lower, *upper;
    allocate_neighbours(64, &lower, &upper);
    place = announce(upper);
    memset(place - 16, 'A', 16);
    release(upper);
    release(lower);
}

static void write_freed_large(void)
{
    write_at(freed_block(100000) + 5000, 1);
}

static void read_freed_large(void)
{
    place = announce(freed_block(100000) + 5000);
    seen = *place;
}

static void free_with_wrong_size(void)
{
    hpm_free_sized(announce(allocate(70)), 71);
}

static void free_large_with_wrong_size(void)
{
    hpm_free_sized(announce(allocate(100000)), 99999);
}

static void free_with_right_size(void)
{
    hpm_free_sized(announce(allocate(70)), 70);
    hpm_free_sized(allocate(100000), 100000);
    hpm_free_sized(allocate(40000000), 40000000);
    hpm_free_sized(NULL, 70);
}

extern void free_aligned_sized(void *address, size_t alignment, size_t bytes) __attribute__((weak));

static void free_with_wrong_alignment(void)
{
    if (free_aligned_sized != NULL)
        free_aligned_sized(announce(hpm_aligned_alloc(64, 128)), 128, 128);
}

static void free_with_right_alignment(void)
{
    if (free_aligned_sized != NULL)
        free_aligned_sized(announce(hpm_aligned_alloc(64, 128)), 64, 128);
}

const struct crime accesses[] = {
    CRIME(overflow_at_page_by_1),
    CRIME(overflow_at_page_by_2000),
    CRIME(underflow_at_page_by_1),
    CRIME(read_past_page),
    CRIME(overflow_by_1),
    CRIME(overflow_by_2),
    CRIME(overflow_by_8),
    CRIME(overflow_by_zero),
    CRIME(underflow_by_1),
    CRIME(write_after_free),
    CRIME(read_after_free),
    CRIME(read_by_the_system_after_free),
    CRIME(read_after_free_with_handler),
    CRIME(read_after_free_and_live),
    CRIME(read_after_free_on_stack),
    CRIME(wild_read),
    CRIME(overflow_large_by_1),
    CRIME(overflow_huge_by_1),
    CRIME(overflow_and_end),
    CRIME(overflow_large_and_end),
    CRIME(overflow_and_resize),
    CRIME(write_into_freed),
    CRIME(write_into_freed_and_go_on),
    CRIME(write_everywhere_in_freed),
    CRIME(follow_freed_pointer),
    CRIME(write_freed_large),
    CRIME(read_freed_large),
    CRIME(overflow_into_live_small),
    CRIME(overflow_into_live_medium),
    CRIME(overflow_into_freed),
    CRIME(overflow_into_freed_medium),
    CRIME(write_all_of_freed_and_go_on),
    CRIME(write_all_of_freed_medium_and_go_on),
    CRIME(write_into_freed_each_round),
    CRIME(redirect_freed_link_to_global),
    CRIME(redirect_freed_link_to_misaligned),
    CRIME(redirect_freed_link_to_object),
    CRIME(underflow_into_live),
    CRIME(free_with_wrong_size),
    CRIME(free_large_with_wrong_size),
    CRIME(free_with_right_size),
    CRIME(free_with_wrong_alignment),
    CRIME(free_with_right_alignment),
};
const size_t access_count = sizeof(accesses) / sizeof(accesses[0]);
