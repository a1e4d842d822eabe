#!/bin/bash
# hpprof flame and report: pictures that are whole, hold every function with its sums, ask for
# nothing from elsewhere, and take names as text, whatever they are.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"

hpprof=$top_builddir/hpprof
[ -x "$hpprof" ] || skip_all "there is no $hpprof"
has python3 || skip_all "there is no python3"
judge="$top_srcdir/tests/tools/pictures.py"

draw()
{
    timeout 60 "$hpprof" flame -o "$2.svg" "$1" && timeout 60 "$hpprof" report -o "$2.html" "$1"
}

# pictures_hold FILE COLLAPSED BYTES: its stacks are as these say, but for so many bytes each.
pictures_hold()
{
    draw "$1" shown && python3 "$judge" holds "$2" shown.svg shown.html "$3" &&
        "$hpprof" top --json "$1" | python3 "$judge" total shown.html
}

focus_is_kept()
{
    "$hpprof" flame --focus 'one' -o focus.svg plain.folded &&
        "$hpprof" report --ignore 'two' -o focus.html plain.folded &&
        printf 'one;two 5\none 7\n' >focus.folded && python3 "$judge" holds focus.folded focus.svg &&
        printf 'one 7\nthree 8\n' >ignore.folded && python3 "$judge" holds ignore.folded "" focus.html
}

# What the page adds up itself.
several_are_in_the_order_of_time()
{
    "$hpprof" report -o several.html late.pb.gz early.pb.gz &&
        python3 "$judge" order several.html early.pb.gz late.pb.gz
}

many_stacks_are_quick()
{
    python3 "$judge" many >many.folded && draw many.folded many &&
        python3 "$judge" holds many.folded "" many.html &&
        [ "$(stat -c %s many.svg)" -lt 12000000 ] && grep -q 'the narrowest, are left out' many.svg
}

says_what_is_wrong()
{
    "$hpprof" report -o nowhere/x.html plain.folded 2>err
    is $? 1 && is "$(wc -l <err)" 1 && grep -F 'nowhere/x.html: No such file' err || return 1
    "$hpprof" flame -o x.svg nothing.folded 2>err
    is $? 1 && [ ! -e x.svg ] || return 1
    "$hpprof" flame plain.folded plain.folded 2>err >out
    is $? 2 || return 1
    "$hpprof" flame plain.folded >/dev/full 2>err
    is $? 1 || return 1
    "$hpprof" report -o /dev/full plain.folded 2>err
    is $? 1 && [ -c /dev/full ] || return 1
    (trap '' XFSZ && ulimit -f 16 && "$hpprof" report -o cut.html many.folded 2>err)
    is $? 1 && [ ! -e cut.html ] && is "$(wc -l <err)" 1
}

nothing_is_a_picture_too()
{
    printf 'one;two 0\n' >zero.folded && draw zero.folded zero && python3 "$judge" holds zero.folded zero.svg zero.html
}

# browses FILE WIDTH [CLOCK]: in the browser, by way of what its page then holds.
browses()
{
    local clock=${3---virtual-time-budget=20000}
    timeout 100 "$browser" --headless --hide-scrollbars --no-sandbox --disable-gpu --disable-dev-shm-usage \
        --user-data-dir="$work/browser" ${clock:+"$clock"} --window-size="$2",1200 \
        --dump-dom "file://$work/$1" >dom.html 2>browser.err
}

title_of()
{
    sed -n 's/.*<title>\([^<]*\)<.*/\1/p' "$1" | head -n 1
}

# The page with a script that uses it as people do, and says in its title what came of it.
drives()
{
    python3 "$judge" drive "$1" "$1.driven.html" "$2" && browses "$1.driven.html" 1400 &&
        is "$(title_of dom.html)" "done"
}

# By the browser's own clock, not a virtual one. Other programs may take the processors meanwhile.
drives_in_time()
{
    python3 "$judge" drive many.html quick.html quick || return 1
    for _ in 1 2 3; do
        browses quick.html 1400 "" && is "$(title_of dom.html)" "done" && return
    done
    return 1
}

fits()
{
    python3 "$judge" frame "$1" framed.html "$2" && browses framed.html 1400 &&
        is "$(title_of dom.html)" "fits"
}

run_reports_what_a_program_held()
{
    local folder=$work/temporary
    mkdir "$folder"
    # shellcheck disable=SC2016
    TMPDIR=$folder timeout 60 "$hpprof" run --library "$library" --sample-interval 2k --quiet 1 \
        --dump-every off --report run.html -- \
        perl -e '@kept = map { "x" x 50 } 1 .. 30000; kill USR2 => $$ for 1 .. 7; exit 3'
    is $? 3 && is "$(count_files "$folder")" 0 && rmdir "$folder" && mkdir "$folder" &&
        grep -q Perl_ run.html && python3 "$judge" count run.html 8 || return 1
    TMPDIR=$folder timeout 60 "$hpprof" run --library "$library" --report no.html -- ./nowhere 2>err
    is $? 127 && is "$(wc -l <err)" 1 && [ ! -e no.html ] && rmdir "$folder"
}

# A leaking program, from nothing to the page that names the leak; a signal ends it, for servers do
# not end.
run_names_the_leak()
{
    "$hpprof" run --library "$library" --sample-interval 32k --dump-every 300ms \
        --report leak.html -- ./truths leak 100 500 2>err &
    local runner=$!
    sleep 5
    kill -TERM "$(cat "/proc/$runner/task/$runner/children")"
    wait "$runner"
    is $? 143 && python3 "$judge" leak leak.html leak_slowly &&
        is "$(cat err)" "hpprof: what the program held is in leak.html, a page for the browser"
}

long_runs_are_thinned_out()
{
    timeout 60 "$hpprof" run --library "$library" --dump-every 100ms --report thin.html -- sleep 5 &&
        python3 "$judge" count thin.html 12 28
}

the_end_is_left_out()
{
    timeout 60 "$hpprof" run --library "$library" --sample-interval 32k --dump-every 200ms --report end.html -- \
        perl -e 'for (1 .. 30) { push @kept, "x" x 100000; select undef, undef, undef, 0.1 } undef @kept' &&
        python3 "$judge" least end.html 1500000
}

try_to_name_suspects()
{
    rm -f series.*.pb.gz
    HPMALLOC_DUMP_LABELS=age HPMALLOC_DUMP_PATH=$work/series.%n HPMALLOC_SAMPLE_INTERVAL=4k \
        HPMALLOC_QUIET=1 ours 60 ./truths leak 8 300 && "$hpprof" report -o series.html series.*.pb.gz &&
        "$hpprof" report -o suspect.html series.8.pb.gz &&
        python3 "$judge" leak series.html leak_slowly && python3 "$judge" leak suspect.html leak_slowly
}

# Chance, or a machine that stands still for a moment, may hide a leak of two seconds.
one_names_suspects()
{
    try_to_name_suspects || try_to_name_suspects || try_to_name_suspects
}

nothing_to_judge_by()
{
    "$hpprof" report -o plain.html plain.folded && python3 "$judge" said plain.html null
}

cd "$work" || exit 1
python3 "$judge" hostile >hostile.folded
printf 'one;two 5\none 7\nthree 8\n' >plain.folded
check "names are text, whatever they hold" pictures_hold hostile.folded hostile.folded 0
check "--focus and --ignore choose stacks" focus_is_kept
check "a profile of nothing is a picture too" nothing_is_a_picture_too
check "20,000 stacks are in the report, and the widest in the flame graph" many_stacks_are_quick
check "what cannot be written or read is one line" says_what_is_wrong
for name in early late; do
    # `kept` has to survive until the end.
    # shellcheck disable=SC2016
    ours 60 HPMALLOC_SAMPLE_INTERVAL=2k HPMALLOC_SAMPLE_BUDGET=off HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_QUIET=1 \
        HPMALLOC_DUMP_FORMAT=pprof,collapsed HPMALLOC_DUMP_PATH="$work/$name" HPMALLOC_PROGRAM=perl \
        perl -e '@kept = map { "x" x 50 } 1 .. 30000' >out 2>&1
done
if [ -s late.pb.gz ]; then
    check "a program's stacks are in the pictures, and add up to the byte" \
        pictures_hold late.pb.gz late.folded 4
    check "run --report shows what a program held" run_reports_what_a_program_held
    check "run --report judges what a program held, not what it had freed at its end" the_end_is_left_out
    check "profiles stand in the order of their time" several_are_in_the_order_of_time
else
    skip "a program's stacks are in the pictures" "there is no perl, or it left no profile"
fi
check "one profile without ages gives no verdict" nothing_to_judge_by
check "a long run leaves no more snapshots than a short one" long_runs_are_thinned_out
# shellcheck disable=SC2086
if ${CC:-cc} -O1 -g -pthread -o truths "$top_srcdir/tests/tools/truths.c" -lm; then
    check "several profiles have verdicts, one has suspects by age" one_names_suspects
    check "run --report names the leak of a program that a signal ends" run_names_the_leak
else
    skip "several profiles have verdicts, one has suspects by age" "there is no C compiler"
fi
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
if [ -n "$browser" ]; then
    "$hpprof" report -o hostile.html hostile.folded
    check "the browser draws 20,000 stacks in time, searches, zooms and sorts" drives many.html many
    check "20,000 stacks are drawn in under two seconds" drives_in_time
    check "a page without verdicts says what to give" drives plain.html plain
    if [ -s series.html ]; then
        check "verdicts, account, ages and switches answer to clicks and keys" drives series.html leak
        check "suspects by age are shown" drives suspect.html suspect
        check "a page with verdicts stands in 400" fits series.html 400
        check "a page with verdicts stands in 1400" fits series.html 1400
    fi
    check "the browser runs no script of a name's" drives hostile.html hostile
    [ -s several.html ] &&
        check "the browser switches among types and profiles" drives several.html several
    check "nothing stands across the edge of a page 400 wide" fits hostile.html 400
    check "nothing stands across the edge of a page 1400 wide" fits hostile.html 1400
else
    skip "the report in a browser" "there is no chromium"
fi
finish
