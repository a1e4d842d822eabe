#!/bin/bash
# The main job: an unmodified redis-server under load, a signal, a profile that go tool pprof reads.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

keys=500000
socket=$work/redis.sock
dumps=$work/dumps
mkdir "$dumps"

has redis-server && has redis-benchmark && has redis-cli || skip_all "there is no redis"

ask()
{
    timeout 20 redis-cli -s "$socket" "$@"
}

# start NAME=VALUE...: a server that keeps nothing on disk and listens on its socket only.
start()
{
    rm -f "$socket"
    (cd "$work" && exec env LD_PRELOAD="$library" HPMALLOC_DUMP_PATH="$dumps/%e.%p.%n" "$@" \
        redis-server --port 0 --unixsocket "$socket" --save '' --appendonly no \
        --daemonize no >>"$work/server.log" 2>>"$work/server.errors") &
    server=$!
    children+=("$server")
    wait_until 10 ask PING
}

fill()
{
    timeout 120 redis-benchmark -s "$socket" -t set -n "$keys" -r "$keys" -d 100 -P 16 -q
}

stop()
{
    ask SHUTDOWN NOSAVE
    wait_until 10 test ! -e "/proc/$server" || kill -KILL "$server"
    wait "$server" 2>/dev/null
}


leaves_one_file_within_two_seconds()
{
    kill -USR2 "$server"
    wait_until 2 test -e "$profile" || return 1
    sleep 0.2
    is "$(ls -A "$dumps")" "$(basename "$profile")" &&
        is "$(stat -c %a "$profile")" 600
}

says_one_line_for_the_dump()
{
    is "$(grep -c '^hpmalloc: ' "$work/server.errors")" 1 &&
        grep -F "$profile" "$work/server.errors"
}

is_healthy()
{
    is "$(ask PING)" PONG && is "$(ask DBSIZE)" "$1"
}

# What redis-benchmark wrote last to a key is 100 bytes long, whichever key it is.
answers_correctly()
{
    local key
    for key in $(ask --scan --pattern 'key:*' | head -n 50); do
        is "$(ask STRLEN "$key")" 100 || return 1
    done
    is "$(ask SET hpmalloc:test "a value")" OK && is "$(ask GET hpmalloc:test)" "a value" &&
        is "$(ask RPUSH hpmalloc:list a b c)" 3 && is "$(ask LRANGE hpmalloc:list 1 1)" b &&
        is "$(ask DEL hpmalloc:test hpmalloc:list)" 2
}

top_of()
{
    PPROF_TMPDIR=$work timeout 60 go tool pprof -top -nodecount=200 -sample_index=inuse_space "$1" \
        2>"$work/pprof.errors"
}

lists_functions_of_redis()
{
    top_of "$profile" >"$work/top" || return 1
    cat "$work/top"
    grep -Eq ' (zmalloc|zmalloc_usable|ztrymalloc_usable|sdsnewlen|_sdsnewlen|dictAddRaw|dictExpand|createObject|tryObjectEncoding|setKey|dbAdd)' \
        "$work/top"
}

# bytes_of NUMBER UNIT
bytes_of()
{
    awk -v n="$1" -v unit="$2" 'BEGIN {
        split("B kB MB GB KiB MiB GiB", names); split("1 1024 1048576 1073741824 1024 1048576 1073741824", sizes)
        for (i in names) if (names[i] == unit) printf "%.0f\n", n * sizes[i]
    }'
}

# is_within PERCENT ESTIMATE EXACT
is_within()
{
    echo "estimated $2, exact $3, allowed $1 %"
    awk -v p="$1" -v a="$2" -v b="$3" 'BEGIN { exit !(b > 0 && (a - b) * 100 <= p * b && (b - a) * 100 <= p * b) }'
}

# redis adds up malloc_usable_size of all it holds: a count that is not our own.
pprof_total_is_near_what_redis_counts()
{
    local exact total
    exact=$(ask INFO memory | tr -d '\r' | sed -n 's/^used_memory://p')
    total=$(top_of "$text_less.pb.gz" | sed -n 's/.* of \([0-9.]*\)\([kMG]*B\) total$/\1 \2/p' | head -n 1)
    # shellcheck disable=SC2086 # two words
    is_within 10 "$(bytes_of $total)" "$exact"
}

text_total_is_near_the_exact_count()
{
    local line
    line=$(grep '^By the samples' "$text_less.txt") || return 1
    # shellcheck disable=SC2046 # two words each
    is_within 10 \
        "$(bytes_of $(sed 's/^By the samples *\([0-9.]*\) \([KMGi]*B\).*/\1 \2/' <<<"$line"))" \
        "$(bytes_of $(sed 's/.*by exact count *\([0-9.]*\) \([KMGi]*B\).*/\1 \2/' <<<"$line"))"
}

check "redis-server starts under the library" start
profile=$dumps/redis-server.$server.1.pb.gz
check "redis-benchmark fills $keys keys" fill
size=$(ask DBSIZE)
check "kill -USR2 leaves one file within two seconds, of mode 0600" leaves_one_file_within_two_seconds
check "the dump says one line" says_one_line_for_the_dump
check "the server goes on" is_healthy "$size"
check "the server answers correctly" answers_correctly
if ! has go; then
    skip "go tool pprof lists redis' own functions" "there is no go"
else
    check "go tool pprof lists redis' own functions" lists_functions_of_redis
fi
check "redis-benchmark goes on after the dump" fill
stop

# At this interval ten per cent is four standard errors.
rm -f "$dumps"/*
check "redis-server starts with a sample each 32 KiB" \
    start HPMALLOC_SAMPLE_INTERVAL=32k HPMALLOC_DUMP_FORMAT=pprof,text
text_less=$dumps/redis-server.$server.1
check "redis-benchmark fills $keys keys again" fill
size=$(ask DBSIZE)
kill -USR2 "$server"
check "a signal leaves both formats asked for" \
    wait_until 4 test -e "$text_less.pb.gz" -a -e "$text_less.txt"
check "the samples' total is within 10 % of the allocator's exact count" \
    text_total_is_near_the_exact_count
if has go; then
    check "the total in pprof is within 10 % of what redis counts itself" \
        pprof_total_is_near_what_redis_counts
else
    skip "the total in pprof is within 10 % of what redis counts itself" "there is no go"
fi
check "the server has lost nothing" is_healthy "$size"
stop

words=$(grep -c 'hpmalloc: ' "$work/server.errors")
keys=20000
check "redis-server starts hardened" start HPMALLOC_HARDENED=1
check "redis-benchmark fills $keys keys of the hardened server" fill
check "the hardened server answers correctly" answers_correctly
stop
check "and ends without a word" test "$(grep -c 'hpmalloc: ' "$work/server.errors")" = "$words"
finish
