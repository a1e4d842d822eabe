#!/bin/bash
# What the library says of the memory of real programs, against what the kernel says of it.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

has python3 || skip_all "there is no python3"
megabytes=${STATS_MEGABYTES:-40}
socket=$work/redis.sock

ask()
{
    timeout 20 redis-cli -s "$socket" "$@"
}

start()
{
    (cd "$work" && exec env LD_PRELOAD="$library" HPMALLOC_DUMP_PATH="$work/%e.%n" \
        HPMALLOC_DUMP_FORMAT=text HPMALLOC_STATS=json redis-server --port 0 --unixsocket "$socket" \
        --save '' --appendonly no --daemonize no >>"$work/server.log" 2>>"$work/server.errors") &
    server=$!
    children+=("$server")
    wait_until 10 ask PING
}

# Values of three sizes, half as many keys again that are deleted, and one of 5 MB.
fill()
{
    local count=$((megabytes * 450))
    ask EVAL "for i = 1, $count do redis.call('SET', 'a' .. i, string.rep('x', 40 + i % 3 * 900)) \
        redis.call('SADD', 'set' .. i % 1000, i) end \
        for i = 1, $count, 2 do redis.call('DEL', 'a' .. i) end \
        redis.call('SET', 'big', string.rep('y', 5000000)) return 'done'" 0 >"$work/filled"
    is "$(cat "$work/filled")" done
    ask EVAL "for i = 1, $count do redis.call('SET', 'b' .. i, string.rep('x', 1700)) end return 'done'" 0
    wait_until 5 test "$(ask INFO memory | tr -d '\r' | sed -n 's/^used_memory://p')" -gt 10000000
}

# explains NUMBER: the dump of that number.
explains()
{
    kill -USR2 "$server"
    wait_until 4 test -e "$work/redis-server.$1.txt" || return 1
    cat "/proc/$server/smaps" >"$work/smaps"
    python3 "$here/stats.py" account "$work/redis-server.$1.txt" "$work/smaps" | tee "$work/account"
    return "${PIPESTATUS[0]}"
}

stop()
{
    ask SHUTDOWN NOSAVE
    wait_until 10 test ! -e "/proc/$server" || kill -KILL "$server"
    wait "$server" 2>/dev/null
}

says_json_at_exit()
{
    sed -n '/^{/,$p' "$work/server.errors" >"$work/stats.json"
    python3 "$here/stats.py" json "$work/stats.json"
}

if has redis-server && has redis-cli; then
    check "redis-server starts and takes $megabytes MB and more" start
    check "it is filled" fill
    check "the account explains its resident memory within 2 %" explains 1
    sed 's/^/# /' "$work/account"
    ask FLUSHALL >"$work/flushed"
    check "and after everything was deleted" explains 2
    sed 's/^/# /' "$work/account"
    stop
    check "HPMALLOC_STATS=json prints valid JSON that adds up as it ends" says_json_at_exit
else
    skip "the account explains the resident memory of redis-server within 2 %" "there is no redis"
fi

# Not one of the small tools: those close their stderr before they end.
says_text_at_exit()
{
    ours 20 HPMALLOC_STATS=text python3 -c 1 >/dev/null 2>"$work/said" || return 1
    cat "$work/said"
    grep -q '  resident memory of the process$' "$work/said" && grep -q '^System calls: ' "$work/said"
}

says_nothing()
{
    is "$(ours 20 "$@" python3 -c 1 2>&1)" ""
}

check "HPMALLOC_STATS=text prints the account as a program ends" says_text_at_exit
check "it prints nothing without the option" says_nothing A=1
check "nothing when quiet" says_nothing HPMALLOC_STATS=text HPMALLOC_QUIET=1
check "nothing in programs that HPMALLOC_PROGRAM leaves out" \
    says_nothing HPMALLOC_STATS=text HPMALLOC_PROGRAM='redis-*'

# run_python CALLS: what the C library's or our calls write, made by a program with some memory.
run_python()
{
    ours 20 python3 -c "
import ctypes
library = ctypes.CDLL(None)
kept = [bytearray(n % 5000) for n in range(20000)]
$1"
}

writes_metrics()
{
    run_python 'print(end=str() if library.hpm_stats_write(1, 2) == 0 else "failed")' >"$work/metrics" ||
        return 1
    python3 "$here/stats.py" prometheus "$work/metrics"
}

promtool_accepts()
{
    promtool check metrics <"$work/metrics"
}

malloc_info_is_xml()
{
    run_python 'library.fdopen.restype = ctypes.c_void_p
library.malloc_info(0, ctypes.c_void_p(library.fdopen(1, b"w")))
library.fflush(None)' >"$work/info.xml" || return 1
    python3 "$here/stats.py" xml "$work/info.xml"
}

check "each metric for Prometheus has its help and type, and the parts add up" writes_metrics
if has promtool; then
    check "promtool finds no fault with the metrics" promtool_accepts
else
    skip "promtool finds no fault with the metrics" "there is no promtool"
fi
check "malloc_info writes XML that a parser reads" malloc_info_is_xml
finish
