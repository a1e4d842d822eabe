#!/bin/bash
# Our stacks are libunwind's, frame by frame, in real programs: 999 of 1000 at least. Under
# UNWIND_LONG=1 each program goes on until about 100,000 stacks were compared.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"
# shellcheck source=tests/prof/unwind.bash
. "$(dirname "$0")/unwind.bash"


[ "$(uname -m)" = x86_64 ] || skip_all "compared on x86-64 only"
echo '#include <libunwind.h>' >"$work/probe.c"
# shellcheck disable=SC2086
$cc -fsyntax-only "$work/probe.c" 2>/dev/null || skip_all "there is no libunwind-dev"
# shellcheck disable=SC2086
$cc -std=gnu11 -O2 -g -fPIC -shared -fvisibility=hidden -I"$top_srcdir/src" -I"$top_builddir" \
    -o "$work/unwindcmp.so" "${comparison[@]}" -lunwind -ldl -pthread ${HPM_LIBS:-} \
    >"$work/log" 2>&1 || {
    not_ok "the comparison compiles" <"$work/log"
    finish
}
chmod 755 "$work/unwindcmp.so"

# compared NAME EVERY PROGRAM...: runs it; each of its processes leaves its totals.
compared()
{
    local name=$1 each=$2
    shift 2
    timeout "$(times 30 600)" env LD_PRELOAD="$work/unwindcmp.so" UNWINDCMP_FILE="$totals/$name" \
        UNWINDCMP_EVERY="$each" UNWINDCMP_MAX="$(times 20000 100000)" "$@"
}

run_redis()
{
    compared redis "$(times 50 20)" redis-server --port 0 --unixsocket "$work/redis.sock" \
        --save '' --appendonly no --dir "$work" >"$work/log" 2>&1 &
    children+=("$!")
    local server=$!
    wait_until 10 redis-cli -s "$work/redis.sock" ping || return
    timeout 200 redis-benchmark -s "$work/redis.sock" -n "$(times 10000 60000)" -r 10000 -P 16 \
        -t set,lpush,sadd,hset,zadd,mset -q >/dev/null
    redis-cli -s "$work/redis.sock" eval \
        'local t = {} for i = 1, 30000 do t[i] = tostring(i) .. "x" end return #t' 0 >/dev/null
    redis-cli -s "$work/redis.sock" shutdown nosave >/dev/null 2>&1
    wait "$server"
}

run_python()
{
    cat >"$work/work.py" <<'END'
import bz2, ctypes, hashlib, json, re, sqlite3, struct, sys, threading, xml.etree.ElementTree as tree, zlib

def work(rounds):
    table = sqlite3.connect(":memory:")
    table.execute("create table t(a, b)")
    for i in range(rounds):
        data = {str(k): [k, {"x": "y" * k}] for k in range(60)}
        text = json.dumps(data)
        assert json.loads(text) == data
        re.compile("(a|b%d)+c[0-9]{2,%d}" % (i, i % 9 + 3)).findall(text)
        zlib.decompress(zlib.compress(text.encode()))
        bz2.compress(text.encode())
        hashlib.sha256(text.encode()).hexdigest()
        tree.fromstring("<a>" + "<b c='d'>e</b>" * 40 + "</a>")
        table.executemany("insert into t values (?, ?)", [(k, text) for k in range(5)])
        table.execute("select a, count(*) from t group by b order by a").fetchall()
        numbers = (ctypes.c_int * 8)(3, 1, 2, 9, 7, 5, 6, 4)
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
        ctypes.CDLL(None).qsort(numbers, 8, 4, kind(lambda a, b: len("x" * 600) * 0 + a[0] - b[0]))

threads = [threading.Thread(target=work, args=(int(sys.argv[1]),)) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
END
    compared python3 "$(times 20 10)" env PYTHONMALLOC=malloc python3 "$work/work.py" "$(times 10 150)"
}

run_compiler()
{
    cat >"$work/work.cc" <<'END'
#include <algorithm>
#include <map>
#include <regex>
#include <string>
template <int n> struct tower { static int height() { return tower<n - 1>::height() + n; } };
template <> struct tower<0> { static int height() { return 0; } };
int main()
{
    std::map<std::string, std::vector<int>> map;
    std::regex pattern("(a|b)*c");
    map["x"].push_back(tower<400>::height());
    std::sort(map["x"].begin(), map["x"].end());
    return std::regex_match("aabc", pattern) ? 0 : int(map.size());
}
END
    compared compiler "$(times 80 9)" "$cxx" -O2 -c -o "$work/work.o" "$work/work.cc"
}

run_sqlite()
{
    compared sqlite3 "$(times 20 20)" sqlite3 "$work/test.db" <<END
create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < $(times 40000 400000))
insert into t select i, 'text ' || i, i / 3.0 from n;
create index by_text on t(b);
select sum(length(x.v)) from (select group_concat(b) as v from t group by a % 1000) x;
select count(*) from t where b like '%77%' and printf('%s-%d', b, a) > upper(substr(b, 2));
select max(json_extract(json_object('a', b, 'c', json_array(a, c)), '\$.a')) from t;
END
}

# as_postgres COMMAND...: as a user that postgres runs as
as_postgres()
{
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
    else
        "$@"
    fi
}

postgres_folder()
{
    local folder
    for folder in /usr/lib/postgresql/*/bin /usr/bin; do
        [ -x "$folder/initdb" ] && echo "$folder" && return
    done
    return 1
}

run_postgres()
{
    local programs=$1 data=$work/postgres
    mkdir "$data"
    [ "$(id -u)" != 0 ] || chown postgres "$data"
    as_postgres "$programs/initdb" -D "$data/db" -A trust --no-sync >/dev/null || return
    cat >"$work/query.sql" <<END
create table t as select i, md5(i::text) as h from generate_series(1, $(times 20000 200000)) i;
create index on t(h);
select count(distinct substr(h, 1, 3)), sum(i::numeric / 7) from t where h ~ '(a|b)+[0-9]';
select jsonb_agg(to_jsonb(t)) is null from t;
do \$\$ declare n int; begin for k in 1..$(times 300 6000) loop execute 'select count(*) from t where i = ' || k into n; end loop; end \$\$;
select a.h from t a join t b on a.i = b.i + 1 order by b.h desc limit 1;
END
    (cd / && as_postgres env LD_PRELOAD="$work/unwindcmp.so" UNWINDCMP_FILE="$totals/postgres" \
        UNWINDCMP_EVERY=1 UNWINDCMP_MAX="$(times 20000 100000)" \
        "$programs/postgres" -D "$data/db" -k "$data" -c listen_addresses= -c fsync=off \
        >"$work/postgres.log" 2>&1) &
    local server=$! number
    wait_until 10 "$programs/psql" -h "$data" -U postgres -c 'select 1' postgres
    timeout "$(times 20 300)" "$programs/psql" -h "$data" -U postgres -q -f "$work/query.sql" \
        postgres >/dev/null
    number=$(head -n 1 "$data/db/postmaster.pid")
    [ -n "$number" ] && kill -TERM "$number"
    wait "$server"
}

run_node()
{
    cat >"$work/work.js" <<'END'
const zlib = require("zlib"), crypto = require("crypto"), fs = require("fs");
for (let i = 0; i < Number(process.argv[2]); i++) {
    const text = JSON.stringify(Array.from({length: 200}, (_, k) => ({k, v: "x".repeat(k)})));
    zlib.inflateSync(zlib.deflateSync(text));
    crypto.createHash("sha256").update(text).digest("hex");
    new RegExp("(a|b" + i + ")+c").exec(text);
    new Function("a", "return a + " + i)(1);
    fs.readFileSync(process.argv[1]);
    new Intl.NumberFormat("en").format(i);
}
END
    compared node "$(times 40 10)" node "$work/work.js" "$(times 300 5000)"
}

run_interrupted()
{
    compared "interrupted-$1" 1 "$work/interrupted-$1" "$(times 2000 100000)"
    compared "interrupted-$1" 1 "$work/interrupted-$1" "$(times 2000 100000)" other
}

# Two objects by turns, usually at the same address, whose functions differ in their frames.
run_reloading()
{
    cat >"$work/object.c" <<'END'
#include <stdlib.h>
void *work(int n) { volatile char room[ROOM]; room[0] = n; void *p = malloc(100 + room[0]); room[1] = 1; return p; }
END
    cat >"$work/reloading.c" <<'END'
#include <dlfcn.h>
#include <stdlib.h>
int main(int count, char **arguments)
{
    for (int i = 0; i < atoi(arguments[1]); i++) {
        void *object = dlopen(arguments[2 + i % (count - 2)], RTLD_NOW);
        void *(*function)(int) = (void *(*)(int))dlsym(object, "work");
        for (int k = 0; k < 4; k++) free(function(k));
        dlclose(object);
    }
}
END
    built small.so "$cc" -O2 -fno-builtin -fPIC -shared -DROOM=40 "$work/object.c" &&
        built large.so "$cc" -O2 -fno-builtin -fPIC -shared -DROOM=4000 "$work/object.c" &&
        built reloading "$cc" -O2 -fno-builtin "$work/reloading.c" -ldl || return
    compared reloading 1 "$work/reloading" "$(times 600 12000)" "$work/small.so" "$work/large.so"
}

if program redis-server && program redis-benchmark; then
    run_redis
    frames redis 5000
fi
if program python3; then
    run_python
    frames python3 5000
fi
if program "$cxx"; then
    run_compiler
    frames compiler 5000
fi
if program sqlite3; then
    run_sqlite >/dev/null
    frames sqlite3 5000
fi
if ! programs=$(postgres_folder); then
    skip "stacks are libunwind's: postgres" "there is no postgres"
elif [ "$(id -u)" = 0 ] && ! { id postgres && has setpriv; } >/dev/null 2>&1; then
    skip "stacks are libunwind's: postgres" "there is no user to run it as"
else
    run_postgres "$programs"
    frames postgres 5000
fi
if program node; then
    run_node
    frames node 5000
fi
write_throwing
if built throwing "$cxx" -O2 "$work/throwing.cc"; then
    compared throwing 4 "$work/throwing" "$(times 1000 20000)"
    frames throwing 5000
fi
run_reloading
frames reloading 5000
write_interrupted
for compiler in "$cc" clang; do
    program "$compiler" || continue
    name=$(basename "${compiler%% *}")
    built "interrupted-$name" "$compiler" -O2 -fno-builtin -fomit-frame-pointer \
        "$work/interrupted.c" -lm || continue
    run_interrupted "$name"
    frames "interrupted-$name" 4000
done
if program clang++ && built throwing-clang clang++ -O2 -fomit-frame-pointer "$work/throwing.cc"; then
    compared throwing-clang 4 "$work/throwing-clang" "$(times 1000 20000)"
    frames throwing-clang 5000
fi
finish
