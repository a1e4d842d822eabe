#!/bin/bash
# What reads bytes that nobody vouches for, under libFuzzer: unwind tables, ELF files,
# /proc/self/maps, requests over HTTP, the values of options, profiles of others; and sequences of
# calls of the allocator. Each for FUZZ_SECONDS, from seeds made here and from the inputs in kept/, which broke
# something once or lead far in. FUZZ_TARGETS says which: "cfi elf maps http options profile operations".
# What is new and leads further stays in FUZZ_KEEP/TARGET.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"

fuzz=$top_srcdir/tests/fuzz
seconds=${FUZZ_SECONDS:-3}
read -r -a targets <<<"${FUZZ_TARGETS:-cfi elf maps http options profile operations}"
clang=$(command -v "${CLANG:-clang}") || skip_all "there is no clang"
sanitizers=address,undefined

can_fuzz()
{
    echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n < 0; }' |
        "$clang" -x c -fsanitize=fuzzer,$sanitizers -o "$work/probe" - && "$work/probe" -runs=1
}

# in_clang OPTION...
in_clang()
{
    "$clang" -std=gnu11 -g -O1 -I"$top_srcdir/src" -I"$top_srcdir/include" \
        -I"$top_srcdir/tools/hpprof" -fno-sanitize-recover=undefined "$@"
}

# compile_archive NAME SOURCE...: from which each target takes what it needs.
compile_archive()
{
    local name=$1
    shift
    mkdir "$work/$name" && cd "$work/$name" || return
    export -f in_clang
    export clang top_srcdir
    printf '%s\n' "$@" | xargs -P 2 -n 6 bash -c \
        'in_clang -DHPM_VERSION='"'\"0\"'"' -fsanitize=fuzzer-no-link,'$sanitizers' -c "$@"' _ &&
        ar rcs "$work/$name.a" ./*.o
}

compile_targets()
{
    local hpprof=$top_srcdir/tools/hpprof target
    compile_archive library "$top_srcdir"/src/*/*.c || return
    compile_archive tool "$hpprof"/{foldedread,inflate,legacyread,memory,merge,model}.c \
        "$hpprof"/{protoread,protowrite,reader,stacks,units}.c || return
    for target in "${targets[@]}"; do
        in_clang -I"$top_srcdir/tests" -fsanitize=fuzzer,$sanitizers -o "$work/$target" \
            "$fuzz/${target}_fuzz.c" "$work/tool.a" "$work/library.a" -lm || return
    done
}

# What libFuzzer is told of a target beside what holds for all. Each input of calls leads somewhere
# new: to weigh by what is rare took as long as the calls, and so did inputs of thousands of them.
options_of()
{
    case $1 in
    operations) echo -entropic=0 -max_len=1000 ;;
    esac
}

# start TARGET: in the background.
start()
{
    local kept=$fuzz/kept/$1 new=${FUZZ_KEEP:-$work/new}/$1 options
    read -r -a options <<<"$(options_of "$1")"
    mkdir -p "$work/seeds/$1" "$work/found/$1" "$new"
    [ ! -d "$kept" ] || cp "$kept"/* "$work/seeds/$1"
    UBSAN_OPTIONS=print_stacktrace=1 "$work/$1" -max_total_time="$seconds" -timeout=5 \
        -rss_limit_mb=1024 -max_len=20000 -print_final_stats=1 -verbosity=1 \
        "${options[@]}" -artifact_prefix="$work/found/$1/" "$new" "$work/seeds/$1" \
        >"$work/$1.log" 2>&1 </dev/null &
    children+=($!)
    process[$1]=$!
}

# What is wrong, and the input that shows it.
show_trouble()
{
    grep -aE 'runtime error|ERROR|SUMMARY|^ +#[0-9]+ .* in [a-z_]+ .*/src/' "$work/$1.log" | head -n 12
    for input in "$work/found/$1"/*; do
        [ ! -e "$input" ] || echo "the input: base64 -d <<<$(base64 -w 0 "$input")"
    done
}

# judge TARGET SENTENCE
judge()
{
    local runs
    if wait "${process[$1]}"; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$1.log")
        ok "fuzz: $2"
        echo "# $runs inputs in $seconds s"
    else
        show_trouble "$1" >"$work/trouble"
        not_ok "fuzz: $2" <"$work/trouble"
    fi
}

can_fuzz >/dev/null 2>&1 || skip_all "this clang has no libFuzzer"
declare -A process sentence=(
    [cfi]="no unwind table makes the unwinder read beside it"
    [elf]="no ELF file makes the search for names read beside it"
    [maps]="nothing in /proc/self/maps confuses its reader"
    [http]="no request over HTTP makes its reader read beside it, or change its mind"
    [options]="no value of an option is read beside, or accepted out of its range"
    [profile]="no profile of others makes hpprof read beside it"
    [operations]="no sequence of calls is answered wrongly by the allocator"
)
check "fuzz: the targets compile" compile_targets
check "fuzz: seeds are made" python3 "$fuzz/seeds.py" "$fuzz/seed.c" "$work/seeds"
[ "$failures" = 0 ] || finish
for target in "${targets[@]}"; do
    start "$target"
done
for target in "${targets[@]}"; do
    judge "$target" "${sentence[$target]}"
done
finish
