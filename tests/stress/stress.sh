#!/bin/bash
# The stress program, briefly: contents intact, memory bounded, no deadlock, while dumps are asked
# for a thousand times a second and children are forked.
# shellcheck source=tests/stress/common.bash
. "$(dirname "$0")/common.bash"

program=${STRESS:-$top_builddir/tests/stress/stress}
seconds=${STRESS_SECONDS:-5}
threads=${STRESS_THREADS:-64}

# stress SENTENCE OPTION...
stress()
{
    local sentence=$1
    shift
    check "$sentence" $((seconds * 4 + 60)) "stress $*" "$program" "$@"
}

need "$program"
stress "$threads threads free each other's blocks and all is intact" -t "$threads" -s "$seconds"
stress "the same while SIGUSR2 comes a thousand times a second" \
    -t "$threads" -s "$seconds" -k 1000
export HPMALLOC_DUMP_EVERY=64k HPMALLOC_DUMP_KEEP=3 HPMALLOC_DUMP_ON_LIMIT=50% HPMALLOC_HEAP_LIMIT=2g
case ${HPM_COMPILE:-} in
*-fsanitize=thread*) # takes a child's keeper for an old thread
    stress "the same with a keeper, and SIGUSR2 a hundred times a second" -t 8 -s "$seconds" -k 100
    ;;
*)
    stress "the same with a keeper, SIGUSR2 and children a hundred times a second" \
        -t 8 -s "$seconds" -k 100 -f 100
    ;;
esac
unset HPMALLOC_DUMP_EVERY HPMALLOC_DUMP_KEEP HPMALLOC_DUMP_ON_LIMIT HPMALLOC_HEAP_LIMIT
stress "children forked from busy threads allocate and end" -t 8 -s "$seconds" -f 100
stress "the same while SIGUSR2 comes a hundred times a second" -t 8 -s "$seconds" -f 50 -k 100
finish
