#!/bin/bash
# A redis, a postgres and an nginx under load at once, with a dump of each of their processes every
# second: no error, no word but for the dumps, and resident memory that is flat.
#
#   SOAK_SECONDS  how long (default 120; the whole of it is 1800)
#
# All is on loopback or on sockets of files.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

seconds=${SOAK_SECONDS:-120}
if [[ ! $seconds =~ ^[0-9]+$ ]] || [ "$seconds" -lt 30 ]; then
    echo "SOAK_SECONDS=$seconds: it takes a number of seconds from 30" >&2
    exit 2
fi
for folder in /usr/lib/postgresql/*/bin; do
    PATH=$folder:$PATH
done
round=20 # seconds of a client; then another comes

# Servers that give up root's rights read the library and write their dumps here.
cp -L "$library" "$work/libhpmalloc.so"
signal=RTMIN+4 # USR2 is postgres' own

# start NAME COMMAND...: a server in a folder of its own, whose lines are in NAME/errors.
start()
{
    local name=$1
    shift
    mkdir -p "$work/$name/dumps"
    chmod 1777 "$work/$name/dumps"
    (cd "$work/$name" && exec env LD_PRELOAD="$work/libhpmalloc.so" HPMALLOC_SAMPLE_INTERVAL=64k \
        HPMALLOC_DUMP_SIGNAL="$signal" HPMALLOC_DUMP_KEEP=3 \
        HPMALLOC_DUMP_PATH="$work/$name/dumps/%e.%p.%n" "$@" >>output 2>errors) &
    server[$name]=$!
    children+=("${server[$name]}")
}
declare -A server=()

processes_of()
{
    echo "$1"
    pgrep -P "$1"
}

# Memory that only such processes have, in KiB: what they share counts once or not at all.
resident_of()
{
    local process
    for process in $(processes_of "$1"); do
        cat "/proc/$process/status" 2>/dev/null
    done | awk '/^RssAnon:/ { sum += $2 } END { print sum + 0 }'
}

# Dumps and measures every second, to the end. What processes that ended have left is removed.
watch_server()
{
    local name=$1 process
    until [ "$(date +%s)" -ge "$until" ]; do
        for process in $(processes_of "${server[$name]}"); do
            kill -s "$signal" "$process" 2>/dev/null && echo >>"$work/$name/asked"
        done
        resident_of "${server[$name]}" >>"$work/$name/resident"
        find "$work/$name/dumps" -name '*.gz' -mmin +1 -delete
        sleep 1
    done
}

# load NAME COMMAND...: round after round; a round that fails is told in NAME/failed.
load()
{
    local name=$1
    shift
    until [ "$(date +%s)" -ge "$until" ]; do
        "$@" >"$work/$name/client" 2>&1 || cat "$work/$name/client" >>"$work/$name/failed"
        echo >>"$work/$name/rounds"
    done
}

# soak NAME LOAD: in the background; wait for both.
soak()
{
    watch_server "$1" &
    watchers+=($!)
    load "$1" "$2" &
    watchers+=($!)
}
watchers=()

redis_round()
{
    timeout 300 redis-benchmark -s "$work/redis/socket" -c 10 -P 4 -n 60000 -r 20000 -d 300 -q \
        -t set,get,incr,sadd,hset,spop,zadd,zpopmin,mset
}

ask_redis()
{
    timeout 20 redis-cli -s "$work/redis/socket" "$@"
}

start_redis()
{
    has redis-server && has redis-benchmark && has redis-cli || return 0
    start redis redis-server --port 0 --unixsocket "$work/redis/socket" --save '' --appendonly no
    check "redis-server starts" wait_until 20 ask_redis PING
    soak redis redis_round
}

as_somebody()
{
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
    else
        "$@"
    fi
}

client_of_postgres()
{
    timeout 300 "$1" -h "$work/postgres" -U soak "${@:2}" postgres
}

postgres_round()
{
    client_of_postgres pgbench -c 6 -j 2 -T "$round" &&
        client_of_postgres pgbench -c 2 -T 3 -C -S
} >"$work/postgres/round" 2>&1

postgres_round_is_good()
{
    postgres_round && is "$(grep -c 'failed transactions: 0 ' "$work/postgres/round")" 2 &&
        ! grep -i error "$work/postgres/round" || {
        cat "$work/postgres/round"
        return 1
    }
}

start_postgres()
{
    has initdb && has postgres && has pgbench && has setpriv && as_somebody true || return 0
    mkdir "$work/postgres"
    as_somebody test -O "$work/postgres" || chown postgres "$work/postgres"
    check "initdb makes a cluster" as_somebody env LD_PRELOAD="$work/libhpmalloc.so" \
        initdb -D "$work/postgres/data" -A trust -U soak -E UTF8 --no-locale --no-sync
    start postgres setpriv "${somebody[@]}" postgres -D data -k "$work/postgres" -h '' \
        -c fsync=off -c shared_buffers=16MB -c log_min_messages=warning
    check "postgres starts" wait_until 60 client_of_postgres psql -c 'select 1'
    check "pgbench makes its tables" client_of_postgres pgbench -i -q -s 2
    soak postgres postgres_round_is_good
}
somebody=()
[ "$(id -u)" != 0 ] || somebody=(--reuid=postgres --regid=postgres --clear-groups)

nginx_round()
{
    timeout 300 wrk -t 1 -c 12 -d "$round" --timeout 20 -H 'Accept-Encoding: gzip' \
        "http://127.0.0.1:$port/index.html" || return 1
}

nginx_round_is_good()
{
    local said
    said=$(nginx_round) && ! grep -E 'Non-2xx|Socket errors' <<<"$said" &&
        grep -Eq '^ *[1-9][0-9]* requests in' <<<"$said"
}

start_nginx()
{
    has nginx && has wrk || return 0
    mkdir -p "$work/nginx/pages"
    local i
    for i in $(seq 30); do
        seq "$i" $((i * 100)) >"$work/nginx/pages/$i.txt"
        echo "<!--#include virtual=\"$i.txt\" -->" >>"$work/nginx/pages/index.html"
    done
    port=$((18000 + $$ % 900))
    cat >"$work/nginx/conf" <<CONF
daemon off; worker_processes 2; error_log stderr error; pid $work/nginx/pid;
$([ "$(id -u)" != 0 ] || echo "user root;")
events { worker_connections 64; }
http {
    access_log off; gzip on; gzip_types *; gzip_min_length 100;
    client_body_temp_path $work/nginx/body; proxy_temp_path $work/nginx/proxy;
    fastcgi_temp_path $work/nginx/fastcgi; uwsgi_temp_path $work/nginx/uwsgi;
    scgi_temp_path $work/nginx/scgi;
    server { listen 127.0.0.1:$port; root $work/nginx/pages; ssi on; ssi_types *; }
}
CONF
    start nginx nginx -p "$work/nginx" -c "$work/nginx/conf" -e stderr
    check "nginx starts" wait_until 20 test -s "$work/nginx/pid"
    soak nginx nginx_round_is_good
}

no_round_failed()
{
    [ ! -e "$work/$1/failed" ] || {
        head -n 15 "$work/$1/failed"
        return 1
    }
    test "$(wc -l <"$work/$1/rounds")" -ge 1
}

# A process that ends meanwhile, or is in a dump already, makes none.
says_nothing_but_dumps()
{
    local line='^hpmalloc: heap profile (signal) written to ' asked made
    ! grep -av "$line" "$work/$1/errors" | grep -av "$2" || return 1
    asked=$(wc -l <"$work/$1/asked")
    made=$(grep -ac "$line" "$work/$1/errors")
    echo "$asked dumps asked for, $made made"
    [ "$made" -ge $((asked * 9 / 10)) ]
}

dumps_are_whole()
{
    local files=("$work/$1/dumps/"*)
    gzip -t "${files[@]}" && ! ls -A "$work/$1/dumps" | grep -v '\.pb\.gz$'
}

median()
{
    sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

# Of three thirds the last has no more in memory than the one before: but for 3 % and 2 MiB, since
# the load is not the same in each.
memory_is_flat()
{
    local count before last
    count=$(wc -l <"$work/$1/resident")
    before=$(sed -n "$((count / 3)),$((count * 2 / 3))p" "$work/$1/resident" | median)
    last=$(sed -n "$((count * 2 / 3 + 1)),\$p" "$work/$1/resident" | median)
    echo "$1: $count figures; medians of the middle and the last third: $before and $last KiB" |
        tee -a "$work/told"
    [ "$last" -le $((before + before * 3 / 100 + 2048)) ]
}

# end NAME SIGNAL
ends_well()
{
    kill -s "$2" "${server[$1]}" && wait "${server[$1]}"
}

judge()
{
    local name=$1 last_signal=$2 words=$3 reason=$4
    if [ -z "${server[$name]:-}" ]; then
        skip "$name under load for $seconds s" "$reason"
        return
    fi
    check "$name: no round of its clients failed in $seconds s" no_round_failed "$name"
    check "$name: resident memory is flat" memory_is_flat "$name"
    check "$name: dumps are whole, and nothing else is left" dumps_are_whole "$name"
    check "$name: ends well" ends_well "$name" "$last_signal"
    check "$name: says nothing but for its dumps" says_nothing_but_dumps "$name" "$words"
}

has pgrep || skip_all "there is no pgrep"
until=$(($(date +%s) + seconds))
start_redis
start_postgres
start_nginx
wait "${watchers[@]}"
judge redis TERM '^$' "there is no redis"
judge postgres INT '^[0-9-]* [0-9:.]* UTC \[[0-9]*\] \(LOG\|FATAL:  .* is starting up\)' \
    "there is no postgres, or nobody to run it as"
judge nginx QUIT '^$' "there is no nginx or no wrk"
sed 's/^/# /' "$work/told" 2>/dev/null
finish
