/* What the kinds of profile say of a program that knows the answer: each is written as text, and the
 * stack it puts first is looked at. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "hpmalloc.h"
#include "tap.h"

#define FRAME __attribute__((noinline, noclone))

static char text[4 << 20];

/* Allocates for a caller that shows in the stacks: the name in the assembly keeps the compiler from
 * folding two of them into one. */
#define MAKER(name)                                                                                \
    FRAME static void *name(size_t bytes)                                                          \
    {                                                                                              \
        void *block = hpm_malloc(bytes);                                                           \
        __asm__ volatile("# " #name ::"r"(block) : "memory");                                      \
        return block;                                                                              \
    }

MAKER(keep_one_in_each_slab)
MAKER(make_what_is_freed)
MAKER(rise_by_small)
MAKER(rise_by_large)
MAKER(stay_after_the_peak)
MAKER(live_briefly)
MAKER(live_longer)

__attribute__((constructor)) static void prepare(void)
{
    hpm_profile_set_interval(4096);
}

static void write_profile(enum hpm_profile profile)
{
    int fd = memfd_create("profile", 0);
    CHECK_EQUAL(hpm_profile_write(profile, HPM_FORMAT_TEXT, fd), 0);
    ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    close(fd);
}

/* The line of the stack whose number is given, and what follows up to the next. */
static const char *stack_of(int number)
{
    static char part[1 << 16];
    char begin[32], next[32];
    snprintf(begin, sizeof(begin), "\n%5d. ", number);
    snprintf(next, sizeof(next), "\n%5d. ", number + 1);
    const char *from = strstr(text, begin), *to = from != NULL ? strstr(from, next) : NULL;
    snprintf(part, sizeof(part), "%.*s", to != NULL ? (int)(to - from) : (int)sizeof(part) - 1,
             from != NULL ? from : "");
    return part;
}

static bool is_in(const char *part, const char *name)
{
    if (strstr(part, name) == NULL)
        printf("# %s is not in: %.300s\n", name, part);
    return strstr(part, name) != NULL;
}

TEST(kinds, pinned_names_who_keeps_one_object_in_each_slab)
{
    enum { SLABS = 2000, OBJECTS_IN_SLAB = 16384 / 256 };
    static void *freed[SLABS * OBJECTS_IN_SLAB], *kept[SLABS];
    size_t count = 0;
    for (size_t slab = 0; slab < SLABS; slab++) {
        kept[slab] = keep_one_in_each_slab(256);
        for (size_t i = 1; i < OBJECTS_IN_SLAB; i++)
            freed[count++] = make_what_is_freed(256);
    }
    for (size_t i = 0; i < count; i++)
        hpm_free(freed[i]);
    hpm_release_memory(SIZE_MAX);
    write_profile(HPM_PROFILE_PINNED);
    CHECK(is_in(stack_of(1), "keep_one_in_each_slab"));
    double share = 0;
    CHECK(sscanf(strchr(stack_of(1) + 1, '%') - 6, "%lf", &share) == 1 && share > 90);
    for (size_t slab = 0; slab < SLABS; slab++)
        hpm_free(kept[slab]);
}

TEST(kinds, peak_shows_what_was_live_when_most_was)
{
    enum { SMALL = 60000, LARGE = 100 };
    static void *small[SMALL], *large[LARGE];
    for (size_t i = 0; i < SMALL; i++)
        small[i] = rise_by_small(1000);
    for (size_t i = 0; i < LARGE; i++)
        large[i] = rise_by_large(300000);
    for (size_t i = 0; i < SMALL; i++)
        hpm_free(small[i]);
    for (size_t i = 0; i < LARGE; i++)
        hpm_free(large[i]);
    void *after = stay_after_the_peak(100000);
    write_profile(HPM_PROFILE_PEAK);
    CHECK(is_in(stack_of(1), "rise_by_small") && is_in(stack_of(2), "rise_by_large"));
    CHECK(is_in(stack_of(1), " MiB") && is_in(stack_of(2), "28.9 MiB"));
    CHECK(strstr(text, "stay_after_the_peak") == NULL);
    write_profile(HPM_PROFILE_HEAP);
    CHECK(strstr(text, "rise_by_small") == NULL);
    CHECK(is_in(text, "stay_after_the_peak"));
    hpm_free(after);
}

TEST(kinds, lifetime_tells_long_lives_from_short_ones)
{
    enum { ROUNDS = 20, EACH = 500 };
    static void *long_lived[ROUNDS][EACH];
    struct timespec pause = {0, 20000000};
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < EACH; i++) {
            hpm_free(live_briefly(5000));
            hpm_free(long_lived[(round + 10) % ROUNDS][i]);
            long_lived[(round + 10) % ROUNDS][i] = NULL;
            long_lived[round][i] = live_longer(4000);
        }
        nanosleep(&pause, NULL);
    }
    write_profile(HPM_PROFILE_LIFETIME);
    const char *brief = strstr(text, "live_briefly"), *longer = strstr(text, "live_longer");
    CHECK(brief != NULL && longer != NULL);
    while (brief > text && strncmp(brief, "mean of the freed ", 18) != 0)
        brief--;
    while (longer > text && strncmp(longer, "mean of the freed ", 18) != 0)
        longer--;
    int brief_ms = -1, longer_ms = -1;
    CHECK(sscanf(brief, "mean of the freed %d ms", &brief_ms) == 1 && brief_ms < 20);
    CHECK(sscanf(longer, "mean of the freed %d ms", &longer_ms) == 1);
    CHECK(longer_ms > 150 && longer_ms < 2000);
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < EACH; i++)
            hpm_free(long_lived[round][i]);
    }
}
