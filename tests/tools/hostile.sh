#!/bin/bash
# hpprof reads files nobody vouches for, and large ones: HOSTILE_MB of broken profiles of every
# format under AddressSanitizer and UBSan, and one of a million samples.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"

hpprof=$top_builddir/hpprof
megabytes=${HOSTILE_MB:-3}
seed=${HOSTILE_SEED:-$RANDOM}
[ -x "$hpprof" ] || skip_all "there is no $hpprof"

make_seeds()
{
    ours 60 HPMALLOC_SAMPLE_INTERVAL=64k HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_QUIET=1 \
        HPMALLOC_DUMP_FORMAT=pprof,legacy,collapsed HPMALLOC_DUMP_PATH="$work/seed" \
        perl -e '%h = map { $_ => "x" x 50 } 1 .. 30000' &&
        "$hpprof" convert "$work/seed.pb.gz" -o "$work/seed.pb" &&
        printf '%s\n' 'heap_v2/65536' '  t*: 9: 4096 [20: 8192]' '@ 0x1234 0x5678 0x9abc' \
            '  t*: 9: 4096 [20: 8192]' '  t0: 9: 4096 [20: 8192]' 'MAPPED_LIBRARIES:' \
            '00001000-00009fff r-xp 00000000 00:00 0 /nowhere' >"$work/jemalloc.heap"
}

compile()
{
    local rooms
    rooms=$(cd "$top_srcdir/tools/hpprof" && ls foldedread.c graph.c inflate.c legacyread.c memory.c \
        merge.c model.c protoread.c protowrite.c reader.c stacks.c units.c)
    # Both are lists of words.
    # shellcheck disable=SC2086
    (cd "$top_srcdir/tools/hpprof" && ${CC:-cc} -std=gnu11 -g -O1 -fsanitize=address,undefined \
        -fno-sanitize-recover=undefined -I. -I../../src -I../../include -o "$work/readfuzz" \
        ../../tests/tools/readfuzz.c $rooms -lm)
}

survives()
{
    timeout 1700 "$work/readfuzz" "$megabytes" "$seed" "$work"/seed.* "$work/jemalloc.heap" \
        >"$work/fuzz.out" 2>&1
    local status=$?
    [ $status = 0 ] && return
    echo "HOSTILE_SEED=$seed: $status"
    cat "$work/fuzz.out"
    return 1
}

# A thousand stacks of 20 frames, a thousand times.
write_million()
{
    python3 - "$work/million.pb" <<'END'
import sys
def number(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])
def field(n, data):
    return number(n << 3 | 2) + number(len(data)) + data
def pair(a, b):
    return b"\x08" + number(a) + b"\x10" + number(b)
texts = ["", "inuse_objects", "count", "inuse_space", "bytes"] + ["f%d" % i for i in range(5000)]
out = field(1, pair(1, 2)) + field(1, pair(3, 4))
out += b"".join(field(5, pair(i + 1, i + 5)) for i in range(5000))
out += b"".join(field(4, b"\x08" + number(i + 1) + field(4, b"\x08" + number(i + 1))) for i in range(5000))
out += b"".join(field(6, text.encode()) for text in texts)
stacks = b"".join(
    field(2, field(1, b"".join(number(1 + (i * 7919 + k * k * 31) % 5000) for k in range(20)))
          + field(2, number(3) + number(4096 + i)))
    for i in range(1000))
with open(sys.argv[1], "wb") as file:
    file.write(out + stacks * 1000)
END
    gzip -1 -k "$work/million.pb"
}

# In seconds of the processor, which others on the machine do not take away.
loads_fast()
{
    write_million || return
    local sum
    TIMEFORMAT='%U %S'
    { time "$hpprof" top --json "$work/million.pb.gz" >"$work/million.json"; } 2>"$work/time"
    sum=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["total"])' \
        "$work/million.json")
    is "$sum" 4595500000 && cat "$work/time" && awk '{ exit !($1 + $2 < 2) }' "$work/time"
}

# takes_less SECONDS COMMAND...
takes_less()
{
    local most=$1
    shift
    TIMEFORMAT='%U %S'
    { time "$hpprof" "$@" >"$work/out"; } 2>"$work/time"
    cat "$work/time" && [ -s "$work/out" ] &&
        awk -v most="$most" 'NF == 2 { exit !($1 + $2 < most) }' "$work/time"
}

# The field time_nanos, ten seconds apart.
take_three()
{
    python3 - "$work" <<'END'
import sys
data = open(sys.argv[1] + "/million.pb", "rb").read()
for i in range(3):
    nanoseconds, out = 10**18 + i * 10**10, bytearray([9 << 3])
    while nanoseconds > 127:
        out.append(nanoseconds & 127 | 128)
        nanoseconds >>= 7
    with open("%s/million%d.pb" % (sys.argv[1], i), "wb") as file:
        file.write(data + out + bytes([nanoseconds]))
END
}

if make_seeds && compile >"$work/compile.log" 2>&1; then
    check "$megabytes MB of broken profiles are read, or refused in a line" survives
    sed -n '/^#/p' "$work/fuzz.out"
else
    skip "broken profiles under sanitizers" "no perl, or $(tail -n 1 "$work/compile.log")"
fi
if has python3; then
    check "a profile of 1,000,000 samples loads in under 2 s" loads_fast
    for command in tree "report -o -" "flame -o -" "peek"; do
        word=
        [ "$command" = peek ] && word='^f1$'
        # Both are lists of words.
        # shellcheck disable=SC2086
        check "so does ${command%% *}" takes_less 2 $command "$work/million.pb.gz" $word
    done
    check "diff loads two in twice that" takes_less 4 diff "$work/million.pb.gz" "$work/million.pb.gz"
    check "leaks loads three in three times that" eval 'take_three &&
        takes_less 6 leaks "$work/million0.pb" "$work/million1.pb" "$work/million2.pb"'
else
    skip "a profile of 1,000,000 samples loads in under 2 s" "there is no python3"
fi
finish
