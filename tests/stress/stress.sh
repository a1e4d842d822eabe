#!/bin/bash
# The stress program, briefly: contents intact, memory bounded, no deadlock, while dumps are asked
# for a thousand times a second and children are forked.
set -u
top_builddir=$(cd "${top_builddir:-.}" && pwd)
stress=${STRESS:-$top_builddir/tests/stress/stress}
seconds=${STRESS_SECONDS:-5}
threads=${STRESS_THREADS:-64}
checks=0
failures=0

# check SENTENCE OPTION...
check()
{
    local sentence=$1 said
    shift
    checks=$((checks + 1))
    if said=$(timeout $((seconds * 4 + 60)) "$stress" "$@" 2>&1); then
        echo "ok $checks - $sentence"
    else
        echo "# ended with status $?"
        echo "not ok $checks - $sentence"
        failures=$((failures + 1))
    fi
    echo "$said" | tail -n 40 | sed 's/^/# /'
}

[ -x "$stress" ] || {
    echo "1..0 # SKIP there is no $stress"
    exit 0
}
check "$threads threads free each other's blocks and all is intact" -t "$threads" -s "$seconds"
check "the same while SIGUSR2 comes a thousand times a second" \
    -t "$threads" -s "$seconds" -k 1000
HPMALLOC_DUMP_EVERY=64k HPMALLOC_DUMP_KEEP=3 HPMALLOC_DUMP_ON_LIMIT=50% HPMALLOC_HEAP_LIMIT=2g \
    check "the same with a keeper, SIGUSR2 and children a hundred times a second" \
    -t 8 -s "$seconds" -k 100 -f 100
check "children forked from busy threads allocate and end" -t 8 -s "$seconds" -f 100
check "the same while SIGUSR2 comes a hundred times a second" -t 8 -s "$seconds" -f 50 -k 100
echo "1..$checks"
exit $((failures > 0))
