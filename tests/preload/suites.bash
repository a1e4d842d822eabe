# The suites of suites.sh. Of each NAME there are
#
#   prepare_NAME       gets what it needs; sets $reason and fails where that is not to be had
#   parts_NAME         its parts, one a line
#   run_NAME PART...   runs them by `under`, in an empty folder; prints `failed: PART` for each that
#                      fails. What else it prints goes into the report of a failure.

cache=${SUITES_CACHE:-$top_builddir/tests/suites}
readable=$work/libhpmalloc.so # for servers that give up root's rights
cp -L "$library" "$readable"

declare -A settings=(
    [default]="HPMALLOC_SAMPLE_INTERVAL=64k"
    [hardened]="HPMALLOC_SAMPLE_INTERVAL=64k HPMALLOC_HARDENED=1"
    [guard]="HPMALLOC_SAMPLE_INTERVAL=64k HPMALLOC_GUARD=1000"
)
variables=() # of the run at hand; none: without the library

# under SECONDS COMMAND...: children and grandchildren have the library too.
under()
{
    local seconds=$1
    shift
    timeout -k 10 "$seconds" env "${variables[@]}" "$@" </dev/null
}

# What the library says of a crime. Programs whose tests crash them on purpose may be told of a
# wild access.
has_last_words()
{
    grep -a 'hpmalloc: ' "$@" | grep -aEv 'wild (read|write|access) at'
}

# run SUITE MODE PART...: the parts that failed are in $work/failed.
run()
{
    local suite=$1 mode=$2
    shift 2
    variables=()
    if [ "$mode" != plain ]; then
        # shellcheck disable=SC2206 # words
        variables=(LD_PRELOAD="$readable" ${settings[$mode]})
    fi
    rm -rf "$work/run"
    mkdir "$work/run"
    chmod 777 "$work/run"
    (cd "$work/run" && "run_$suite" "$@") >"$work/run.log" 2>&1
    sed -n 's/^failed: //p' "$work/run.log" | sort -u >"$work/failed"
}

passes()
{
    local suite=$1 mode=$2 parts failed
    mapfile -t parts < <("parts_$suite")
    run "$suite" "$mode" "${parts[@]}"
    ! has_last_words "$work/run.log" || return 1
    [ -s "$work/failed" ] || return 0
    mapfile -t failed <"$work/failed"
    run "$suite" "$mode" "${failed[@]}"
    cp "$work/run.log" "$work/again.log"
    ! has_last_words "$work/run.log" || return 1
    [ -s "$work/failed" ] || return 0
    mapfile -t failed <"$work/failed"
    run "$suite" plain "${failed[@]}"
    sed 's/^/fails without the library, too: /' "$work/failed" >"$work/told"
    failed=$(printf '%s\n' "${failed[@]}" | comm -23 - "$work/failed")
    [ -z "$failed" ] || {
        printf 'fails twice with the library, passes without: %s\n' "$failed"
        grep -a -v '^ok' "$work/again.log" | tail -n 18
        return 1
    }
}

# apt_own ARGUMENT...: apt-get with its lists in our cache, and sources beside programs.
apt_own()
{
    local lists=$cache/apt
    mkdir -p "$lists/lists/partial" "$lists/archives/partial"
    if [ ! -s "$lists/sources.list" ]; then
        local key=/usr/share/keyrings/debian-archive-keyring.gpg area name
        name=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
        for area in "debian $name" "debian $name-updates" "debian-security $name-security"; do
            printf "%s [signed-by=$key] http://deb.debian.org/$area main\n" deb deb-src
        done >"$lists/sources.list"
    fi
    apt-get -q -o Dir::Etc::SourceList="$lists/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$lists/lists" -o Dir::Cache="$lists" -o APT::Sandbox::User= "$@"
}

# fetch_source NAME: its folder, in $source.
fetch_source()
{
    source=$cache/$1
    [ ! -e "$source/.whole" ] || return 0
    reason="Debian's source of $1 is not to be had"
    has apt-get && has dpkg-source && grep -q '^ID=debian' /etc/os-release || return 1
    rm -rf "$source"
    mkdir -p "$cache/get"
    (cd "$cache/get" && apt_own update && apt_own source --download-only "$1" &&
        dpkg-source --no-check -x "$1"_*.dsc "$source") || return 1
    touch "$source/.whole"
    reason=
}

needs()
{
    local tool
    for tool; do
        has "$tool" || {
            reason="there is no $tool"
            return 1
        }
    done
}

# --- redis: Debian's redis-server under the tests of its source ---

redis_units='unit/dump unit/auth unit/protocol unit/keyspace unit/scan unit/type/string
    unit/type/list unit/type/set unit/type/zset unit/type/hash unit/type/stream
    unit/sort unit/expire unit/other unit/multi unit/aofrw unit/acl unit/scripting
    unit/functions unit/bitops unit/geo unit/memefficiency unit/hyperloglog
    unit/lazyfree unit/tracking unit/querybuf unit/client-eviction integration/rdb
    integration/aof integration/corrupt-dump integration/logging
    integration/replication integration/redis-cli integration/psync2-reg'

prepare_redis()
{
    local tool
    needs tclsh redis-server redis-cli redis-benchmark redis-check-aof redis-check-rdb &&
        fetch_source redis || return
    for tool in server cli benchmark check-aof check-rdb; do
        ln -sf "$(command -v "redis-$tool")" "$source/src/redis-$tool"
    done
}

parts_redis()
{
    if [ -n "${SUITES_FULL:-}" ]; then
        (cd "$cache/redis" && tclsh tests/test_helper.tcl --list-tests)
    else
        # shellcheck disable=SC2086 # words
        printf '%s\n' $redis_units
    fi
}

# An [err] is told of its unit; an exception ends all others with its own, which are run again.
run_redis()
{
    local unit pending=("$@") rest arguments
    cp -r "$cache/redis/tests" "$cache/redis/src" "$cache/redis/redis.conf" "$cache/redis/utils" .
    while [ "${#pending[@]}" -gt 0 ]; do
        arguments=()
        for unit in "${pending[@]}"; do
            arguments+=(--single "$unit")
        done
        under 3000 tclsh tests/test_helper.tcl --clients "${SUITES_CLIENTS:-4}" \
            --baseport $((21000 + $$ % 40 * 1000)) --portcount 900 --dont-clean "${arguments[@]}" |
            sed 's/\x1b\[[0-9;]*m//g' >redis.log
        grep -a -A 3 '^\[err\]\|^\[exception\]' redis.log
        find tests/tmp -name stderr -exec cat {} +
        rm -rf tests/tmp/*
        sort_units "${pending[@]}"
        [ "${#rest[@]}" -lt "${#pending[@]}" ] || break
        pending=("${rest[@]}")
    done
    for unit in "${pending[@]}"; do
        echo "failed: $unit"
    done
}

# By redis.log tells which units failed, and leaves in $rest those that were not come to an end.
sort_units()
{
    local unit
    rest=()
    for unit; do
        if grep -aq "^\[err\].* in tests/$unit.tcl\|^ *(file \"tests/$unit.tcl\"" redis.log; then
            echo "failed: $unit"
        elif ! grep -aq "done\].*$unit (" redis.log; then
            rest+=("$unit")
        fi
    done
}

# --- sqlite3: Debian's source, whose test program is built here. Files that fail for root anyway
# are not among the chosen ones ---

sqlite3_files='alter analyze atomic attach2 autoindex1 backup bigrow blob boundary1 btree01
    cast check collate1 corrupt2 cost createtab1 date expr fkey1 fts3aa fts3rnd
    fts4aa func func3 hook in incrblob index insert intpkey join json101 like
    limit malloc malloc3 malloc5 mallocA memdb memsubsys1 mmap1 notnull pragma
    quote regexp1 reindex rowid savepoint select1 select4 select6 shared sort
    sort2 speed1 subquery thread001 thread1 threadtest3 tkt-02a8e81d44 trace trans
    trigger1 update upsert1 vacuum view vtab1 wal walthread where window1 with1
    zeroblob'

prepare_sqlite3()
{
    needs gcc make tclsh && fetch_source sqlite3 || return
    [ ! -x "$source/testfixture" ] || return 0
    reason="its test program could not be built"
    (cd "$source" && ./configure --disable-shared && make -j2 testfixture sqlite3.c) || return
    reason=
}

parts_sqlite3()
{
    if [ -n "${SUITES_FULL:-}" ]; then
        (cd "$cache/sqlite3/test" && ls ./*.test) | sed 's|^./||; s/.test$//' |
            grep -Ev '^(all|permutations|veryquick|quick|full|extraquick|mallocAll|soak)$' |
            grep -Ev '^(rtree|fts3|session|memleak|valgrind|async|fuzz_malloc|crash.*|big.*)$'
    else
        local file
        for file in $sqlite3_files; do
            [ ! -e "$cache/sqlite3/test/$file.test" ] || echo "$file"
        done
    fi
}

run_sqlite3()
{
    local file
    for file; do
        if under 900 "$cache/sqlite3/testfixture" "$cache/sqlite3/test/$file.test" >file.log 2>&1 &&
            grep -q '^0 errors out of' file.log; then
            grep -a 'hpmalloc: ' file.log
        else
            tail -n 20 file.log
            echo "failed: $file"
        fi
        rm -rf ./test* 
    done
}

# --- python3: Debian's, with libpython3-testsuite, in a folder of its own, where all is of one
# version and found by itself: some of the modules run python isolated from what variables say.
# test_sysconfig is not among them: it looks for the header and the Makefile to build modules with ---

python3_modules='array ast asyncio atexit audit bigmem binascii bool buffer builtin bytes bz2
    c_locale_coercion capi class codecs collections compile complex
    concurrent_futures copy coroutines csv ctypes dbm decimal defaultdict deque
    descr dict dictviews difflib embed enumerate exceptions faulthandler float fork1
    format fstring functools gc generators genexps grammar hashlib heapq
    http_cookies import inspect int io itertools json list locale long lzma marshal
    math memoryio memoryview mmap multiprocessing_fork
    numeric_tower opcodes ordered_dict os pickle posix pyexpat queue random range re
    readline sax select selectors set shelve shutil signal slice socket sort sqlite3
    ssl str strftime string struct subprocess super sys tarfile tempfile thread
    threading threadsignals time traceback tracemalloc tuple types unicode urllib
    uuid weakref weakset xml_etree xml_etree_c yield_from zipfile zlib'

prepare_python3()
{
    local folder=$cache/python3 version
    version=$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    python=$folder/bin/$version
    [ ! -e "$folder/.whole" ] || return 0
    reason="Debian's libpython3-testsuite is not to be had"
    has apt-get && has dpkg-deb && grep -q '^ID=debian' /etc/os-release || return 1
    rm -rf "$folder"
    mkdir -p "$folder" "$cache/get"
    (cd "$cache/get" && apt_own update && unpack_into "$folder" "$version-minimal" \
        "lib$version-minimal" "lib$version-stdlib" "lib$version-testsuite") || return
    touch "$folder/.whole"
    reason=
}

# unpack_into FOLDER PACKAGE...
unpack_into()
{
    local folder=$1 package
    for package in "${@:2}"; do
        apt_own download "$package" && dpkg-deb --fsys-tarfile "$package"_*.deb |
            tar -x -C "$folder" --strip-components=2 ./usr || return
    done
}

parts_python3()
{
    local module folder
    folder=$("$python" -c 'import os; print(os.path.dirname(os.__file__))')
    for module in $python3_modules; do
        [ ! -e "$folder/test/test_$module.py" ] && [ ! -e "$folder/test/test_$module" ] ||
            echo "test_$module"
    done
}

run_python3()
{
    local module
    under 3000 PYTHONDONTWRITEBYTECODE=1 "$python" -m test -j2 --timeout 1800 -i "*VSOCK*" "$@" \
        >python.log 2>&1 # a virtual machine may have no other end of VSOCK
    for module; do
        grep -Eaq "\] $module (passed|skipped)" python.log || echo "failed: $module"
    done
    grep -aEv '^[0-9:]+ load avg: .* (passed|running)' python.log
}

# --- postgres: initdb, then pgbench with its tables ---

prepare_postgres()
{
    local folder
    for folder in /usr/lib/postgresql/*/bin; do
        PATH=$folder:$PATH
    done
    needs initdb postgres pgbench psql setpriv
    as_somebody=()
    if [ "$(id -u)" = 0 ]; then
        reason="there is no user postgres, and it does not run as root"
        id postgres || return
        reason=
        as_somebody=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    fi
}

parts_postgres()
{
    printf '%s\n' initdb simple prepared queries shutdown
}

# client SECONDS COMMAND...: over the socket in this folder.
client()
{
    local seconds=$1 tool=$2
    shift 2
    timeout "$seconds" "${as_somebody[@]}" "$tool" -h "$PWD" "$@" postgres
}

no_transaction_failed()
{
    "$@" >pgbench.log 2>&1 && grep -q 'failed transactions: 0 ' pgbench.log &&
        ! grep ERROR pgbench.log
}

start_postgres()
{
    under 1800 "${as_somebody[@]}" postgres -D data -k "$PWD" -h '' -c fsync=off \
        -c shared_buffers=16MB -c autovacuum_naptime=1s >server.log 2>&1 &
    server=$!
    wait_until 60 client 5 psql -c 'select 1'
}

all_queries_answer()
{
    client 300 psql -v ON_ERROR_STOP=1 -qAt -c "create table t as select i, md5(i::text) as name,
            jsonb_build_object('a', i, 'b', array[i, i + 1]) as j
            from generate_series(1, 60000) i" \
        -c 'create index on t using gin (j)' -c 'create index on t (name)' -c 'analyze t' &&
        is "$(client 300 psql -qAt -c "select count(*), sum(length(name)), max(j->>'a') from t
            where j @> '{\"b\": [77]}' or name like 'a%'")" "$1" &&
        client 300 psql -v ON_ERROR_STOP=1 -qAt -c 'vacuum full t' -c 'drop table t'
}

run_postgres()
{
    under 600 "${as_somebody[@]}" initdb -D data -A trust -E UTF8 --no-locale --no-sync || {
        printf 'failed: %s\n' "$@"
        return
    }
    start_postgres || echo "failed: initdb"
    client 300 pgbench -i -q -s 3 || echo "failed: initdb"
    no_transaction_failed client 300 pgbench -c 8 -j 2 -t 500 || echo "failed: simple"
    no_transaction_failed client 300 pgbench -c 8 -j 2 -t 500 -M prepared || echo "failed: prepared"
    all_queries_answer "3696|118272|9990" || echo "failed: queries"
    kill -INT "$(head -n 1 data/postmaster.pid)"
    wait "$server" || echo "failed: shutdown"
    cat pgbench.log server.log
    ! grep -aE 'terminated by signal|PANIC' server.log || echo "failed: shutdown"
}

# --- nginx under wrk, reloaded meanwhile ---

prepare_nginx()
{
    needs nginx wrk
}

parts_nginx()
{
    printf '%s\n' pages reload end
}

configure_nginx()
{
    mkdir -p pages
    local i
    for i in $(seq 50); do
        seq "$i" $((i * 200)) >"pages/$i.txt"
        echo "<!--#include virtual=\"$i.txt\" -->" >>pages/index.html
    done
    cat >nginx.conf <<CONF
daemon off; worker_processes 2; error_log stderr error; pid $PWD/pid;
$([ "$(id -u)" != 0 ] || echo "user root;")
events { worker_connections 256; }
http {
    access_log off; gzip on; gzip_types *; gzip_min_length 100;
    client_body_temp_path $PWD/body; proxy_temp_path $PWD/proxy; fastcgi_temp_path $PWD/fastcgi;
    uwsgi_temp_path $PWD/uwsgi; scgi_temp_path $PWD/scgi;
    server { listen 127.0.0.1:$1; root $PWD/pages; ssi on; ssi_types *; }
}
CONF
}

# load_nginx PORT [OPTION...]
load_nginx()
{
    timeout 60 wrk -t 2 -c 16 -d "${SUITES_WRK:-5}" -H 'Accept-Encoding: gzip' --timeout 20 \
        "${@:2}" "http://127.0.0.1:$1/index.html" >wrk.log 2>&1
    cat wrk.log
    grep -Eq '^ *[1-9][0-9]* requests in' wrk.log && ! grep -E 'Non-2xx|Socket errors' wrk.log
}

run_nginx()
{
    local port=$((19000 + $$ % 900)) server
    configure_nginx "$port"
    under 300 nginx -p "$PWD" -c "$PWD/nginx.conf" -e stderr >server.log 2>&1 &
    server=$!
    wait_until 20 test -s pid
    load_nginx "$port" || echo "failed: pages"
    # A worker that ends closes idle connections, on which a request may just be under way.
    (sleep 1 && kill -HUP "$(cat pid)") &
    load_nginx "$port" -H 'Connection: close' || echo "failed: reload"
    kill -QUIT "$(cat pid)"
    wait "$server" || echo "failed: end"
    cat server.log
    ! grep -aE 'exited on signal|alert' server.log || echo "failed: end"
}

# --- node, java and gcc: one program each ---

prepare_node()
{
    needs node
}

parts_node()
{
    find "$here/suites" -name '*.js'
}

run_node()
{
    local script
    for script; do
        under 300 node "$script" || echo "failed: $script"
    done
}

prepare_java()
{
    needs java
    java --list-modules | grep -q '^jdk.compiler@' || {
        reason="this java has no compiler"
        return 1
    }
}

parts_java()
{
    find "$here/suites" -name '*.java'
}

run_java()
{
    local program
    for program; do
        under 600 java -Xmx256m "$program" || echo "failed: $program"
    done
}

prepare_gcc()
{
    needs gcc && prepare_sqlite3
}

parts_gcc()
{
    echo sqlite3.c
}

# Compiled twice, once without us, a file is the same.
run_gcc()
{
    [ -e "$work/plain.o" ] || timeout 1200 gcc -O1 -g -c -o "$work/plain.o" "$cache/sqlite3/$1"
    under 1800 gcc -O1 -g -c -o ours.o "$cache/sqlite3/$1" && cmp "$work/plain.o" ours.o ||
        echo "failed: $1"
}
