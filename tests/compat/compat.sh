#!/bin/bash
# Programs written for gperftools, jemalloc and mimalloc run unchanged over libhpmalloc_compat: linked,
# by LD_PRELOAD, static. Their profiles are read by go tool pprof and by hpprof.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"

cc=${CC:-cc}
libs=$(dirname "$library")
compat=$libs/libhpmalloc_compat.so
hpprof=$top_builddir/hpprof
HPM_LIBS=${HPM_LIBS:-}
# The programs' interval is so wide that few samples come; what they check is not their number.
export HPMALLOC_SAMPLE_BUDGET=off
[ -e "$compat" ] && has "$cc" || skip_all "there is no $compat, or no compiler"

# built PROGRAM OUTPUT FLAGS...
built()
{
    local program=$1 output=$work/$2
    shift 2
    "$cc" -std=gnu11 -O2 -g -Wall -Wextra -fno-builtin -o "$output" \
        "$top_srcdir/tests/compat/${program}_program.c" "$@"
}

# passes COMMAND...: in a folder of its own, where the profiles go.
passes()
{
    rm -rf "$work/run" && mkdir "$work/run" && timeout 60 "$@" "$work/run/profile"
}

passes_linked()
{
    passes env LD_LIBRARY_PATH="$libs" "$@"
}

# Bound to this library alone; where malloc went in spite of that, the loader tells.
malloc_is_ours()
{
    LD_LIBRARY_PATH=$libs LD_DEBUG=bindings "$@" "$work/run/other" >"$work/bindings" 2>&1
    grep "binding file .*\[0\] to .*/libhpmalloc\.so.*normal symbol .\(malloc\|free\)'" "$work/bindings" &&
        ! grep "binding file .*\[0\] to .*/libc\.so.*normal symbol .\(malloc\|free\)'" "$work/bindings"
}

readable_by_hpprof()
{
    "$hpprof" top "$1" --json >"$work/top.json" && "$hpprof" top "$1" && grep -w hoard "$work/top.json"
}

# readable_by_pprof FILE PROGRAM MEGABYTES: the first digits
readable_by_pprof()
{
    go tool pprof -top -sample_index=inuse_space "$work/$2" "$1" | tee "$work/top" &&
        grep -E "^ *$3 .* hoard$" "$work/top"
}

# profiled PROGRAM BINARY FILE MEGABYTES
profiled()
{
    check "hpprof reads its profile: $1" readable_by_hpprof "$3"
    if has go; then
        check "go tool pprof reads its profile: $1" readable_by_pprof "$3" "$2" "$4"
    else
        skip "go tool pprof reads its profile: $1" "there is no go"
    fi
}

# tried PROGRAM FILE MEGABYTES: with the file its profile is in, where it makes one.
tried()
{
    local program=$1
    check "it builds without any library: $program" built "$program" "$program"
    check "it runs with libhpmalloc_compat preloaded: $program" passes env LD_PRELOAD="$compat" \
        LD_LIBRARY_PATH="$libs" HPMALLOC_SAMPLE_INTERVAL="$interval" "$work/$program"
    [ -z "$2" ] || profiled "$program" "$program" "$work/run/$2" "$3"
    check "it runs with both preloaded: $program" passes env LD_PRELOAD="$library $compat" "$work/$program"
    check "it links: $program" built "$program" "$program-linked" -DWEAK= "-L$libs" -lhpmalloc_compat -lhpmalloc
    check "it runs linked: $program" passes_linked "$work/$program-linked"
    check "it links with libhpmalloc_compat alone: $program" built "$program" "$program-alone" -DWEAK= \
        "-L$libs" -lhpmalloc_compat "-Wl,-rpath-link,$libs"
    check "it runs so: $program" passes_linked HPMALLOC_SAMPLE_INTERVAL="$interval" "$work/$program-alone"
    [ -z "$2" ] || profiled "$program, linked" "$program-alone" "$work/run/$2" "$3"
    check "malloc is the library's: $program" malloc_is_ours "$work/$program-alone"
    # shellcheck disable=SC2086
    check "it links into one static program: $program" built "$program" "$program-static" -DWEAK= \
        -static "$libs/libhpmalloc_compat.a" "$libs/libhpmalloc.a" -lpthread $HPM_LIBS
    check "it runs static: $program" passes "$work/$program-static"
}

# What hoard() took, 8,000 objects of 1,024 bytes, is 7.81 MB; the other's last profile is of half of it.
# At 4 KiB these bounds are four standard errors; pprof writes 4MB for 4.00. jemalloc's program sets its interval itself, and asks
# what it was.
interval=4k
tried gperftools profile.0001.heap '(3\.[4-9].*|4|4\.[0-3].*)MB'
interval=512k
tried jemalloc profile '(6\.9.*|[78]|7\..*|8\.[0-4].*)MB'
tried mimalloc '' ''

builds_with_its_header()
{
    "$cc" -std=gnu11 -O2 -Wall -Wextra -fno-builtin "-I$top_srcdir/compat" -o "$work/names" \
        "$top_srcdir/tests/compat/names_program.c" "-L$libs" -lhpmalloc_compat -lhpmalloc
}
check "the header of libhpmalloc_compat declares what its library has" builds_with_its_header
check "every name of it does what the manual says" passes_linked "$work/names"

last_profile_of_gperftools_is_at_exit()
{
    passes env LD_PRELOAD="$compat" LD_LIBRARY_PATH="$libs" "$work/gperftools" &&
        is "$(ls -A "$work/run")" "$(printf 'profile.000%s.heap\n' 1 2)" &&
        is "$(stat -c %a "$work/run/profile.0001.heap")" 600
}
check "a running profiler leaves a last file at exit, and none besides" last_profile_of_gperftools_is_at_exit

a_link_is_replaced_not_followed()
{
    echo precious >"$work/precious"
    rm -rf "$work/run" && mkdir "$work/run" && ln -s "$work/precious" "$work/run/profile"
    LD_PRELOAD="$library $compat" timeout 60 "$work/jemalloc" "$work/run/profile" &&
        is "$(cat "$work/precious")" precious && [ ! -L "$work/run/profile" ]
}
check "a file that is a link is replaced, not written through" a_link_is_replaced_not_followed

says_what_it_could_not()
{
    LD_PRELOAD="$library $compat" timeout 60 "$work/gperftools" "$work/nowhere/profile" 2>"$work/errors"
    is "$(sort -u "$work/errors")" "hpmalloc: HeapProfilerDump: no profile $work/nowhere/profile.0001.heap: No such file or directory"
}
check "a dump that fails says so in a line" says_what_it_could_not

# redis-server as Debian builds it is such a program: it asks jemalloc for statistics, and to purge.
ask()
{
    timeout 20 redis-cli -s "$work/redis.sock" "$@"
}

redis_asks_us()
{
    env LD_PRELOAD="$compat" LD_LIBRARY_PATH="$libs" redis-server --port 0 --unixsocket "$work/redis.sock" \
        --save '' --appendonly no --daemonize no >"$work/server.log" 2>&1 &
    children+=("$!")
    wait_until 10 ask PING || return
    ask DEBUG POPULATE 10000 key 1000 || ask SET key value
    ask INFO memory >"$work/memory"
    cat "$work/memory" "$work/server.log"
    local allocated active resident
    allocated=$(sed -n 's/^allocator_allocated:\([0-9]*\).*/\1/p' "$work/memory")
    active=$(sed -n 's/^allocator_active:\([0-9]*\).*/\1/p' "$work/memory")
    resident=$(sed -n 's/^allocator_resident:\([0-9]*\).*/\1/p' "$work/memory")
    [ "$allocated" -gt 500000 ] && [ "$active" -ge "$allocated" ] && [ "$resident" -ge "$active" ] &&
        is "$(ask MEMORY PURGE)" OK
}
if has redis-server && has redis-cli && readelf --dyn-syms -W "$(command -v redis-server)" | grep -q ' mallctl$'; then
    check "redis-server, which was built for jemalloc, has its answers from us" redis_asks_us
else
    skip "redis-server, which was built for jemalloc, has its answers from us" "there is no such redis-server"
fi

# All of the library and this, for another C library; but operator new, which wants one of C++.
musl_compiles()
{
    mkdir "$work/musl" && cd "$work/musl" &&
        find "$top_srcdir/src" "$top_srcdir/compat" -name '*.c' ! -name cxx.c -print0 |
        xargs -0 musl-gcc -std=gnu11 -O1 -Wall -fno-builtin -pthread -DHPM_REPLACE -I"$top_srcdir/src" \
            -I"$top_srcdir/include" -idirafter /usr/include \
            -idirafter "/usr/include/$("$cc" -print-multiarch 2>/dev/null)" -c
}

musl_runs()
{
    musl-gcc -std=gnu11 -O1 -static -fno-builtin -pthread -DWEAK= -o "$work/$1-musl" \
        "$top_srcdir/tests/compat/$1_program.c" "$work"/musl/*.o && passes "$work/$1-musl"
}

if [ -n "${COMPAT_LONG-}" ] && has musl-gcc; then
    check "library and compat compile for musl" musl_compiles
    for program in gperftools jemalloc mimalloc; do
        check "it runs with musl: $program" musl_runs "$program"
    done
else
    skip "they run with musl" "there is no musl-gcc, or COMPAT_LONG is not set"
fi
finish
