#!/bin/bash
# kill -9 at random moments of dumps: what has a final name is whole.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"

helper=$top_builddir/tests/api/kill_helper
rounds=${KILL_ROUNDS:-50}
has gzip || skip_all "there is no gzip"

# Each round a program dumps without a pause, by call and by its keeper, and is killed.
killed_at_random()
{
    local i
    mkdir "$work/dumps"
    for ((i = 0; i < rounds; i++)); do
        (cd "$work/dumps" && HPMALLOC_DUMP_EVERY=100ms HPMALLOC_QUIET=1 \
            timeout 20 "$helper" "$i") || return 1
    done
}

final_names_are_whole()
{
    local files=("$work"/dumps/*.pb.gz)
    echo "${#files[@]} profiles"
    [ "${#files[@]}" -gt "$((rounds / 2))" ] || return 1
    printf '%s\0' "${files[@]}" | xargs -0 -n 500 gzip -t
}

check "programs are killed at $rounds random moments of their dumps" killed_at_random
check "every file with a final name is whole" final_names_are_whole
finish
