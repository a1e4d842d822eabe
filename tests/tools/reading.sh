#!/bin/bash
# hpprof shows profiles of real programs, in every format, as go tool pprof does: to the last digit.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"

hpprof=$top_builddir/hpprof
[ -x "$hpprof" ] || skip_all "there is no $hpprof"
export PPROF_TMPDIR=$work
CC=${CC:-cc}
expression='[Aa]lloc|dict|Perl'
ignored='sv_|[Dd]ict|Matcher'

# profile NAME PROGRAM ARGUMENTS...: work/NAME.pb.gz, .heap and .folded
profile()
{
    local name=$1
    shift
    ours 60 HPMALLOC_SAMPLE_INTERVAL=8k HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_QUIET=1 \
        HPMALLOC_DUMP_FORMAT=pprof,legacy,collapsed HPMALLOC_DUMP_PATH="$work/$name" \
        HPMALLOC_PROGRAM="${program:-*}" "$@" >"$work/$name.out" 2>&1
    [ -s "$work/$name.pb.gz" ]
}

table_of()
{
    sed -n '/flat%/,/^$/p' | sed '1d;/^$/d'
}

# same_as_pprof "PPROF'S ARGUMENTS" "OURS"
same_as_pprof()
{
    local theirs ours
    # The words are split on purpose; none holds a blank or a wildcard.
    # shellcheck disable=SC2086
    theirs=$(timeout 60 go tool pprof $1 2>/dev/null | table_of)
    # shellcheck disable=SC2086
    ours=$(timeout 60 "$hpprof" $2 | table_of)
    [ "$(wc -l <<<"$theirs")" -ge 2 ] && diff <(echo "$theirs") <(echo "$ours")
}

agrees()
{
    local file=$1 type
    for type in alloc_space alloc_objects inuse_space inuse_objects; do
        check "$file: top of $type" same_as_pprof \
            "-top -sample_index=$type $file" "top --sample $type $file"
    done
    for type in alloc_space alloc_objects inuse_space inuse_objects; do
        check "$file: top of $type by cum" same_as_pprof \
            "-top -cum -sample_index=$type $file" "top --cum --sample $type $file"
        check "$file: 10 rows of $type" same_as_pprof \
            "-top -nodecount=10 -sample_index=$type $file" "top -n 10 --sample $type $file"
        check "$file: 10 rows of $type by cum" same_as_pprof \
            "-top -cum -nodecount=10 -sample_index=$type $file" \
            "top --cum -n 10 --sample $type $file"
        check "$file: tree of $type" same_as_pprof \
            "-tree -sample_index=$type $file" "tree --sample $type $file"
    done
    check "$file: focus" same_as_pprof \
        "-top -focus=$expression -sample_index=alloc_objects $file" \
        "top --focus $expression --sample alloc_objects $file"
    check "$file: ignore, by cum" same_as_pprof \
        "-top -cum -ignore=$ignored -sample_index=alloc_space $file" \
        "top --cum --ignore $ignored --sample alloc_space $file"
    check "$file: focus and ignore" same_as_pprof \
        "-top -focus=$expression -ignore=[Ll]oad -sample_index=alloc_space $file" \
        "top --focus $expression --ignore [Ll]oad --sample alloc_space $file"
    check "$file: tree of a focus" same_as_pprof \
        "-tree -focus=$expression -sample_index=alloc_space $file" \
        "tree --focus $expression --sample alloc_space $file"
    check "$file: peek" same_as_pprof \
        "-peek=$expression -sample_index=alloc_space $file" \
        "peek --sample alloc_space $file $expression"
}

# Binaries that are not there, so that nobody's idea of a symbol matters.
mapped='
MAPPED_LIBRARIES:
00000000-0000017f r-xp 00000000 00:00 0 /nowhere/one
00000180-000001ff r-xp 00000000 00:00 0 /nowhere/two
00000200-00000fff r-xp 00000000 00:00 0 /nowhere/three'

without_names()
{
    { cat && echo "$mapped"; } >"$work/plain.heap" <<'END'
heap profile:     13:   530816 [    40:  5242880] @ heap_v2/524288
     3:   524288 [    30:  5242880] @ 0x100 0x200 0x300
    10:     6528 [    10:     6528] @ 0x180 0x200 0x300
     0:        0 [     7:     7777] @ 0x100 0x180
END
}

jemalloc_is_scaled_as_legacy_is()
{
    { cat && echo "$mapped"; } >"$work/jemalloc.heap" <<'END'
heap_v2/524288
  t*: 13: 530816 [40: 5242880]
  t0: 3: 524288 [30: 5242880]
  t1: 10: 6528 [17: 14305]
@ 0x100 0x200 0x300
  t*: 3: 524288 [30: 5242880]
  t0: 3: 524288 [30: 5242880]
@ 0x180 0x200 0x300
  t*: 10: 6528 [10: 6528]
  t1: 10: 6528 [10: 6528]
@ 0x100 0x180
  t*: 0: 0 [7: 7777]
  t1: 0: 0 [7: 7777]
END
    is "$("$hpprof" top "$work/jemalloc.heap" | sed 1d)" \
        "$("$hpprof" top "$work/plain.heap" | sed 1d)" &&
        "$hpprof" top "$work/jemalloc.heap" | grep '\[three\]$'
}

folded_adds_up_as_pprof_does()
{
    awk '{ sum += $NF } END { printf "%d\n", sum }' "$work/py.folded" >"$work/sum"
    "$hpprof" top --json "$work/py.folded" | python3 -c '
import json, sys
assert json.load(sys.stdin)["total"] == int(open(sys.argv[1]).read())' "$work/sum"
}

json_says_what_the_table_says()
{
    "$hpprof" top --json --sample alloc_space "$work/py.pb.gz" >"$work/py.json" &&
        "$hpprof" top --sample alloc_space "$work/py.pb.gz" | table_of >"$work/py.table" &&
        python3 - "$work/py.json" "$work/py.table" <<'END'
import json, sys
said = json.load(open(sys.argv[1]))
rows = open(sys.argv[2]).read().splitlines()
assert said["sample_type"] == "alloc_space" and said["unit"] == "bytes", said
assert len(rows) == len(said["functions"]) > 3
for row, function in zip(rows, said["functions"]):
    assert row.split(None, 5)[5].startswith(function["function"]), (row, function)
    assert abs(float(row.split(None, 5)[2 - 1].rstrip("%")) -
               100 * function["flat"] / said["total"]) < 0.01, (row, function)
END
}

changes_add_up()
{
    "$hpprof" diff --json --sample alloc_space "$work/perl.pb.gz" "$work/py.pb.gz" >"$work/diff.json" &&
        for one in perl py; do
            "$hpprof" top --json --sample alloc_space "$work/$one.pb.gz" >"$work/$one.json"
        done && python3 - "$work" <<'END'
import json, sys
read = lambda name: json.load(open("%s/%s.json" % (sys.argv[1], name)))
rows = read("diff")["stacks"]
assert sum(row["change"] for row in rows) == read("py")["total"] - read("perl")["total"]
assert {row["certainty"] for row in rows} >= {"sure", "chance"}
for row in rows:
    errors = 1.96 * abs(row["change"]) / row["error_95"] if row["error_95"] > 0 else 9
    assert row["certainty"] == ("sure" if errors > 3.3 else "likely" if errors > 1.96 else "chance"), row
END
}

# What was written in another format and is read again says the same.
survives_formats()
{
    local file=$1 type=$2 ending
    for ending in pb.gz pb heap; do
        "$hpprof" convert "$work/$file" -o "$work/again.$ending" &&
            is "$("$hpprof" top --sample "$type" "$work/again.$ending" | table_of)" \
                "$("$hpprof" top --sample "$type" "$work/$file" | table_of)" || return
    done
    "$hpprof" convert "$work/$file" --sample "$type" --format collapsed -o - |
        "$hpprof" top - | table_of >"$work/again" &&
        diff "$work/again" <("$hpprof" top --sample "$type" "$work/$file" | table_of)
}

# merged_as_pprof_does FILE FILE: both tools read the merged file, and pprof merges by itself
merged_as_pprof_does()
{
    "$hpprof" merge "$@" -o "$work/merged.pb.gz" &&
        same_as_pprof "-top -sample_index=alloc_space $*" \
            "top --sample alloc_space $work/merged.pb.gz" &&
        same_as_pprof "-tree -sample_index=alloc_space $work/merged.pb.gz" \
            "tree --sample alloc_space $work/merged.pb.gz"
}

twice_is_double()
{
    "$hpprof" merge "$work/py.pb.gz" "$work/py.pb.gz" -o "$work/double.pb.gz" &&
        is "$("$hpprof" top --json --sample alloc_space "$work/double.pb.gz" | grep '"total"')" \
            "$("$hpprof" top --json --sample alloc_space "$work/py.pb.gz" |
                awk -F'[:,]' '/"total"/ { printf "\"total\": %d,\n", 2 * $2 }')"
}

lists_source_lines()
{
    printf '%s\n' '#include <stdlib.h>' 'void *kept[2000];' 'static void fill(int i)' '{' \
        '    kept[i] = malloc(5000);' '}' \
        'int main(void) { for (int i = 0; i < 2000; i++) fill(i); return !kept[9]; }' >"$work/lines.c"
    ${CC:-cc} -g -O0 "$work/lines.c" -o "$work/lines" && profile lines "$work/lines" &&
        "$hpprof" list "$work/lines.pb.gz" '^fill$' >"$work/out" &&
        grep -E '^ *[0-9.]+MB +[0-9.]+MB +5  +kept\[i\] = malloc\(5000\);$' "$work/out" &&
        "$hpprof" symbolize "$work/lines.pb.gz" -o "$work/named.pb.gz" && rm "$work/lines" &&
        "$hpprof" list "$work/named.pb.gz" '^fill$' | diff "$work/out" -
}

# fails_with STATUS TEXT FILE
fails_with()
{
    timeout 20 "$hpprof" top "$3" >"$work/out" 2>"$work/err"
    is $? "$1" && is "$(wc -c <"$work/out")" 0 && is "$(wc -l <"$work/err")" 1 &&
        grep -F -- "$2" "$work/err"
}

says_what_is_wrong_with_a_file()
{
    head -c 500 "$work/py.pb.gz" >"$work/short.pb.gz"
    { head -c 400 "$work/py.pb.gz"; echo x; tail -c +403 "$work/py.pb.gz"; } >"$work/other.pb.gz"
    : >"$work/empty"
    printf 'heap profile: 1: 1 [1: 1] @ growthz/1\n' >"$work/version.heap"
    fails_with 1 "it ends in the middle" "$work/short.pb.gz" &&
        fails_with 1 "$work/other.pb.gz: it" "$work/other.pb.gz" &&
        fails_with 1 "it is empty" "$work/empty" &&
        fails_with 1 "No such file" "$work/nowhere" &&
        fails_with 1 "none of a heap profile" "$work/version.heap" &&
        fails_with 1 "it is no profile" /bin/ls
}

cd "$work" || exit 1
without_names
python='import json, re, email; kept = [str(i) * 9 for i in range(50000)]'
profile py python3 -c "$python" || skip_all "there is no python3, or it left no profile"
check "jemalloc's files are scaled as those of heap_v2 are" jemalloc_is_scaled_as_legacy_is
check "collapsed stacks add up" folded_adds_up_as_pprof_does
check "top --json says what the table says" json_says_what_the_table_says
check "what is converted says the same" survives_formats py.pb.gz alloc_space
check "a profile merged with itself is double" twice_is_double
if { has llvm-symbolizer || has addr2line; } && has "${CC%% *}"; then
    check "list shows source lines; symbolize keeps them in the file" lists_source_lines
else
    skip "list shows source lines" "there is no compiler, or neither llvm-symbolizer nor addr2line"
fi
check "a file that makes no sense is one line" says_what_is_wrong_with_a_file
if go version >"$work/out" 2>&1; then
    agrees py.pb.gz
    for type in alloc_space inuse_space inuse_objects; do
        check "plain.heap: top of $type" same_as_pprof \
            "-top -sample_index=$type plain.heap" "top --sample $type plain.heap"
    done
    check "plain.heap: focus on a file" same_as_pprof \
        "-top -focus=three -sample_index=alloc_space plain.heap" "top --focus three --sample alloc_space plain.heap"
    check "plain.heap: all but a file's" same_as_pprof \
        "-top -ignore=one -sample_index=alloc_space plain.heap" "top --ignore one --sample alloc_space plain.heap"
    profile perl perl -e '%h = map { $_ => "x" x 50 } 1 .. 30000; eval "sub { $_ }" for 1 .. 999' &&
        agrees perl.pb.gz
    printf '%s\n' '#include <map>' '#include <regex>' '#include <vector>' 'int main() {' \
        'static auto &all = *new std::map<int, std::vector<std::regex>>; for (int i = 0; i < 2000; i++)' \
        'all[i % 9].emplace_back("(a|b*)c[d-z]"); return all.size() == 0; }' >regex.cc
    # shellcheck disable=SC2086
    if ${CXX:-c++} -O0 regex.cc -o regex 2>/dev/null && profile cxx ./regex; then
        agrees cxx.pb.gz
    else
        skip "a C++ program with templates" "there is no C++ compiler"
    fi
    check "the change from one to the other" same_as_pprof \
        "-top -diff_base=perl.pb.gz -sample_index=alloc_space py.pb.gz" \
        "top --base perl.pb.gz --sample alloc_space py.pb.gz"
    check "diff --json adds up, and says what is sure" changes_add_up
    check "merge adds up as pprof does" merged_as_pprof_does perl.pb.gz py.pb.gz
    for type in alloc_space alloc_objects inuse_space inuse_objects; do
        check "diff begins with the change of $type by function" same_as_pprof \
            "-top -diff_base=perl.pb.gz -sample_index=$type py.pb.gz" \
            "diff --sample $type perl.pb.gz py.pb.gz"
    done
    check "the change the other way, as a tree" same_as_pprof \
        "-tree -diff_base=py.pb.gz -sample_index=alloc_space perl.pb.gz" \
        "tree --base py.pb.gz --sample alloc_space perl.pb.gz"
else
    skip "top, tree and peek agree with go tool pprof" "there is no go"
fi
finish
