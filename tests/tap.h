/* A test program in TAP: `TEST(room, what_it_proves) { CHECK(...); }` and nothing else; main is
 * here. Exit status 1 when a test failed; one that does not come to its end prints no plan. */
#ifndef HPM_TESTS_TAP_H
#define HPM_TESTS_TAP_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAP_TESTS_MAX = 200 };

struct tap_test {
    const char *room, *sentence;
    int line;
    void (*run)(void);
};

static struct {
    struct tap_test tests[TAP_TESTS_MAX];
    int count;
    bool has_failed; // the test at work
    const char *skipped;
} tap;

#define TEST(room, sentence)                                                                       \
    static void room##_##sentence(void);                                                           \
    __attribute__((constructor)) static void register_##room##_##sentence(void)                    \
    {                                                                                              \
        tap_register(#room, #sentence, __LINE__, room##_##sentence);                               \
    }                                                                                              \
    static void room##_##sentence(void)

/* Checks go on after a failure: all that is wrong is shown. */
#define CHECK(condition)                                                                           \
    ((condition) ? (void)0 : tap_fail(__FILE__, __LINE__, "not so: %s", #condition))
#define CHECK_EQUAL(is, should_be)                                                                 \
    tap_check_equal(__FILE__, __LINE__, #is, (long long)(is), (long long)(should_be))
#define CHECK_TEXT(is, should_be) tap_check_text(__FILE__, __LINE__, #is, is, should_be)

/* Ends the test, neither passed nor failed. */
#define SKIP(reason)                                                                               \
    do {                                                                                           \
        tap.skipped = (reason);                                                                    \
        return;                                                                                    \
    } while (0)

/* Whether qemu stands between the test and the kernel: it does not do all that a kernel does. */
static inline bool tap_is_emulated(void)
{
    return getenv("EMULATED") != NULL;
}

/* Its own word about a program that ends by a signal is not the program's. */
static inline void tap_cut_emulator(char *said)
{
    char *word = strstr(said, "qemu: uncaught target signal");
    if (word != NULL)
        *word = '\0';
}

/* In the order of their lines: that of constructors is another with -flto. */
static inline void tap_register(const char *room, const char *sentence, int line, void (*run)(void))
{
    int at = tap.count++;
    if (at == TAP_TESTS_MAX)
        abort();
    for (; at > 0 && tap.tests[at - 1].line > line; at--)
        tap.tests[at] = tap.tests[at - 1];
    tap.tests[at] = (struct tap_test){room, sentence, line, run};
}

#define tap_fail(file, line, ...)                                                                  \
    (tap.has_failed = true, printf("# %s:%d: ", file, line), printf(__VA_ARGS__),                  \
     (void)putchar('\n'))

static inline void tap_check_equal(const char *file, int line, const char *what, long long is,
                                   long long should_be)
{
    if (is != should_be)
        tap_fail(file, line, "%s is %lld, not %lld", what, is, should_be);
}

static inline void tap_check_text(const char *file, int line, const char *what, const char *is,
                                  const char *should_be)
{
    if (is == NULL || strcmp(is, should_be) != 0)
        tap_fail(file, line, "%s is \"%s\", not \"%s\"", what, is != NULL ? is : "(null)",
                 should_be);
}

static inline void tap_print_result(int number, const struct tap_test *test)
{
    printf("%s %d - %s: ", tap.has_failed ? "not ok" : "ok", number, test->room);
    for (const char *at = test->sentence; *at != '\0'; at++)
        putchar(*at == '_' ? ' ' : *at);
    if (tap.skipped != NULL)
        printf(" # SKIP %s", tap.skipped);
    putchar('\n');
    fflush(stdout);
}

int main(void)
{
    int failed = 0;
    for (int i = 0; i < tap.count; i++) {
        tap.has_failed = false;
        tap.skipped = NULL;
        tap.tests[i].run();
        tap_print_result(i + 1, &tap.tests[i]);
        failed += tap.has_failed;
    }
    printf("1..%d\n", tap.count);
    return failed != 0;
}

#endif
