#!/bin/bash
# Dumps by signal: who gets the signal, what is written, and what is left alone.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"

helper=$top_builddir/tests/api/signal_helper
dumps=$work/dumps

# run NAME=VALUE... -- ARGUMENT...: the helper in an empty folder; $status, $work/output, $dumps.
run()
{
    local variables=()
    while [ "$1" != -- ]; do
        variables+=("$1")
        shift
    done
    shift
    rm -rf "$dumps"
    mkdir "$dumps"
    (cd "$dumps" && exec timeout 30 env "${variables[@]}" "$helper" "$@") \
        >"$work/output" 2>"$work/errors"
    status=$?
}

says()
{
    grep -qxF "$1" "$work/output" || {
        cat "$work/output" "$work/errors"
        return 1
    }
}

left_files()
{
    is "$(count_files "$dumps")" "$1" && is "$(grep -c '^hpmalloc: ' "$work/errors")" "$1"
}

dumps_and_goes_on()
{
    is "$status" 0 && says "own handler called 0 times" && left_files 1 && gzip -t "$dumps"/*.pb.gz
}

keeps_own_handler()
{
    is "$status" 0 && says "own handler called 1 times" && left_files 0
}

run -- ""
check "SIGUSR2 dumps and the program goes on" dumps_and_goes_on
run -- handler-before
sentence="a handler set before the library starts is kept"
if [ "$status" = 77 ]; then
    skip "$sentence" "this C library calls nothing before constructors"
else
    check "$sentence" keeps_own_handler
fi
run -- handler-after
check "a handler set after the library started is kept" keeps_own_handler

stays_ignored()
{
    is "$status" 0 && left_files 0
}
trap '' USR2
run -- ""
trap - USR2
check "a signal that is ignored stays ignored" stays_ignored

is_killed_as_without_the_library()
{
    is "$status" $((128 + $(kill -l USR2))) && left_files 0
}
run HPMALLOC_DUMP_SIGNAL=none -- ""
check "with none the signal is left as it was" is_killed_as_without_the_library
run HPMALLOC_DUMP_SIGNAL=RTMIN+3 -- ""
check "another signal than SIGUSR2 leaves SIGUSR2 as it was" is_killed_as_without_the_library
run HPMALLOC_DUMP_SIGNAL=RTMIN+3 -- "" 3
check "a real-time signal dumps" dumps_and_goes_on

is_whole_after_a_storm()
{
    is "$status" 0 && gzip -t "$dumps"/*.pb.gz && is "$(find "$dumps" -name '*.pb.gz' | wc -l)" \
        "$(count_files "$dumps")"
}
run HPMALLOC_QUIET=1 -- storm
check "300 signals in a row leave whole files only" is_whole_after_a_storm

is_not_disturbed()
{
    is "$status" 0 && says "read answers 1" && left_files 1
}
run -- blocked
check "a process blocked in a system call dumps and is not disturbed" is_not_disturbed

child_writes_its_own_file()
{
    local child
    child=$(sed -n 's/^child \([0-9]*\) ended with 0$/\1/p' "$work/output")
    is "$status" 0 && left_files 1 && ls "$dumps" && test -e "$dumps"/*."$child".*
}
run -- fork
check "a child's dump carries the child's pid" child_writes_its_own_file
run -- small-stack
check "a dump fits a signal stack of 4 KiB (7 on arm64)" dumps_and_goes_on

run HPMALLOC_DUMP_AT_EXIT=1 -- exit
check "the end of the program dumps when that was asked for" dumps_and_goes_on

is_quiet_and_dumps()
{
    is "$status" 0 && is "$(cat "$work/errors")" "" && is "$(count_files "$dumps")" 1
}
run HPMALLOC_QUIET=1 -- ""
check "a quiet dump says nothing" is_quiet_and_dumps
finish
