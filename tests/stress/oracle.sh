#!/bin/bash
# The oracle: random calls of the allocator from eight threads, ORACLE_THOUSANDS of thousands of them,
# and a twentieth of that where every call is dear.
# shellcheck source=tests/stress/common.bash
. "$(dirname "$0")/common.bash"

oracle=${ORACLE:-$top_builddir/tests/stress/oracle}
thousands=${ORACLE_THOUSANDS:-2000}
seed=${ORACLE_SEED:-$RANDOM}
dear=$((thousands < 10000 ? 500 : thousands / 20))
export HPMALLOC_QUIET=1

# play SENTENCE THREADS THOUSANDS [NAME=VALUE...]
play()
{
    local sentence=$1 threads=$2 count=$3
    shift 3
    check "$sentence" $((count / 100 + 120)) "$* oracle -t $threads -n $count -r $seed" \
        env "$@" "$oracle" -t "$threads" -n "$count" -r "$seed"
}

need "$oracle"
play "8 threads: no call is answered wrongly" 8 "$thousands" HPMALLOC_QUIET=1
play "nor those of one thread" 1 "$dear" HPMALLOC_QUIET=1
play "nor where every 16 KiB are sampled" 8 "$dear" HPMALLOC_SAMPLE_INTERVAL=16k
play "nor where every KiB is" 8 "$dear" HPMALLOC_SAMPLE_INTERVAL=1k
play "nor with a record, and freed memory given back at once" 8 "$dear" \
    HPMALLOC_SAMPLE_INTERVAL=16k HPMALLOC_RECORD="$work/record" HPMALLOC_RELEASE=now
play "nor where each sample is guarded" 8 "$dear" HPMALLOC_SAMPLE_INTERVAL=16k HPMALLOC_GUARD=1
play "nor in the hardened heap" 8 "$dear" HPMALLOC_HARDENED=1
play "nor there with samples" 8 "$dear" HPMALLOC_HARDENED=1 HPMALLOC_SAMPLE_INTERVAL=4k
finish
