#!/bin/bash
# The oracle: random calls of the allocator from eight threads, ORACLE_THOUSANDS of thousands of them,
# and a twentieth of that where every call is dear.
set -u
top_builddir=$(cd "${top_builddir:-.}" && pwd)
oracle=${ORACLE:-$top_builddir/tests/stress/oracle}
thousands=${ORACLE_THOUSANDS:-2000}
seed=${ORACLE_SEED:-$RANDOM}
dear=$((thousands < 10000 ? 500 : thousands / 20))
checks=0
failures=0
export HPMALLOC_QUIET=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# check SENTENCE THREADS THOUSANDS [NAME=VALUE...]
check()
{
    local sentence=$1 threads=$2 count=$3 said
    shift 3
    checks=$((checks + 1))
    if said=$(timeout $((count / 100 + 120)) env "$@" "$oracle" -t "$threads" -n "$count" \
        -r "$seed" 2>&1); then
        echo "ok $checks - $sentence"
    else
        echo "# ended with status $?; again: ORACLE_SEED=$seed $* oracle -t $threads -n $count"
        echo "not ok $checks - $sentence"
        failures=$((failures + 1))
    fi
    echo "$said" | tail -n 20 | sed 's/^/# /'
}

[ -x "$oracle" ] || {
    echo "1..0 # SKIP there is no $oracle"
    exit 0
}
check "8 threads: no call is answered wrongly" 8 "$thousands" HPMALLOC_QUIET=1
check "nor those of one thread" 1 "$dear" HPMALLOC_QUIET=1
check "nor where every 16 KiB are sampled" 8 "$dear" HPMALLOC_SAMPLE_INTERVAL=16k
check "nor where every KiB is" 8 "$dear" HPMALLOC_SAMPLE_INTERVAL=1k
check "nor with a record, and freed memory given back at once" 8 "$dear" \
    HPMALLOC_SAMPLE_INTERVAL=16k HPMALLOC_RECORD="$work/record" HPMALLOC_RELEASE=now
check "nor where each sample is guarded" 8 "$dear" HPMALLOC_SAMPLE_INTERVAL=16k HPMALLOC_GUARD=1
check "nor in the hardened heap" 8 "$dear" HPMALLOC_HARDENED=1
check "nor there with samples" 8 "$dear" HPMALLOC_HARDENED=1 HPMALLOC_SAMPLE_INTERVAL=4k
echo "1..$checks"
exit $((failures > 0))
