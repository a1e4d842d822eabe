#!/bin/bash
# The bench's workloads do their work, notice when memory is wrong, and know their limits.
set -u
top_builddir=$(cd "${top_builddir:-.}" && pwd)
bench=$top_builddir/bench
library=$top_builddir/.libs/libhpmalloc.so
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
        echo "ok $checks - bench workloads: $sentence"
    else
        tail -20 "$work/log" | sed 's/^/# /'
        echo "not ok $checks - bench workloads: $sentence"
        failures=$((failures + 1))
    fi
}

# under LIBRARY ARGUMENT...: one run of bench/workloads.
under()
{
    local preload=$1
    shift
    LD_PRELOAD=$preload timeout 60 "$bench/workloads" "$@"
}

# all_under LIBRARY: every workload, a hundredth of its work.
all_under()
{
    local name
    while read -r name _; do
        under "$1" "$name" 0.01 || { echo "$name: status $?"; return 1; }
    done <"$work/list"
}

says()
{
    local wanted=$1
    shift
    "$@" >"$work/said"
    cat "$work/said"
    grep -Eq "$wanted" "$work/said"
}

fails()
{
    ! "$@"
}

# 64 MiB of objects, the last of 500 bytes each, and the array that holds them: the workload's own
# arithmetic.
array_bytes=$((64 * 1024 * 1024 / 32 * 8))
last_bytes=$((64 * 1024 * 1024 / 500 * 500 + array_bytes))
most_bytes=$((64 * 1024 * 1024 + array_bytes))

"$bench/workloads" --list >"$work/list" || exit 1
check "all run with libc" all_under ""
case ${HPM_COMPILE:-} in
*-fsanitize*) ;; # cannot be preloaded
*) check "all run with ours" all_under "$library" ;;
esac
check "all run with an allocator that never frees" all_under "$bench/bump_alloc.so"
check "all run with one that counts" all_under "$bench/live_alloc.so"
check "a block that two owners have is noticed" \
    fails under "$bench/null_alloc.so" mixed-hot 0.01
check "live bytes are what was asked for" \
    says "^live $last_bytes at_once [0-9]+ idle [0-9]+ after [0-9]+$" \
    under "$bench/live_alloc.so" --settle phase-swap 0.01
check "the most live bytes are those of the fullest phase" \
    says "^live $most_bytes$" under "$bench/live_alloc.so" --live phase-swap 0.01
check "live bytes that nobody counts are not made up" fails under "" --live phase-swap 0.01
check "a workload that never settles says so" fails under "" --settle one-size 0.01
echo "1..$checks"
[ "$failures" = 0 ]
