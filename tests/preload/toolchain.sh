#!/bin/bash
# What the compiler at hand makes: programs that know nothing of the library have it preloaded or
# linked, in each way of linking and with each C++ library there is. Their objects are the library's,
# their exceptions are caught, and their profile names the function that allocated.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

cc=${CC:-cc}
cxx=${CXX:-no}
archive=$top_builddir/.libs/libhpmalloc.a

cat >"$work/program.c" <<'END'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static void *volatile kept[4000];
__attribute__((noinline)) void hold_memory(int from)
{
    for (int i = from; i < from + 1000; i++)
        kept[i] = malloc(1000);
    __asm__ volatile("");
}
static void *work(void *from)
{
    hold_memory(*(int *)from);
    return NULL;
}
int main(void)
{
    static int starts[] = {1000, 2000, 3000};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, work, &starts[i]);
    hold_memory(0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    char *text = strdup("done");
    for (int i = 0; i < 4000; i += 3)
        kept[i] = realloc(kept[i], 3000);
    puts(text);
    free(text);
    return 0;
}
END

cat >"$work/program.cc" <<'END'
#include <cstdio>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
struct alignas(128) Wide { char bytes[128]; };
static auto &kept = *new std::map<int, std::string>; // to the end, and beyond
static volatile std::size_t impossible = std::size_t{1} << 60;
static int asked = 0;
__attribute__((noinline)) void hold_memory(int from)
{
    for (int i = from; i < from + 2000; i++)
        kept[i] = std::string(1000, 'x');
    __asm__ volatile("");
}
static bool throws_bad_alloc()
{
    std::set_new_handler([] { asked++; std::set_new_handler(nullptr); });
    try {
        char *volatile block = new char[impossible]; // volatile: else it need not be asked for
        delete[] block;
    } catch (const std::bad_alloc &) {
        return asked == 1;
    }
    return false;
}
int main()
{
    std::thread other(hold_memory, 0);
    other.join();
    hold_memory(2000);
    std::vector<std::unique_ptr<Wide>> wide;
    for (int i = 0; i < 100; i++) {
        wide.push_back(std::make_unique<Wide>());
        if (reinterpret_cast<std::size_t>(wide.back().get()) % 128 != 0)
            return 1;
    }
    try {
        throw std::runtime_error(std::string(500, 'y'));
    } catch (const std::exception &error) {
        if (std::string(error.what()).size() != 500)
            return 2;
    }
    if (!throws_bad_alloc())
        return 3;
    std::puts("done");
    return 0;
}
END

echo 'int main(void) { return 0; }' >"$work/nothing.c"
echo '#include <string>
int main() { return std::string(100, 0).size() != 100; }' >"$work/nothing.cc"

# compiled OUTPUT SOURCE FLAG...
compiled()
{
    local output=$1 source=$2 compiler=$cc
    shift 2
    [ "${source##*.}" = cc ] && compiler="$cxx -std=c++17"
    # shellcheck disable=SC2086
    $compiler -O2 -g -fno-builtin-malloc -o "$output" "$source" "$@" -pthread
}

# profiled PROGRAM VARIABLE=VALUE...: it ends well, and its profile names the function.
profiled()
{
    local program=$1
    shift
    rm -f "$work"/dump*
    timeout 120 env "$@" HPMALLOC_DUMP_AT_EXIT=1 HPMALLOC_DUMP_FORMAT=text HPMALLOC_SYMBOLIZE=on \
        HPMALLOC_DUMP_PATH="$work/dump" HPMALLOC_SAMPLE_INTERVAL=16k "$program" >"$work/said" 2>"$work/errors"
    local status=$?
    cat "$work/said" "$work/errors"
    [ $status = 0 ] && is "$(cat "$work/said")" "done" && grep -q hold_memory "$work/dump.txt" ||
        { echo "status $status"; head -n 40 "$work/dump.txt"; return 1; }
}

# made SOURCE FLAG...: by this toolchain, all by itself.
made()
{
    compiled "$work/nothing" "$work/nothing.${1##*.}" "${@:2}" >/dev/null 2>&1
}

# way LANGUAGE NAME FLAG...: a way to link
way()
{
    local source=$work/program.$1 name=$2
    shift 2
    if ! made "$source" "$@"; then
        skip "$name" "this compiler does not link so"
        return
    fi
    if [[ " $* " != *" -static"* ]]; then
        check "a program is compiled: $name" compiled "$work/program" "$source" "$@"
        check "preloaded: $name" profiled "$work/program" LD_PRELOAD="$library"
        check "linked: $name" linked "$source" "$@" -L"$top_builddir/.libs" -lhpmalloc -Wl,-rpath,"$top_builddir/.libs"
    elif [ ! -e "$archive" ]; then
        skip "linked: $name" "there is no $archive"
        return
    fi
    [ -e "$archive" ] && check "linked with the archive: $name" linked "$source" "$@" "$archive"
}

linked()
{
    # shellcheck disable=SC2086
    compiled "$work/linked" "$@" ${HPM_LIBS-} && profiled "$work/linked"
}

way c "C"
way c "C, -flto" -flto
way c "C, -static" -static
way c "C, -static-pie" -static-pie
way c "C, -static -flto" -static -flto
way c "C, -no-pie" -no-pie
if [ "$cxx" = no ]; then
    skip "C++" "there is no C++ compiler"
else
    way cc "C++"
    way cc "C++, -static" -static
    way cc "C++, -static-pie" -static-pie
    way cc "C++, -flto" -flto
    case $cxx in
    *libc++*) ;;
    *clang*)
        way cc "C++ with libc++" -stdlib=libc++
        way cc "C++ with libc++, -static" -stdlib=libc++ -static
        ;;
    esac
fi
finish
