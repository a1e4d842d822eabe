#!/bin/bash
# Who the dump signal belongs to, and what a dump leaves behind.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

# A folder of its own for each check.
folder=
fresh_folder()
{
    folder=$(mktemp -d "$work/folder.XXXXXX")
}

# launch [NAME=VALUE...] PROGRAM...: in the background under the library, in a fresh folder.
launch()
{
    fresh_folder
    (cd "$folder" && exec env LD_PRELOAD="$library" "$@" >"$folder.out" 2>"$folder.err") &
    child=$!
    children+=("$child")
    wait_until 5 grep -q libhpmalloc "/proc/$child/maps"
    sleep 0.3
}

# launch_server [NAME=VALUE...]: a program that waits in a system call, says `ready` before and
# `went on` after a line comes.
launch_server()
{
    fresh_folder
    rm -f "$work/input"
    mkfifo "$work/input"
    (cd "$folder" && exec env LD_PRELOAD="$library" "$@" bash -c \
        'exec {fd}<>"$0"; echo ready; read -r -u "$fd" line; echo "went on $line"' "$work/input" \
        >"$folder.out" 2>"$folder.err") &
    child=$!
    children+=("$child")
    wait_until 5 grep -q ready "$folder.out"
    sleep 0.1
}

goes_on()
{
    echo "with $1" >"$work/input"
    wait_until 5 grep -q "went on with $1" "$folder.out"
}

files_here()
{
    find "$folder" -type f -printf '%f\n' | sort
}

# mask_of FIELD COMMAND...: a line of /proc/self/status, as the command's child prints it
mask_of()
{
    local field=$1
    shift
    "$@" grep "^$field:" /proc/self/status
}

signals_are_as_without_us()
{
    local field
    for field in SigCgt SigIgn SigBlk; do
        is "$(mask_of $field ours 10 HPMALLOC_DUMP_SIGNAL=none)" "$(mask_of $field timeout 10 env)" ||
            return 1
    done
}

only_usr2_is_taken()
{
    local plain ours
    plain=$(mask_of SigCgt timeout 10 env)
    ours=$(mask_of SigCgt ours 10)
    is "$((0x${ours#*:?}))" "$((0x${plain#*:?} | 1 << 11))"
}

an_ignored_signal_stays_ignored()
{
    (
        trap '' USR2
        is "$(mask_of SigCgt ours 10)" "$(mask_of SigCgt timeout 10 env)" &&
            is "$(mask_of SigIgn ours 10)" "$(mask_of SigIgn timeout 10 env)"
    )
}

a_handler_set_later_is_kept()
{
    fresh_folder
    is "$(cd "$folder" && ours 10 bash -c 'trap "echo mine" USR2; kill -USR2 $$; echo end')" \
        "mine
end" && is "$(count_files "$folder")" 0
}

# A library whose constructor runs before ours: of preloaded ones the last begins.
build_early_handler()
{
    cat >"$work/early.c" <<'END'
#include <signal.h>
#include <unistd.h>
static void say(int number)
{
    (void)number;
    if (write(1, "mine\n", 5) != 5)
        _exit(1);
}
__attribute__((constructor)) static void begin(void)
{
    signal(SIGUSR2, say);
}
END
    "${CC:-cc}" -shared -fPIC -o "$work/early.so" "$work/early.c"
}

a_handler_set_before_is_kept()
{
    fresh_folder
    is "$(cd "$folder" && timeout 10 env LD_PRELOAD="$library $work/early.so" \
        perl -e 'kill "USR2", $$; print "end\n"')" "mine
end" && is "$(count_files "$folder")" 0
}

# Looks at the signal, sets a handler, and what was there before; tells what that was.
build_passing_handler()
{
    cat >"$work/passing.c" <<'END'
#include <signal.h>
#include <stdio.h>
static void ignore(int number)
{
    (void)number;
}
int main(int count, char **arguments)
{
    struct sigaction mine = {.sa_handler = ignore}, seen, before;
    (void)arguments;
    sigaction(SIGUSR2, NULL, &seen);
    sigaction(SIGUSR2, &mine, &before);
    raise(SIGUSR2);
    puts(seen.sa_handler == SIG_DFL && before.sa_handler == SIG_DFL ? "default" : "a handler");
    fflush(stdout);
    if (count > 1)
        before = (struct sigaction){.sa_handler = SIG_DFL};
    sigaction(SIGUSR2, &before, NULL);
    raise(SIGUSR2);
    return 0;
}
END
    "${CC:-cc}" -o "$work/passing" "$work/passing.c"
}

what_was_there_before_is_a_default_and_dumps_again()
{
    fresh_folder
    is "$(cd "$folder" && ours 10 "$work/passing" 2>/dev/null && echo lives)" "default
lives" && is "$(count_files "$folder")" 1
}

a_default_that_is_asked_for_is_one()
{
    fresh_folder
    is "$(cd "$folder" && ours 10 "$work/passing" default 2>/dev/null; kill -l $?)" "default
USR2" && is "$(count_files "$folder")" 0
}

# An interpreter that keeps a handler of its own for each signal knows none of ours.
python_sets_back_what_was_there()
{
    ours 20 python3 -c 'import signal
before = signal.signal(signal.SIGUSR2, lambda *_: None)
assert before is signal.SIG_DFL, before
signal.signal(signal.SIGUSR2, before)'
}

another_signal_dumps()
{
    launch_server HPMALLOC_DUMP_SIGNAL="$1"
    kill "-$2" "$child"
    wait_until 5 test -e "$folder/hpmalloc.bash.$child.1.pb.gz" && goes_on there
}

a_blocked_program_answers_and_goes_on()
{
    launch_server
    kill -USR2 "$child"
    wait_until 2 test -e "$folder/hpmalloc.bash.$child.1.pb.gz" &&
        is "$(files_here)" "hpmalloc.bash.$child.1.pb.gz" &&
        is "$(stat -c '%a %F' "$folder/hpmalloc.bash.$child.1.pb.gz")" "600 regular file" &&
        is "$(grep -c '^hpmalloc: .*(signal)' "$folder.err")" 1 && goes_on now
}

each_dump_has_a_number()
{
    launch_server
    local i
    for i in 1 2 3; do
        kill -USR2 "$child"
        wait_until 5 test -e "$folder/hpmalloc.bash.$child.$i.pb.gz" || return 1
        wait_until 5 test "$(wc -l <"$folder.err")" -ge "$i"
    done
    is "$(count_files "$folder")" 3 && goes_on now
}

a_storm_of_signals_leaves_whole_files()
{
    launch_server
    local i file
    for ((i = 0; i < 300; i++)); do
        kill -USR2 "$child"
    done
    goes_on now || return 1
    wait_until 5 test ! -e "/proc/$child"
    for file in "$folder"/*; do
        gzip -t "$file" || return 1
    done
    ! find "$folder" -name '.*' -type f | grep .
}

sleep_is_not_cut_short()
{
    launch sleep 1.5
    local begin=$SECONDS
    kill -USR2 "$child"
    wait "$child" && is "$(count_files "$folder")" 1 && [ $((SECONDS - begin)) -ge 1 ]
}

children_of_a_shell_are_left_alone()
{
    launch bash -c 'for i in 1 2 3 4 5 6 7 8; do /bin/sleep 0.2; done; /bin/true'
    kill -USR2 "$child"
    wait "$child" && is "$(files_here)" "hpmalloc.bash.$child.1.pb.gz"
}

a_forked_child_dumps_under_its_own_name()
{
    fresh_folder
    (cd "$folder" && ours 10 perl -e '
        my @kept = map { "x" x $_ } 1 .. 5000;
        my $pid = fork;
        if ($pid == 0) { kill "USR2", $$; sleep 1; exit 0 }
        kill "USR2", $$; sleep 2; waitpid $pid, 0; print $? >> 8') >"$work/fork.out" 2>"$work/fork.err"
    is "$(cat "$work/fork.out")" 0 && is "$(files_here | wc -l)" 2 &&
        is "$(files_here | sed 's/perl\.[0-9]*/perl/' | uniq -d)" hpmalloc.perl.1.pb.gz
}

# run_here [NAME=VALUE...] PROGRAM...: in a fresh folder, to its end; errors are kept.
run_here()
{
    fresh_folder
    (cd "$folder" && ours 20 "$@" >"$folder.out" 2>"$folder.err")
}

dump_at_exit()
{
    run_here HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_DUMP_PATH='out/%e.%r' perl -e 'mkdir "out"; print "end"' &&
        is "$(cat "$folder.out")" end && is "$(files_here)" perl.exit.pb.gz &&
        is "$(grep -c '^hpmalloc: .*(exit)' "$folder.err")" 1
}

text_format_is_for_reading()
{
    run_here HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_DUMP_FORMAT=text HPMALLOC_SAMPLE_INTERVAL=1k \
        perl -e 'our @kept = map { "x" x 1000 } 1 .. 3000' &&
        files_here | grep -qx 'hpmalloc\.perl\.[0-9]*\.1\.txt' &&
        head -n 1 "$folder"/*.txt | grep '^hpmalloc .* heap profile' &&
        grep 'live: asked for' "$folder"/*.txt && grep '^ *1\. .* samples' "$folder"/*.txt
}

several_formats_and_profiles()
{
    run_here HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_DUMP_FORMAT=pprof,text \
        HPMALLOC_DUMP_PROFILE=heap,allocs HPMALLOC_DUMP_PATH=x perl -e 1
    is "$(count_files "$folder")" 4 && ls -A "$folder"
}

a_quiet_dump_says_nothing()
{
    run_here HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_QUIET=1 perl -e 1
    is "$(cat "$folder.err")" "" && is "$(count_files "$folder")" 1
}

no_file_is_overwritten()
{
    fresh_folder
    echo precious >"$folder/taken.pb.gz"
    (cd "$folder" && ours 20 HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_DUMP_PATH=taken.pb.gz perl -e 1) 2>"$folder.err" &&
        is "$(cat "$folder/taken.pb.gz")" precious && is "$(count_files "$folder")" 1 &&
        is "$(grep -c '^hpmalloc: .*taken.pb.gz' "$folder.err")" 1
}

no_link_is_followed()
{
    fresh_folder
    ln -s "$folder/target" "$folder/link.pb.gz"
    (cd "$folder" && ours 20 HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_DUMP_PATH=link.pb.gz perl -e 1) 2>"$folder.err"
    [ -L "$folder/link.pb.gz" ] && [ ! -e "$folder/target" ]
}

a_file_ready_before_makes_the_next_number()
{
    fresh_folder
    touch "$folder/x.1.pb.gz" "$folder/x.2.pb.gz"
    (cd "$folder" && ours 20 HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_DUMP_PATH=x.%n perl -e 1) 2>"$folder.err"
    [ -s "$folder/x.3.pb.gz" ] && [ ! -s "$folder/x.1.pb.gz" ]
}

only_matching_programs_dump()
{
    run_here HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_PROGRAM='pe*' HPMALLOC_DUMP_PATH=%e.%p \
        bash -c 'perl -e 1; /bin/true; perl -e 1; true'
    is "$(files_here | sed 's/[0-9][0-9]*/N/' | uniq -c | tr -s ' ')" " 2 perl.N.pb.gz" &&
        is "$(wc -l <"$folder.err")" 2
}

a_program_that_does_not_match_keeps_its_signals()
{
    is "$(mask_of SigCgt ours 10 HPMALLOC_PROGRAM='x*')" "$(mask_of SigCgt timeout 10 env)"
}

profiling_can_be_off()
{
    run_here HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_SAMPLE_INTERVAL=0 HPMALLOC_DUMP_FORMAT=text perl -e 1 &&
        grep -q 'No samples' "$folder"/*.txt
}

check "HPMALLOC_DUMP_SIGNAL=none leaves every signal as it was" signals_are_as_without_us
check "by default SIGUSR2 is taken, and no other" only_usr2_is_taken
check "an inherited SIG_IGN is kept" an_ignored_signal_stays_ignored
check "a handler the program sets later is kept" a_handler_set_later_is_kept
if build_early_handler 2>/dev/null; then
    check "a handler set before ours is kept" a_handler_set_before_is_kept
else
    skip "a handler set before ours is kept" "there is no C compiler"
fi
if build_passing_handler 2>/dev/null; then
    check "before a handler of the program's there was a default, which dumps when it is set back" \
        what_was_there_before_is_a_default_and_dumps_again
    check "a default that the program asks for is one" a_default_that_is_asked_for_is_one
else
    skip "before a handler of the program's there was a default, which dumps when it is set back" \
        "there is no C compiler"
    skip "a default that the program asks for is one" "there is no C compiler"
fi
if has python3; then
    check "python sets back what was there before" python_sets_back_what_was_there
else
    skip "python sets back what was there before" "there is no python3"
fi
check "a signal may be named, with SIG before it" another_signal_dumps SIGPROF PROF
check "a real-time signal may be used" another_signal_dumps RTMIN+3 RTMIN+3
check "a signal may be a number" another_signal_dumps 10 10
check "a program blocked in a system call dumps and goes on" a_blocked_program_answers_and_goes_on
check "each dump has a number" each_dump_has_a_number
check "a storm of signals leaves whole files only" a_storm_of_signals_leaves_whole_files
check "sleep is not cut short by a dump" sleep_is_not_cut_short
check "children of a signalled shell are left alone" children_of_a_shell_are_left_alone
check "a forked child dumps under its own pid, from number 1" a_forked_child_dumps_under_its_own_name
check "a dump at exit has the reason in its name" dump_at_exit
check "the text format is for reading" text_format_is_for_reading
check "several formats and profiles make a file each" several_formats_and_profiles
check "HPMALLOC_QUIET=1 silences the line, not the dump" a_quiet_dump_says_nothing
check "no file is overwritten, and one line says so" no_file_is_overwritten
check "no symbolic link is followed" no_link_is_followed
check "%n goes on to the first free number" a_file_ready_before_makes_the_next_number
check "HPMALLOC_PROGRAM picks the programs that dump" only_matching_programs_dump
check "a program that does not match keeps its signals" a_program_that_does_not_match_keeps_its_signals
check "an interval of 0 takes no samples" profiling_can_be_off
finish
