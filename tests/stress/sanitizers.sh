#!/bin/bash
# The stress program, and the oracle, under ThreadSanitizer and UndefinedBehaviorSanitizer, with the hpm_ names: the
# library is built anew in folders of their own, outside the source tree and this build.
set -u
top_srcdir=$(cd "${top_srcdir:-.}" && pwd)
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
        echo "ok $checks - $sentence"
    else
        tail -n 60 "$work/log" | sed 's/^/# /'
        echo "not ok $checks - $sentence"
        failures=$((failures + 1))
    fi
}

# The source tree may itself be configured, which forbids others: then its files are copied.
sources()
{
    if [ -e "$top_srcdir/config.status" ]; then
        mkdir -p "$work/copy"
        (cd "$top_srcdir" && tar -cf - --exclude='*.o' --exclude='*.lo' --exclude=.libs \
            --exclude=.git --exclude=bench/cache .) | (cd "$work/copy" && tar -xf -)
        rm -f "$work/copy/config.status" "$work/copy/Makefile"
        echo "$work/copy"
    else
        echo "$top_srcdir"
    fi
}
from=$(sources)

# build SANITIZER
build()
{
    mkdir "$work/$1" && cd "$work/$1" && "$from/configure" --enable-sanitizer="$1" \
        --disable-static --quiet && make -j2 && make -j2 tests/stress/{stress,oracle}
}

# in_build SANITIZER PROGRAM OPTION...: any report of the sanitizer ends it with a failure.
in_build()
{
    local build=$1
    shift
    cd "$work/$build" || return
    TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
        UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 timeout 300 "$@"
}

stress()
{
    in_build "$1" tests/stress/stress "${@:2}"
}

oracle()
{
    in_build "$1" tests/stress/oracle "${@:2}"
}

run()
{
    local name=$1
    check "the library builds with the $name sanitizer" build "$name"
    [ -x "$work/$name/tests/stress/stress" ] || return
    check "$name: 12 threads free each other's blocks" stress "$name" -t 12 -s "${STRESS_SECONDS:-30}"
    check "$name: the same while SIGUSR2 comes a hundred times a second" \
        stress "$name" -t 8 -s "${STRESS_SECONDS:-30}" -k 100
    HPMALLOC_DUMP_EVERY=64k HPMALLOC_DUMP_ON_GROWTH=64k HPMALLOC_DUMP_KEEP=3 \
        HPMALLOC_DUMP_ON_LIMIT=1% HPMALLOC_HEAP_LIMIT=2g check "$name: the same with a keeper" \
        stress "$name" -t 8 -s "${STRESS_SECONDS:-30}" -k 100
    HPMALLOC_GUARD=1 HPMALLOC_SAMPLE_INTERVAL=16k check "$name: the same with guarded samples" \
        stress "$name" -t 8 -s "${STRESS_SECONDS:-30}" -k 20
    HPMALLOC_HARDENED=1 check "$name: the same in the hardened heap" \
        stress "$name" -t 8 -s "${STRESS_SECONDS:-30}" -k 20
    check "$name: 8 threads and the oracle" oracle "$name" -t 8 -n 2000
}

run thread
run undefined
echo "1..$checks"
exit $((failures > 0))
