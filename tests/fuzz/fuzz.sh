#!/bin/bash
# What reads bytes that nobody vouches for, under libFuzzer: unwind tables, ELF files,
# /proc/self/maps, requests over HTTP. Each for FUZZ_SECONDS, from seeds made here and from the inputs in kept/, each of
# which broke something once. FUZZ_TARGETS says which: "cfi elf maps http".
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"

fuzz=$top_srcdir/tests/fuzz
seconds=${FUZZ_SECONDS:-3}
read -r -a targets <<<"${FUZZ_TARGETS:-cfi elf maps http}"
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
        -fno-sanitize-recover=undefined "$@"
}

# All but symbols.c, which elf_fuzz.c includes.
compile_sources()
{
    mkdir "$work/objects" && cd "$work/objects" || return
    local -a sources=("$top_srcdir"/src/base/*.c
        "$top_srcdir"/src/prof/{elffile,mappings,objects,unwind_cfi,unwind_reader}.c
        "$top_srcdir"/src/report/httpparse.c)
    in_clang -fsanitize=fuzzer-no-link,$sanitizers -c "${sources[@]}"
}

compile_targets()
{
    compile_sources || return
    local target
    for target in "${targets[@]}"; do
        in_clang -fsanitize=fuzzer,$sanitizers -o "$work/$target" "$fuzz/${target}_fuzz.c" \
            "$work"/objects/*.o || return
    done
}

# start TARGET: in the background.
start()
{
    local kept=$fuzz/kept/$1
    mkdir -p "$work/seeds/$1" "$work/found/$1" "$work/new/$1"
    [ ! -d "$kept" ] || cp "$kept"/* "$work/seeds/$1"
    UBSAN_OPTIONS=print_stacktrace=1 "$work/$1" -max_total_time="$seconds" -timeout=5 \
        -rss_limit_mb=1024 -max_len=20000 -print_final_stats=1 -verbosity=1 \
        -artifact_prefix="$work/found/$1/" "$work/new/$1" "$work/seeds/$1" \
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
