#!/bin/bash
# malloc's and free's fast path: the same instructions with profiling as without, no call, and
# nothing of the profiler in sight. Compiles src/api/replace.c as the build does, both ways, and
# looks into the library.
set -u
top_srcdir=$(cd "${top_srcdir:-.}" && pwd)
top_builddir=$(cd "${top_builddir:-.}" && pwd)
library=$top_builddir/.libs/libhpmalloc.so
objdump=${OBJDUMP:-objdump}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
checks=0
failures=0

# check SENTENCE COMMAND...
check()
{
    local sentence=$1
    shift
    checks=$((checks + 1))
    if "$@" >"$work/log" 2>&1; then
        echo "ok $checks - fast path: $sentence"
    else
        sed 's/^/# /' "$work/log"
        echo "not ok $checks - fast path: $sentence"
        failures=$((failures + 1))
    fi
}

skip_all()
{
    echo "1..0 # SKIP $1"
    exit 0
}

command -v "$objdump" >/dev/null || skip_all "there is no $objdump"
[ -n "${HPM_COMPILE:-}" ] || skip_all "run by make check, which knows how sources are compiled"
case $HPM_COMPILE in
*-fsanitize*) skip_all "sanitizers change the code" ;;
*HPM_REPLACE*) ;;
*) skip_all "the library was built to leave malloc alone" ;;
esac

# compile OUTPUT FLAG...
compile()
{
    local output=$1
    shift
    # shellcheck disable=SC2086
    (cd "$top_builddir" && $HPM_COMPILE "$@" -fno-lto -fPIC -DPIC -ffunction-sections \
        -c -o "$output" "$top_srcdir/src/api/replace.c")
}

# code FILE FUNCTION: instructions and what they refer to, without addresses.
code()
{
    "$objdump" -dr --no-show-raw-insn --no-addresses "$1" |
        sed -n '/<'"$2"'>:/,/^$/p' | sed '1d;/^$/d'
}

is_not_empty()
{
    [ "$(code "$1" "$2" | wc -l)" -ge 8 ]
}

same_code()
{
    is_not_empty "$work/with.o" "$1" &&
        diff <(code "$work/with.o" "$1") <(code "$work/without.o" "$1")
}

calls_nothing()
{
    is_not_empty "$work/with.o" "$1" && ! code "$work/with.o" "$1" | grep -wE 'call|callq|bl|blr'
}

# refers_to FUNCTION PATTERN: all symbols it names match.
refers_to()
{
    is_not_empty "$work/with.o" "$1" &&
        ! code "$work/with.o" "$1" | sed -n 's/.*R_[A-Z0-9_]*[[:space:]]*\([^-+[:space:]]*\).*/\1/p' |
        grep -vE "^($2|\\.text.*|hpm_text)?\$"
}

knows_no_profiler()
{
    is_not_empty "$work/with.o" "$1" &&
        ! code "$work/with.o" "$1" | grep -E 'sampl|profile|stacktab|livetab|unwind|interval'
}

# opcodes FILE FUNCTION
opcodes()
{
    code "$1" "$2" | grep -v R_ | awk '{print $1}' | sed 's/jmpq/jmp/;s/retq/ret/'
}

same_in_library()
{
    diff <(opcodes "$work/with.o" "$1" | grep -vE 'nop|xchg|data16|cs') \
        <(opcodes "$library" "$1" | grep -vE 'nop|xchg|data16|cs')
}

compile "$work/with.o" -UHPM_NO_PROFILING && compile "$work/without.o" -DHPM_NO_PROFILING || {
    echo "not ok 1 - fast path: src/api/replace.c compiles"
    echo "1..1"
    exit 1
}
for function in malloc free; do
    check "$function is the same code with profiling compiled out" same_code "$function"
    check "$function calls nothing" calls_nothing "$function"
    check "$function knows nothing of the profiler" knows_no_profiler "$function"
    check "$function in the library is this code" same_in_library "$function"
done
check "malloc needs its thread's cache, the classes, and two slow exits only" refers_to malloc \
    'tcache_self|sizeclass_codes|malloc_slow|malloc_large'
check "free needs its thread's cache, the page map, and two slow exits only" refers_to free \
    'tcache_self|pagemap_codes|pagemap_page_mask|free_slow|free_marked'
echo "1..$checks"
exit $((failures > 0))
