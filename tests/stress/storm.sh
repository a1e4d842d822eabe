#!/bin/bash
# Storms of children, briefly: STORM_SECONDS each. No deadlock, every block as it was, every process
# ends as it should.
# shellcheck source=tests/stress/common.bash
. "$(dirname "$0")/common.bash"

storm=${STORM:-$top_builddir/tests/stress/storm}
seconds=${STORM_SECONDS:-3}
seed=${STORM_SEED:-$RANDOM}
export HPMALLOC_QUIET=1 HPMALLOC_DUMP_PATH=$work/dump.%p.%n HPMALLOC_DUMP_KEEP=2 \
    HPMALLOC_SYMBOLIZE=off

# rage SENTENCE END NAME=VALUE...
rage()
{
    local sentence=$1 end=$2
    shift 2
    check "$sentence" $((seconds + 200)) "$* storm -s $seconds -r $seed -e $end" \
        env "$@" "$storm" -s "$seconds" -r "$seed" -e "$end"
    rm -f "$work"/dump.*
}

need "$storm"
rage "children of a program that samples, dumps and serves find all as it was" 0 \
    HPMALLOC_SAMPLE_INTERVAL=8k HPMALLOC_HTTP="unix:$work/socket"
rage "the same with a keeper and a record" 1 HPMALLOC_SAMPLE_INTERVAL=8k \
    HPMALLOC_DUMP_EVERY=10ms HPMALLOC_RECORD="$work/record.%p" HPMALLOC_DUMP_AT_EXIT=1
rage "the same with guarded samples" 2 HPMALLOC_SAMPLE_INTERVAL=8k HPMALLOC_GUARD=1 \
    HPMALLOC_HTTP="unix:$work/socket"
rage "the same in the hardened heap" 0 HPMALLOC_SAMPLE_INTERVAL=8k HPMALLOC_HARDENED=1 \
    HPMALLOC_DUMP_ON_GROWTH=64k
finish
