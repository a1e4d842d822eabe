#!/bin/bash
# Our stacks in programs that no library can be preloaded into, or that are built for another C library:
# -static and -static-pie with the GNU C library, and musl, where each function of the program has its
# unwind table and none of libc. 999 of 1000 are those of the judge, which differs, see unwindcmp.c.
#
# For musl a stack is judged up to the first of libc's frames: what sorts calls back into the program
# from there. Behind it nobody knows more than what a frame pointer says, and ours may be cut; how many
# they are is told. Where a signal interrupted libc it is checked that the handler's stack leads to the
# very place.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"
# shellcheck source=tests/prof/unwind.bash
. "$(dirname "$0")/unwind.bash"

[ "$(uname -m)" = x86_64 ] || skip_all "compared on x86-64 only"
wrapped=-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
plain=(-O2 -fno-builtin -fomit-frame-pointer)

# objects FOLDER COMPILER FLAG...: the comparison, compiled
objects()
{
    local folder=$work/$1 compiler=$2
    shift 2
    mkdir "$folder"
    # shellcheck disable=SC2086
    (cd "$folder" && $compiler -std=gnu11 -O2 -g -fPIE -DSTATIC "$@" -I"$top_srcdir/src" -I"$top_builddir" \
        -c "${comparison[@]}") >"$work/log" 2>&1
}

# linked NAME FOLDER COMPILER ARGUMENT... [-lLIBRARY...]: a program with the comparison in it. The compiler's unwinder
# comes before libunwind, which defines part of it over again.
linked()
{
    local name=$1 folder=$work/$2 compiler=$3
    shift 3
    local -a sources=()
    while [ $# -gt 0 ] && [[ $1 != -l* ]]; do
        sources+=("$1")
        shift
    done
    $compiler "$wrapped" "${sources[@]}" "$folder"/*.o "$@" -o "$work/$name" >>"$work/log" 2>&1
}

# compared NAME ARGUMENT...: runs the program of that name
compared()
{
    local name=$1
    shift
    timeout "$(times 30 900)" env UNWINDCMP_FILE="$totals/$name" UNWINDCMP_EVERY=1 \
        UNWINDCMP_MAX="$(times 5000 100000)" "$work/$name" "$@"
}

# checked NAME LEAST ARGUMENT...
checked()
{
    local name=$1 least=$2
    shift 2
    compared "$name" "$@"
    frames "$name" "$least"
}

# The GNU C library's programs have their table without a header that leads to it.
# For each stack libunwind looks the table up in the file: the short runs are short.
static_programs()
{
    local compiler name
    local -a unwinder=(-lstdc++ -lgcc_eh -lunwind -llzma -lm)
    sentence="stacks are libunwind's"
    if ! objects gnu "$cc" ||
        ! linked static-throwing gnu "$cxx" -static -O2 "$work/throwing.cc" "${unwinder[@]}"; then
        skip "$sentence: static programs" "libunwind or the C++ library cannot be linked statically"
        return
    fi
    checked static-throwing 5000 "$(times 200 5000)"
    for compiler in "$cc" clang; do
        program "$compiler" || continue
        name=static-$(basename "${compiler%% *}")
        linked "$name" gnu "$compiler" -static "${plain[@]}" "$work/falling.c" "${unwinder[@]}" &&
            checked "$name" 5000 20000
        name=$name-interrupted
        linked "$name" gnu "$compiler" -static "${plain[@]}" "$work/interrupted.c" "${unwinder[@]}" || continue
        compared "$name" "$(times 300 50000)"
        compared "$name" "$(times 300 50000)" other
        frames "$name" "$(times 590 4900)"
    done
}

static_pie_programs()
{
    sentence="stacks are those of the compiler's unwinder"
    if ! objects pie "$cc" -DJUDGE_LIBGCC ||
        ! linked static-pie-falling pie "$cc" -static-pie "${plain[@]}" "$work/falling.c" -lgcc_eh ||
        ! linked static-pie-throwing pie "$cxx" -static-pie -O2 "$work/throwing.cc"; then
        skip "$sentence: static-pie programs" "they cannot be linked"
        return
    fi
    checked static-pie-falling 5000 20000
    checked static-pie-throwing 5000 "$(times 200 5000)"
}

# The kernel calls the handler from anywhere in libc, whose return from signals has no table either.
write_signalled()
{
    cat >"$work/signalled.c" <<'END'
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>
#include "prof/unwind.h"
static volatile int ticks, wrong;
static char text[5000], copy[5000], stack[1 << 16];
static int less(const void *a, const void *b) { return strcmp(a, b); }
static void arm(void)
{
    struct itimerval once = {{0, 0}, {0, 50 + ticks % 200}};
    setitimer(ITIMER_REAL, &once, NULL);
}
static void handler(int number, siginfo_t *info, void *context)
{
    uintptr_t frames[128], pc = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    enum stack_end end;
    size_t count = unwind_walk(frames, 128, &end), i = 0;
    while (i < count && frames[i] != pc + 1) i++;
    wrong += i == count || i > 3;
    ticks++;
    arm();
}
int main(int count, char **arguments)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_RESTART | SA_SIGINFO};
    stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
    unwind_init();
    if (count > 2) {
        sigaltstack(&other, NULL);
        action.sa_flags |= SA_ONSTACK;
    }
    sigaction(SIGALRM, &action, NULL);
    arm();
    while (ticks < atoi(arguments[1])) {
        for (int i = 0; i < 4999; i++) text[i] = (char)(1 + (i * 7919 + ticks) % 100);
        memcpy(copy, text, sizeof(copy));
        qsort(copy, 25, 40, less);
        snprintf(copy, sizeof(copy), "%d %s", ticks, text);
    }
    printf("%d of %d handlers' stacks do not lead to what they interrupted\n", wrong, ticks);
    return wrong != 0;
}
END
}

musl_programs()
{
    local kind
    local -a headers=(-idirafter /usr/include
        -idirafter "/usr/include/$($cc -print-multiarch 2>/dev/null)")
    sentence="stacks are those that were called"
    if ! has musl-gcc; then
        skip "$sentence: musl" "there is no musl-gcc"
        return
    fi
    check "the comparison compiles for musl" objects musl musl-gcc -DJUDGE_TRUTH "${headers[@]}"
    for kind in static no-pie; do
        check "a program of musl links: -$kind" linked "musl-$kind" musl musl-gcc "-$kind" "${plain[@]}" \
            -finstrument-functions "$work/falling.c" || continue
        checked "musl-$kind" 5000 20000
        check "a program of musl links with signals: -$kind" signalled "$kind" || continue
        check "musl's signals are seen through: -$kind" "$work/signalled-$kind" "$(times 2000 50000)"
        check "musl's signals are seen through on another stack: -$kind" "$work/signalled-$kind" "$(times 2000 50000)" other
    done
}

# signalled KIND: without the comparison, which wants the hooks of watched functions
signalled()
{
    local -a objects
    mapfile -t objects < <(ls "$work"/musl/*.o | grep -v unwindcmp)
    musl-gcc "-$1" "${plain[@]}" -I"$top_srcdir/src" "$work/signalled.c" "${objects[@]}" -o "$work/signalled-$1"
}

write_throwing
write_falling
write_interrupted
write_signalled
static_programs
static_pie_programs
musl_programs
finish
