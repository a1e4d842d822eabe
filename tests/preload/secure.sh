#!/bin/bash
# A program with rights that whoever starts it lacks (set-user-ID, file capabilities) takes nothing
# from that one's environment, writes no file for it, and has no signal that makes it.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

[ "$(id -u)" = 0 ] || skip_all "only root can make such programs"
has setpriv || skip_all "there is no setpriv"
findmnt -no OPTIONS -T "$work" | grep -qw nosuid && skip_all "$work is mounted nosuid"

cp -L "$library" "$work/libhpmalloc.so.0"
if ! ${CC:-gcc} -I"$top_srcdir/include" -o "$work/plain" "$here/secure.c" "$work/libhpmalloc.so.0" \
    -Wl,-rpath,"$work" 2>"$work/errors"; then
    not_ok "the program is built" <"$work/errors"
    finish
fi
cp "$work/plain" "$work/raised"
chmod 4755 "$work/raised"
mkdir "$work/there"
chmod 1777 "$work/there"
signal=$(kill -l USR2)

# Each of them shows: in a file, on stderr, in what the program sees.
settings=(HPMALLOC_SAMPLE_INTERVAL=1k HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_DUMP_EVERY=1m
    HPMALLOC_DUMP_ON_GROWTH=1m HPMALLOC_DUMP_PATH="$work/there/%e.%p.%n.%r"
    HPMALLOC_DUMP_FORMAT=pprof,text HPMALLOC_DUMP_SIGNAL=USR2 HPMALLOC_STATS=text
    HPMALLOC_RECORD="$work/there/record" HPMALLOC_HTTP="unix:$work/there/socket"
    HPMALLOC_SYMBOLIZE=neither)

# as_nobody PROGRAM NAME=VALUE... [-- ARGUMENT]: in a folder it may write to.
as_nobody()
{
    local program=$1 variables=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        variables+=("$1")
        shift
    done
    shift
    rm -rf "$work/there/"*
    (cd "$work/there" && exec env "${variables[@]}" \
        setpriv --reuid=65534 --regid=65534 --clear-groups "$program" "$@") \
        >"$work/out" 2>"$work/err"
}

shows_everything()
{
    as_nobody "$work/plain" "${settings[@]}"
    cat "$work/out" "$work/err"
    grep -qx 'secure 0, interval 1024, memory' "$work/out" &&
        grep -q 'HPMALLOC_SYMBOLIZE=neither' "$work/err" && grep -q 'slabs' "$work/err" &&
        test -e "$work/there/record" && ls "$work/there" | grep -q 'exit.pb.gz' &&
        ls "$work/there" | grep -q 'growth\|every'
}

takes_nothing()
{
    as_nobody "$1" "${settings[@]}"
    is "$?" 0 && is "$(cat "$work/out" "$work/err")" "secure 1, interval 524288, memory
goes on" && is "$(ls -A "$work/there")" ""
}

each_alone_takes_nothing()
{
    local name
    for name in $("$top_builddir/hpprof" options | grep -o '^HPMALLOC_[A-Z_]*'); do
        names=$((names + 1))
        as_nobody "$1" "$name=no value at all"
        is "$(cat "$work/err")" "" && is "$(ls -A "$work/there")" "" || return
    done
    for name in HPMALLOC_HARDENED=1 HPMALLOC_GUARD=1 HPMALLOC_HEAP_LIMIT=1m; do
        as_nobody "$1" "$name"
        is "$?" 0 && is "$(cat "$work/out" "$work/err")" "secure 1, interval 524288, memory
goes on" || return
    done
    [ "$names" -ge 20 ]
}

dies_of_its_signal()
{
    as_nobody "$1" "${settings[@]}" -- "$signal"
    is "$?" $((128 + signal)) && is "$(ls -A "$work/there")" "" && is "$(cat "$work/err")" ""
}

names=0
check "without raised rights the same environment shows in files, lines and figures" shows_everything
check "a set-user-ID program takes nothing of its environment" takes_nothing "$work/raised"
check "nor any option by itself, right or wrong" each_alone_takes_nothing "$work/raised"
check "the dump signal is not taken: it ends the program as ever" dies_of_its_signal "$work/raised"
cp "$work/plain" "$work/capable"
if has setcap && setcap cap_net_raw+ep "$work/capable" 2>/dev/null; then
    check "a program with file capabilities takes nothing either" takes_nothing "$work/capable"
    check "and does not take the dump signal" dies_of_its_signal "$work/capable"
else
    skip "a program with file capabilities takes nothing either" "no setcap, or not on this file system"
fi
finish
