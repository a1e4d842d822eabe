#!/bin/bash
# Static programs: a C and a C++ one linked with libhpmalloc.a run all their tests, and dump.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"

archive=$top_builddir/.libs/libhpmalloc.a
cc=${CC:-cc}
cxx=${CXX:-c++}
[ -e "$archive" ] || skip_all "there is no $archive"

# build COMPILER SOURCE OUTPUT
build()
{
    local language=
    [ "${2##*.}" = cc ] && language="-std=c++17 -fsized-deallocation -faligned-new"
    # shellcheck disable=SC2086
    $1 $language -O2 -g -static -fno-builtin -Wno-error -I"$top_srcdir/include" -I"$top_srcdir/tests" \
        -I"$top_srcdir/tests/api" -o "$3" "$2" "$archive" -lpthread $HPM_LIBS
}
HPM_LIBS=${HPM_LIBS:-}

echo 'int main(void) { return 0; }' >"$work/nothing.c"
build "$cc" "$work/nothing.c" "$work/nothing" >/dev/null 2>&1 ||
    skip_all "this machine links no static programs"

# Some names live in the same object of a static C library as malloc: they must not come in.
passes()
{
    (cd "$work" && timeout 120 env HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_DUMP_PATH="$work/$1" \
        HPMALLOC_SAMPLE_INTERVAL=16k "$work/$1") >"$work/log" 2>&1 || {
        echo "status $?"
        grep -v '^ok' "$work/log"
        tail -n 1 "$work/log"
        return 1
    }
}

dumped()
{
    gzip -t "$work/$1.pb.gz"
}

# is_ours PROGRAM: its malloc is the library's.
is_ours()
{
    nm "$1" | grep -q ' pagemap_codes' && nm "$1" | grep -q ' T malloc$' &&
        ! nm "$1" | grep -q ' _int_malloc$'
}

# static NAME COMPILER SOURCE
static()
{
    check "a static program links: $1" build "$2" "$top_srcdir/tests/api/$3" "$work/$1"
    [ -x "$work/$1" ] || return
    check "its allocator is the library's alone: $1" is_ours "$work/$1"
    check "it passes its tests: $1" passes "$1"
    check "it leaves a profile: $1" dumped "$1"
}

static conformance "$cc" conformance.c
static lifecycle "$cc" lifecycle_test.c
if [ "$cxx" = no ]; then
    skip "a static program of C++" "there is no C++ compiler"
else
    static cxx "$cxx" cxx_test.cc
fi

# Static programs have no .eh_frame_hdr: the profiler finds its way through .eh_frame itself.
cat >"$work/chain.c" <<'END'
#include <stdlib.h>
static void *volatile kept[4000];
static __attribute__((noinline)) void innermost(int i) { kept[i] = malloc(1000); __asm__ volatile(""); }
static int less(const void *a, const void *b) { innermost(*(const int *)a); return *(const int *)a - *(const int *)b; }
static __attribute__((noinline)) void outermost(void)
{
    int numbers[60];
    for (int i = 0; i < 60; i++) numbers[i] = i * 7 % 60;
    qsort(numbers, 60, sizeof(int), less);
    __asm__ volatile("");
}
int main(void) { outermost(); return 0; }
END
stacks_reach_main()
{
    # shellcheck disable=SC2086
    $cc -O2 -fomit-frame-pointer -static -fno-builtin -o "$work/chain" "$work/chain.c" "$archive" \
        -lpthread $HPM_LIBS || return
    HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_DUMP_FORMAT=text HPMALLOC_DUMP_PATH="$work/chain" \
        HPMALLOC_SAMPLE_INTERVAL=4k "$work/chain"
    cat "$work/chain.txt"
    for name in innermost less outermost main; do
        grep -qw "$name" "$work/chain.txt" || return
    done
}
# musl's functions have no unwind tables.
has_glibc()
{
    # shellcheck disable=SC2086
    echo '#include <features.h>' | $cc -dM -E - | grep -qw __GLIBC__
}
if has_glibc; then
    check "a static program's stacks reach main" stacks_reach_main
else
    skip "a static program's stacks reach main" "this C library has no unwind tables"
fi

cat >"$work/new.cc" <<'END'
#include <new>
static volatile unsigned long impossible = 1ul << 60;
int main()
{
    try {
        ::operator delete(::operator new(impossible));
    } catch (const std::bad_alloc &) {
        return 0;
    }
    return 1;
}
END
throws()
{
    build "$cxx" "$work/new.cc" "$work/new" && timeout 20 "$work/new"
}
[ "$cxx" = no ] || check "a failing new throws in a static program that names nothing else of the C++ library" throws
finish
