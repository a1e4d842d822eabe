#!/bin/bash
# hpprof runs programs under the library and asks running ones for profiles.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

hpprof=$top_builddir/hpprof
[ -x "$hpprof" ] || skip_all "there is no $hpprof"

# fails_with STATUS TEXT ARGUMENTS...: one line on stderr that holds the text, nothing else
fails_with()
{
    local status=$1 text=$2
    shift 2
    timeout 30 "$hpprof" "$@" >"$work/out" 2>"$work/err"
    is $? "$status" && is "$(cat "$work/out")" "" && is "$(wc -l <"$work/err")" 1 &&
        grep -F -- "$text" "$work/err"
}

helps()
{
    timeout 5 "$hpprof" "$@" --help >"$work/out" && grep -q '^Example: ' "$work/out"
}

run_ours()
{
    timeout 20 "$hpprof" run --library "$library" "$@"
}

sets_the_environment()
{
    local found
    found=$(LD_PRELOAD=/nowhere/other.so HPMALLOC_QUIET=0 run_ours --sample-interval 64k \
        --dump-signal=RTMIN+1 --quiet 1 -- env 2>/dev/null | grep -E '^(HPMALLOC_|LD_PRELOAD)' | sort)
    is "$found" "HPMALLOC_DUMP_SIGNAL=RTMIN+1
HPMALLOC_QUIET=1
HPMALLOC_SAMPLE_INTERVAL=64k
LD_PRELOAD=$library:/nowhere/other.so"
}

finds_its_library()
{
    timeout 20 "$hpprof" run cat /proc/self/maps | grep -q "$top_builddir/.libs/libhpmalloc.so"
}

passes_arguments_and_status()
{
    is "$(run_ours -- sh -c 'echo "$0 $1"; exit 3' --help "a b"; echo $?)" "--help a b
3"
}

dumps_at_exit()
{
    run_ours --dump-at-exit 1 --dump-path "$work/at-exit" perl -e 1 2>"$work/err" &&
        gzip -t "$work/at-exit.pb.gz"
}

says_that_there_is_no_room()
{
    local words
    for words in --help --version options "top --help" "top $work/tiny.folded" "flame $work/tiny.folded" \
        "report $work/tiny.folded"; do
        # A list of words.
        # shellcheck disable=SC2086
        timeout 20 "$hpprof" $words >/dev/full 2>"$work/err"
        is "$words: $?" "$words: 1" && is "$(cat "$work/err")" "hpprof: the output could not be written" || return 1
    done
}

says_that_the_report_has_no_place()
{
    local place
    for place in /nowhere/at/all.html "$work" "$work/tiny.folded/x.html"; do
        fails_with 1 "$place: " run --library "$library" --report "$place" -- touch "$work/it-ran" &&
            [ ! -e "$work/it-ran" ] || return 1
    done
}

# start [OPTIONS]...: a program that waits, in a folder of its own
start()
{
    folder=$(mktemp -d "$work/folder.XXXXXX")
    chmod 777 "$folder"
    (cd "$folder" && exec "$hpprof" run --library "$library" "$@" -- sleep 60 2>"$folder.err") &
    child=$!
    children+=("$child")
    wait_until 5 grep -q '^SigCgt:.*[1-9a-f]' "/proc/$child/status" && sleep 0.2
}

# dumps_there FILE [OPTIONS]...: HERE and PID in the name are the program's
dumps_there()
{
    local expected=$1
    shift
    start "$@"
    expected=${expected//PID/$child}
    is "$(timeout 20 "$hpprof" dump "$child")" "${expected/HERE/$folder}" && kill -0 "$child"
}

two_dumps_have_two_names()
{
    start
    is "$("$hpprof" dump "$child")
$("$hpprof" dump "$child")" "$folder/hpmalloc.sleep.$child.1.pb.gz
$folder/hpmalloc.sleep.$child.2.pb.gz"
}

several_files_are_named()
{
    start --dump-format pprof,text --dump-profile heap,allocs --dump-path "$work/many.%p.pb.gz"
    is "$("$hpprof" dump "$child" | wc -l)" 4 && is "$(find "$work" -name "many.$child.*" | wc -l)" 4
}

in_a_namespace_of_its_own()
{
    folder=$(mktemp -d "$work/folder.XXXXXX")
    (cd "$folder" && exec unshare -pf --mount-proc --kill-child \
        "$hpprof" run --library "$library" -- sleep 60 2>"$folder.err") &
    children+=($!)
    wait_until 5 pgrep -P $! sleep || return 1
    child=$(pgrep -P $! sleep)
    sleep 0.3
    timeout 20 "$hpprof" dump "$child" | grep '/hpmalloc\.sleep\.1\.1\.pb\.gz$'
    local status=$?
    kill "$child"
    return $status
}

refuses_where_it_would_kill()
{
    start "$@"
    fails_with 1 "$child" dump "$child" && kill -0 "$child"
}

refuses_a_stranger()
{
    sleep 60 &
    children+=($!)
    fails_with 1 "does not run under hpmalloc" dump $! && kill -0 $!
}

says_when_no_file_came()
{
    start --dump-path /nowhere/at/all
    fails_with 1 "no file appeared" dump "$child" && kill -0 "$child"
}

section_of_the_manual()
{
    sed -n '/^\.\\" options: begin$/,/^\.\\" options: end$/p' "$1" | sed '1d;$d'
}

manual_lists_the_same_options()
{
    diff <("$hpprof" options --man) <(section_of_the_manual "$top_srcdir/man/hpmalloc.3")
}

manual_is_well_formed()
{
    is "$(man --warnings -l -Tutf8 "$1" 2>&1 >/dev/null)" ""
}

# completes EXPECTED WORDS...: the last word is being typed
completes()
{
    local expected=$1
    shift
    (PATH=$top_builddir:$PATH && . "$top_srcdir/tools/completion/hpprof" &&
        COMP_WORDS=(hpprof "$@") && COMP_CWORD=$# && _hpprof 2>/dev/null
        is "${COMPREPLY[*]}" "$expected")
}

options_are_json()
{
    "$hpprof" options --json | python3 -c '
import json, sys
rows = json.load(sys.stdin)
assert rows[0]["variable"] == "HPMALLOC_SAMPLE_INTERVAL" and rows[0]["default"] == "512k", rows'
}

check "every command has help with an example" helps
for command in run dump watch top tree peek list diff leaks convert merge symbolize doctor options; do
    check "$command has help with an example" helps "$command"
done
check "the version is the library's" grep -qx "hpprof [0-9.]*" <("$hpprof" --version)
check "no command is a misuse" fails_with 2 "no command"
check "an unknown command is a misuse" fails_with 2 "'nothing'" nothing
check "run without a program is a misuse" fails_with 2 "no program" run --quiet 1
check "run with an unknown option is a misuse" fails_with 2 "'--sample'" run --sample 1 true
check "run with a bad value is a misuse" fails_with 2 "takes 0 or 1" run --quiet 2 true
check "run with a missing value is a misuse" fails_with 2 "--quiet needs a value" run --quiet
check "run says when there is no such program" fails_with 1 "/no/such" run --library "$library" /no/such
check "run says when there is no such library" fails_with 1 "/no/lib.so" run --library /no/lib.so true
check "top without a file is a misuse" fails_with 2 "takes one file; see" top
check "so is top of two" fails_with 2 "takes one file, not 2; see" top one.pb.gz two.pb.gz
check "top with an unknown option is a misuse" fails_with 2 "'--colour'" top --colour x
check "top with a bad expression is a misuse" fails_with 2 "'(a'" top --focus "(a" x
check "top says when there is no such file" fails_with 1 "/no/such" top /no/such
echo 'main;load 7' >"$work/tiny.folded"
check "peek says when there is no such function, and nothing else" \
    fails_with 1 "is like 'nosuch'" peek "$work/tiny.folded" nosuch
check "a command says that its output could not be written" says_that_there_is_no_room
check "run says before it runs that the report has no place" says_that_the_report_has_no_place
check "convert without -o is a misuse" fails_with 2 "where to" convert x
check "convert to no format is a misuse" fails_with 2 "'x.png' is no format" convert x -o x.png
check "bash completes commands" completes "symbolize" sy
check "bash completes a command's options" completes "--focus" top --fo
touch "$work/a-token"
check "bash completes a file after --token-file" completes "$work/a-token" watch --token-file "$work/a-t"
check "bash completes the library's options" completes "--dump-every" run --dump-e
check "bash completes doctor's options" completes "--profile" doctor --pro
check "bash completes a process for doctor" completes "$$" doctor "$$"
check "bash completes a program for doctor" completes "truncate" doctor truncat
check "dump without a number is a misuse" fails_with 2 "'x1'" dump x1
check "dump of two is a misuse" fails_with 2 "one process id" dump 1 2
check "dump says when there is no such process" fails_with 1 "there is no process" dump 2147483646
check "dump refuses a process that is not ours" refuses_a_stranger
check "run sets the environment and puts the library first" sets_the_environment
check "run passes arguments and the exit status on" passes_arguments_and_status
check "run finds the library it was built with" finds_its_library
check "run --dump-at-exit leaves a file" dumps_at_exit
check "dump prints the name of the file" dumps_there HERE/hpmalloc.sleep.PID.1.pb.gz
check "dump follows HPMALLOC_DUMP_PATH and the format" \
    dumps_there "$work/x.PID.txt" --dump-path "$work/x.%p" --dump-format text
check "dump uses the process's own signal" \
    dumps_there HERE/hpmalloc.sleep.PID.1.pb.gz --dump-signal RTMIN+2
check "dump again prints the new name only" two_dumps_have_two_names
check "dump prints all files of a dump" several_files_are_named
if unshare -pf --mount-proc true 2>/dev/null && has pgrep; then
    check "dump finds the file of a process in a pid namespace" in_a_namespace_of_its_own
else
    skip "dump finds the file of a process in a pid namespace" "no right to make one"
fi
check "dump sends no signal to a program with HPMALLOC_DUMP_SIGNAL=none" \
    refuses_where_it_would_kill --dump-signal none --release never
check "dump sends no signal that would kill" refuses_where_it_would_kill --program 'x*'
check "dump says when no file came" says_when_no_file_came
check "the manual lists the options of the table" manual_lists_the_same_options
if has python3; then
    check "options --json is JSON" options_are_json
else
    skip "options --json is JSON" "there is no python3"
fi
for page in hpprof.1 hpmalloc.3; do
    if has man; then
        check "$page is well formed" manual_is_well_formed "$top_srcdir/man/$page"
    else
        skip "$page is well formed" "there is no man"
    fi
done
finish
