#!/bin/bash
# Storms of children, briefly: STORM_SECONDS each. No deadlock, every block as it was, every process
# ends as it should.
set -u
top_builddir=$(cd "${top_builddir:-.}" && pwd)
storm=${STORM:-$top_builddir/tests/stress/storm}
seconds=${STORM_SECONDS:-3}
seed=${STORM_SEED:-$RANDOM}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
checks=0
failures=0
export HPMALLOC_QUIET=1 HPMALLOC_DUMP_PATH=$work/dump.%p.%n HPMALLOC_DUMP_KEEP=2 \
    HPMALLOC_SYMBOLIZE=off

# check SENTENCE END NAME=VALUE...
check()
{
    local sentence=$1 end=$2 said
    shift 2
    checks=$((checks + 1))
    if said=$(timeout $((seconds + 200)) env "$@" "$storm" -s "$seconds" -r "$seed" -e "$end" 2>&1) &&
        grep -q '^storm: [1-9]' <<<"$said"; then
        echo "ok $checks - $sentence"
    else
        echo "# ended with status $?; again: STORM_SEED=$seed $* storm -s $seconds -e $end"
        echo "not ok $checks - $sentence"
        failures=$((failures + 1))
    fi
    echo "$said" | tail -n 20 | sed 's/^/# /'
    rm -f "$work"/dump.*
}

[ -x "$storm" ] || {
    echo "1..0 # SKIP there is no $storm"
    exit 0
}
check "children of a program that samples, dumps and serves find all as it was" 0 \
    HPMALLOC_SAMPLE_INTERVAL=8k HPMALLOC_HTTP="unix:$work/socket"
check "the same with a keeper and a record" 1 HPMALLOC_SAMPLE_INTERVAL=8k \
    HPMALLOC_DUMP_EVERY=10ms HPMALLOC_RECORD="$work/record.%p" HPMALLOC_DUMP_AT_EXIT=1
check "the same with guarded samples" 2 HPMALLOC_SAMPLE_INTERVAL=8k HPMALLOC_GUARD=1 \
    HPMALLOC_HTTP="unix:$work/socket"
check "the same in the hardened heap" 0 HPMALLOC_SAMPLE_INTERVAL=8k HPMALLOC_HARDENED=1 \
    HPMALLOC_DUMP_ON_GROWTH=64k
echo "1..$checks"
exit $((failures > 0))
