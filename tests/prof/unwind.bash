# What the comparisons of stacks share: `. unwind.bash` after common.bash.

cc=${CC:-cc}
cxx=${CXX:-c++}
long=${UNWIND_LONG:-0}
totals=$work/totals
mkdir "$totals"
chmod 1777 "$totals"
rooms=$top_srcdir/src/prof
sentence="stacks are libunwind's" # of what is checked
comparison=("$top_srcdir/tests/prof/unwindcmp.c" "$rooms"/unwind.c "$rooms"/unwind_{cfi,reader,cache}.c
    "$rooms"/{cost,objects,elffile,mappings}.c "$top_srcdir"/src/base/*.c)

# times SHORT LONG: how often, by the kind of run
times()
{
    if [ "$long" = 1 ]; then echo "$2"; else echo "$1"; fi
}

# judged NAME LEAST: whether so many stacks were compared, and of those with tables all the way (which
# libunwind can judge) 999 of 1000 are equal.
judged()
{
    cat "$totals/$1".* | grep -v '^stacks' | sort -k 2nr | head -n 16
    cat "$totals/$1".* | awk -v least="$(times "$2" "$((20 * $2))")" '
        /^stacks/ { stacks += $2; equal += $4; untabled += $6; guessed += $8; wrong += $10; frames += $12 }
        END {
            printf "%d stacks, %d equal of %.1f frames; %d through code without a table, of which %d differ; %d wrong\n",
                stacks, equal, equal ? frames / equal : 0, untabled, guessed, wrong
            exit !(stacks >= least && wrong * 1000 <= stacks - untabled)
        }'
}

# frames NAME LEAST PROGRAM: is said with the figures
frames()
{
    local log=$work/judged
    if judged "$1" "$2" >"$log" 2>&1; then
        ok "$sentence: $1 ($(tail -n 1 "$log"))"
        [ -z "${UNWIND_VERBOSE:-}" ] || sed 's/^/# /' "$log"
    else
        not_ok "$sentence: $1" <"$log"
    fi
}

# program NAME: whether it is here; a skipped check if not
program()
{
    has "$1" && return
    skip "$sentence: $1" "there is no $1"
    return 1
}

# built NAME COMPILER FLAG...: a program of this script
built()
{
    local name=$1 compiler=$2
    shift 2
    "$compiler" "$@" -o "$work/$name" >"$work/log" 2>&1
}

write_throwing()
{
    cat >"$work/throwing.cc" <<'END'
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
template <int n> struct deep {
    static __attribute__((noinline)) std::string fall(int k)
    {
        auto kept = std::make_unique<std::string>(std::size_t(n + 40), 'x');
        std::string below = n % 7 == 0 && k % 2 == 0 ? fail(k) : deep<n - 1>::fall(k + n);
        return below + *kept;
    }
    static std::string fail(int k)
    {
        if (k % 4 == 0)
            throw std::runtime_error(std::string(50, 'y'));
        return deep<n - 1>::fall(k + 1);
    }
};
template <> struct deep<0> { static std::string fall(int) { throw std::string("the bottom of it, which is long"); } };
int main(int, char **arguments)
{
    for (int i = 0; i < atoi(arguments[1]); i++) {
        try { deep<60>::fall(i); }
        catch (const std::string &text) { if (text.empty()) return 1; }
        catch (const std::exception &error) { std::string copy(error.what()); }
    }
}
END
}

# A timer interrupts whatever runs: prologues, calls into other libraries, assembler of the C library. The
# handler allocates (which is safe here: what it interrupts never does), and sets the timer anew: however
# long the comparison takes, the program gets on.
write_interrupted()
{
    cat >"$work/interrupted.c" <<'END'
#define _GNU_SOURCE
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
static volatile int ticks;
static char text[5000], copy[5000], stack[1 << 20];
static int less(const void *a, const void *b) { return strcmp((const char *)a, (const char *)b); }
__attribute__((noinline)) static double aligned(int n)
{
    __attribute__((aligned(64))) volatile double place[8] = {n};
    char variable[n % 50 + 1];
    memset(variable, n, sizeof(variable));
    return place[0] + variable[0] + strlen(text);
}
static void arm(void)
{
    struct itimerval once = {{0, 0}, {0, 50 + ticks % 200}};
    setitimer(ITIMER_REAL, &once, NULL);
}
static void handler(int number) { (void)number; ticks++; free(malloc(100)); arm(); }
int main(int count, char **arguments)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
    if (count > 2) {
        sigaltstack(&other, NULL);
        action.sa_flags |= SA_ONSTACK;
    }
    sigaction(SIGALRM, &action, NULL);
    arm();
    volatile double sum = 0;
    while (ticks < atoi(arguments[1])) {
        for (int i = 0; i < 4999; i++) text[i] = (char)(1 + (i * 7919 + ticks) % 100);
        memcpy(copy, text, sizeof(copy));
        qsort(copy, 25, 40, less);
        sum += aligned(ticks) + sin(sum) + (double)strtol("123456", NULL, 10);
        sum += memchr(text, 120, 4999) != NULL;
        sum += getppid();
    }
    return 0;
}
END
}

# Calls many deep, of functions whose frames are all unlike, some through the C library's qsort.
write_falling()
{
    cat >"$work/falling.c" <<'END'
#include <alloca.h>
#include <stdlib.h>
#include <string.h>
#define IN __attribute__((noinline, section("falling")))
#define FUNCTION IN static void
static volatile long sink;
static unsigned chance = 1;
IN static unsigned next(void) { return (chance = chance * 1103515245 + 12345) >> 16; }
static void fall(int depth);
IN static void keep(int bytes) { char *p = malloc((size_t)bytes); p[0] = 1; sink += p[0]; free(p); }
FUNCTION plain(int depth) { fall(depth); sink++; }
FUNCTION large(int depth) { volatile char room[70000]; room[0] = 1; fall(depth); sink += room[0]; }
FUNCTION grown(int depth) { char *room = alloca((size_t)depth % 9 * 24 + 8); memset(room, 1, 8); fall(depth); sink += room[3]; }
FUNCTION aligned(int depth) { __attribute__((aligned(128))) volatile long room[40] = {depth}; fall(depth); sink += room[0]; }
FUNCTION both(int depth) { __attribute__((aligned(64))) volatile long room[8] = {depth}; char *other = alloca((size_t)next() % 300 + 8); other[0] = 2; fall(depth); sink += room[0] + other[0]; }
FUNCTION busy(int depth)
{
    long a = sink, b = a * 3, c = b ^ depth, d = c + 5, e = d * 7, f = e - a;
    for (int i = 0; i < 2; i++) { fall(depth - i); sink += a ^ b ^ c ^ d ^ e ^ f; }
}
FUNCTION early(int depth) { if (next() % 8 == 0) return; keep(depth + 30); fall(depth); sink--; }
IN static int less(const void *a, const void *b) { if (next() % 16 == 0) keep(50); return *(const int *)a - *(const int *)b; }
FUNCTION sorting(int depth) { int numbers[6] = {5, 3, 9, depth, 1, 7}; qsort(numbers, 6, 4, less); fall(depth); sink += numbers[0]; }
FUNCTION many(int a, int b, int c, int d, int e, int f, int g, int depth, int h) { fall(depth); sink += a + b + c + d + e + f + g + h; }
IN static void fall(int depth)
{
    static void (*const ways[])(int) = {plain, large, grown, aligned, both, busy, early, sorting};
    if (depth <= 0 || next() % 32 == 0)
        keep(40);
    else if (next() % 9 == 0)
        many(1, 2, 3, 4, 5, 6, 7, depth - 1, 8);
    else
        ways[next() % 8](depth - 1);
}
IN int main(int count, char **arguments)
{
    for (int i = 0; count > 1 && i < atoi(arguments[1]); i++) fall(i % 60);
    return 0;
}
END
}
