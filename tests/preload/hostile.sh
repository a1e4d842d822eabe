#!/bin/bash
# Programs start and run under the library where little is as usual, and with options that are
# wrong.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

library_copy=$work/copy/libhpmalloc.so
mkdir "$work/copy"
cp -L "$library" "$library_copy"
chmod 755 "$work/copy" "$library_copy"

script='my %h; $h{$_ % 977} .= "text $_ " x 3 for 1 .. 40000; my $n = 0; $n += length for values %h; print "$n\n"'
answer=$(perl -e "$script" 2>/dev/null)

# works COMMAND...: the script, run through the words before it, gives its answer and nothing else.
works()
{
    is "$("$@" perl -e "$script" 2>&1)" "$answer"
}

works_with_little_address_space()
{
    (
        ulimit -v 131072
        works ours 20 && works ours 20 HPMALLOC_SAMPLE_INTERVAL=1k &&
            is "$(seq 20000 | ours 20 sort -rn -S 1M | head -n 1)" 20000
    )
}

a_failing_malloc_is_told()
{
    (
        ulimit -v 131072
        ours 20 perl -e 'my $x = "x" x (1 << 30)' 2>&1
        is $? 1
    ) | grep -i 'out of memory'
}

works_in_an_empty_environment()
{
    is "$(timeout 20 env -i LD_PRELOAD="$library" "$(command -v perl)" -e "$script" 2>&1)" "$answer"
}

# Nothing may end up in files that take the closed descriptors' numbers.
works_with_closed_descriptors()
{
    cd "$work" || return 1
    rm -f closed.*
    timeout 20 env LD_PRELOAD="$library" HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_DUMP_PATH=closed.dump \
        HPMALLOC_SAMPLE_INTERVAL=bad perl -e 'my @files;
        for my $name ("a" .. "d") { open my $file, ">", "closed.$name"; push @files, $file }
        print {$_} "mine\n" for @files; select $files[3];'"$script" <&- >&- 2>&-
    is $? 0 && is "$(cat closed.a closed.b closed.c closed.d)" "mine
mine
mine
mine
$answer" && gzip -t closed.dump.pb.gz
}

# without_proc COMMAND...: in a mount namespace whose /proc is an empty folder.
without_proc()
{
    # shellcheck disable=SC2016 # for the inner shell
    unshare -m bash -c 'mount --bind "$0" /proc && exec "$@"' "$work/empty" "$@"
}

works_without_proc()
{
    rm -f "$work"/noproc*
    is "$(without_proc ls /proc)" "" &&
        works without_proc timeout 20 env LD_PRELOAD="$library" &&
        without_proc timeout 20 env LD_PRELOAD="$library" HPMALLOC_DUMP_AT_EXIT=1 \
            HPMALLOC_DUMP_FORMAT=pprof,text HPMALLOC_SAMPLE_INTERVAL=1k \
            HPMALLOC_DUMP_PATH="$work/noproc" perl -e 'our @kept = map { "x" x 1000 } 1 .. 3000' &&
        gzip -t "$work/noproc.pb.gz" && grep '^ *1\. ' "$work/noproc.txt"
}

# as_nobody COMMAND...
as_nobody()
{
    setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

works_as_nobody_in_a_folder_to_read_only()
{
    mkdir -p "$work/sealed"
    chmod 555 "$work/sealed"
    cd "$work/sealed" || return 1
    works as_nobody timeout 20 env LD_PRELOAD="$library_copy" || return 1
    as_nobody timeout 20 env LD_PRELOAD="$library_copy" perl -e \
        'kill "USR2", $$; print "goes on\n"' >"$work/nobody.out" 2>"$work/nobody.err"
    is $? 0 && is "$(cat "$work/nobody.out")" "goes on" &&
        is "$(grep -c '^hpmalloc: ' "$work/nobody.err")" 1 && is "$(wc -l <"$work/nobody.err")" 1 &&
        is "$(ls -A)" ""
}

works_with_another_before()
{
    works timeout 20 env LD_PRELOAD="$1" &&
        is "$(seq 20000 | timeout 20 env LD_PRELOAD="$1" sort -rn --parallel=2 | head -n 1)" 20000
}

dumps_once_with_another_before()
{
    rm -rf "$work/twice"
    mkdir "$work/twice"
    (cd "$work/twice" && timeout 20 env LD_PRELOAD="$1" perl -e 'kill "USR2", $$; print "end"') &&
        is "$(count_files "$work/twice")" 1
}

works_with_small_limits()
{
    (
        ulimit -n 16
        ulimit -s 256
        works ours 20
    )
}

works_where_memory_is_locked()
{
    (
        ulimit -l 64
        works ours 20
    )
}

# Words that no option takes, a value too long for those that take any text.
bad_value()
{
    case $1 in
    DUMP_PATH | PROGRAM | RECORD | HTTP | HTTP_TOKEN_FILE) printf '%05000d' 1 ;;
    *) echo "12 parsecs" ;;
    esac
}

a_bad_value_costs_one_line()
{
    local name=$1 value
    value=$(bad_value "$name")
    ours 20 "HPMALLOC_$name=$value" perl -e "$script" >"$work/bad.out" 2>"$work/bad.err"
    is $? 0 && is "$(cat "$work/bad.out")" "$answer" &&
        is "$(wc -l <"$work/bad.err")" 1 &&
        grep -F "HPMALLOC_$name=${value:0:20}" "$work/bad.err"
}

all_bad_values_at_once_stop_nothing()
{
    local -a settings=()
    local name
    for name in "${options[@]}"; do
        settings+=("HPMALLOC_$name=$(bad_value "$name")")
    done
    ours 20 "${settings[@]}" perl -e "$script" >"$work/bad.out" 2>"$work/bad.err"
    is $? 0 && is "$(cat "$work/bad.out")" "$answer" && is "$(wc -l <"$work/bad.err")" "${#options[@]}"
}

more_bad_values()
{
    local setting
    for setting in SAMPLE_INTERVAL=-1 SAMPLE_INTERVAL=99999999999999999999 SAMPLE_INTERVAL=1x \
        SAMPLE_INTERVAL=2t DUMP_SIGNAL=KILL DUMP_SIGNAL=9 DUMP_SIGNAL=1000 DUMP_SIGNAL=RTMIN+99 \
        DUMP_FORMAT=pprof, DUMP_FORMAT=,text DUMP_PROFILE=heap,heap2 DUMP_AT_EXIT=2 \
        DUMP_AT_EXIT=yes RELEASE=10 RELEASE=25h SYMBOLIZE=maybe; do
        ours 20 "HPMALLOC_$setting" perl -e 'print "end"' >"$work/bad.out" 2>"$work/bad.err"
        is "$? $(cat "$work/bad.out")" "0 end" && is "$(wc -l <"$work/bad.err")" 1 &&
            grep -qF "HPMALLOC_$setting" "$work/bad.err" || {
            echo "with $setting"
            return 1
        }
    done
}

an_empty_value_is_no_value()
{
    ours 20 HPMALLOC_SAMPLE_INTERVAL= HPMALLOC_DUMP_SIGNAL= HPMALLOC_DUMP_FORMAT= \
        perl -e "$script" >"$work/bad.out" 2>"$work/bad.err"
    is "$(cat "$work/bad.out" "$work/bad.err")" "$answer"
}

has perl || skip_all "there is no perl"
mkdir "$work/empty"

check "programs run with 128 MiB of address space" works_with_little_address_space
check "a program that asks for too much is told so" a_failing_malloc_is_told
check "programs run in an empty environment" works_in_an_empty_environment
check "programs run, and dump, with closed standard descriptors" works_with_closed_descriptors
if without_proc true 2>/dev/null; then
    check "programs run, and dump, without /proc" works_without_proc
else
    skip "programs run, and dump, without /proc" "no right to make a mount namespace"
fi
if as_nobody true 2>/dev/null && as_nobody test -r "$library_copy"; then
    check "programs run as nobody in a folder they may not write to, and a dump costs one line" \
        works_as_nobody_in_a_folder_to_read_only
else
    skip "programs run as nobody in a folder they may not write to" "no right to become nobody"
fi
check "the library may be preloaded twice by one path" works_with_another_before "$library $library"
check "two copies of the library may be preloaded" works_with_another_before "$library $library_copy"
check "with two copies a signal makes one dump" dumps_once_with_another_before "$library $library_copy"
check "programs run with few descriptors and a small stack" works_with_small_limits
check "programs run where little memory may be locked" works_where_memory_is_locked

mapfile -t options < <(sed -n 's/.*{\.name = "\([A-Z_]*\)".*/\1/p' "$top_srcdir/src/base/options.c")
for name in "${options[@]}"; do
    check "a bad HPMALLOC_$name costs one line" a_bad_value_costs_one_line "$name"
done
check "all options are read from the table" test "${#options[@]}" -ge 10
check "bad values of all options at once stop nothing" all_bad_values_at_once_stop_nothing
check "values near the edge of what is accepted stop nothing" more_bad_values
check "an empty value is no value" an_empty_value_is_no_value
finish
