#!/bin/bash
# What `make install` leaves, and that programs can be built with it.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

[ -e "$top_builddir/Makefile" ] && has make && has "${CC:-cc}" ||
    skip_all "there is nothing to install from, or no compiler"

root=$work/root
prefix=$(sed -n 's/^prefix = //p' "$top_builddir/Makefile")
lib=$(sed -n 's/^libdir = //p' "$top_builddir/Makefile")
lib=${lib/'${exec_prefix}'/$prefix}

install_all()
{
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "$top_builddir" install DESTDIR="$root"
}

all_is_there()
{
    local file
    for file in "$lib/libhpmalloc.so" "$lib/libhpmalloc.so.0" "$lib/libhpmalloc.a" \
        "$lib/pkgconfig/hpmalloc.pc" "$lib/libhpmalloc_compat.so.0" "$lib/pkgconfig/hpmalloc_compat.pc" \
        "$prefix/include/hpmalloc_compat.h" "$prefix/share/man/man3/hpmalloc_compat.3" "$lib/cmake/hpmalloc/hpmalloc-config.cmake" \
        "$lib/cmake/hpmalloc/hpmalloc-config-version.cmake" "$prefix/include/hpmalloc.h" \
        "$prefix/bin/hpprof" "$prefix/share/man/man1/hpprof.1" "$prefix/share/man/man3/hpmalloc.3"; do
        [ -e "$root$file" ] || {
            echo "there is no $file"
            return 1
        }
    done
}

needs_libc_only()
{
    readelf -d "$root$lib/libhpmalloc.so" | grep NEEDED |
        grep -Ev '\[(libc\.so\.6|libpthread\.so\.0|libdl\.so\.2|ld-.*|libc\.musl.*|libunwind\.so.*)\]'
    is "${PIPESTATUS[2]}" 1
}

cat >"$work/program.cpp" <<'END'
#include <hpmalloc.h>
#include <iostream>
#include <new>
#include <thread>
#include <vector>
int main(int, char **arguments)
{
    std::vector<std::vector<std::string>> kept(4);
    std::vector<std::thread> threads;
    for (auto &k : kept)
        threads.emplace_back([&k] { for (int i = 0; i < 2000; i++) k.emplace_back(1000, 'x'); });
    for (auto &t : threads)
        t.join();
    bool thrown = false;
    try {
        volatile size_t bytes = ~size_t(0) / 4;
        delete[] new char[bytes];
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    std::cout << thrown << ' ' << hpm_profile_dump(HPM_PROFILE_HEAP, HPM_FORMAT_TEXT, arguments[1]) << '\n';
}
END

# The installed paths begin with the prefix, and the files lie under another root.
flags()
{
    flags_of hpmalloc "$@"
}

flags_of()
{
    PKG_CONFIG_PATH=$root$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root pkg-config "${@:2}" "$1"
}

runs_and_dumps()
{
    local expected=$1
    shift
    rm -f "$work/program.txt"
    is "$(LD_LIBRARY_PATH=$root$lib HPMALLOC_SAMPLE_INTERVAL=16k timeout 20 "$work/program" "$work/program.txt" 2>/dev/null)" \
        "$expected" && grep '^ *1\. ' "$work/program.txt"
}

# pkg-config's words are meant to be split.
# shellcheck disable=SC2046
pkg_config_links_it()
{
    "${CC:-cc}" -o "$work/program" "$top_srcdir/tests/consumer/program.c" $(flags --cflags --libs) &&
        runs_and_dumps "$(flags --modversion) 0" && ldd "$work/program" | grep -q libhpmalloc
}

# shellcheck disable=SC2046
pkg_config_links_compat()
{
    "${CC:-cc}" -DWEAK= -o "$work/program" "$top_srcdir/tests/compat/mimalloc_program.c" \
        $(flags_of hpmalloc_compat --cflags --libs) && LD_LIBRARY_PATH=$root$lib timeout 20 "$work/program"
}

is_static()
{
    ! readelf -l "$work/program" | grep INTERP
}

# shellcheck disable=SC2046
a_static_program_of_c()
{
    "${CC:-cc}" -static -o "$work/program" "$top_srcdir/tests/consumer/program.c" $(flags --cflags) \
        "$root$lib/libhpmalloc.a" -lpthread && is_static &&
        runs_and_dumps "$(flags --modversion) 0"
}

# shellcheck disable=SC2046
a_static_program_of_cpp()
{
    "${CXX:-c++}" -static -o "$work/program" "$work/program.cpp" $(flags --cflags) \
        "$root$lib/libhpmalloc.a" -lpthread && is_static && runs_and_dumps "1 0"
}

# consumed KIND: the program that a build system made in $work/KIND.
consumed()
{
    cp "$1" "$work/program" && runs_and_dumps "$(flags --modversion) 0" &&
        case $1 in
        */shared) readelf -d "$work/program" | grep 'libhpmalloc\.so\.0' ;;
        *) ! readelf -d "$work/program" | grep libhpmalloc && nm "$work/program" | grep ' T hpm_malloc$' ;;
        esac
}

cmake_project_builds()
{
    cmake -S "$top_srcdir/tests/consumer" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$root$prefix" \
        -Dhpmalloc_DIR="$root$lib/cmake/hpmalloc" && cmake --build "$work/cmake"
}

meson_project_builds()
{
    PKG_CONFIG_PATH=$root$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root \
        meson setup "$work/meson" "$top_srcdir/tests/consumer" && ninja -C "$work/meson"
}

# consumer NAME PROGRAM BUILD
consumer()
{
    has "$2" || {
        skip "a project of $1 builds with the installed package" "there is no $2"
        return
    }
    check "a project of $1 builds with the installed package" "$3"
    check "its shared program runs and dumps: $1" consumed "$work/$2/shared"
    check "its program with the library inside runs and dumps: $1" consumed "$work/$2/static"
}

static_flags_bring_all()
{
    local words
    words=" $(flags --static --libs) "
    [[ $words == *" -lhpmalloc "* && $words == *" -lpthread "* ]] || is "$words" "-lhpmalloc -lpthread"
}

installed_hpprof_finds_its_library()
{
    timeout 20 "$root$prefix/bin/hpprof" run cat /proc/self/maps | grep "$root$lib/libhpmalloc.so"
}

check "make install works" install_all
check "everything is where packages look for it" all_is_there
if has readelf; then
    check "the library needs the C library only" needs_libc_only
else
    skip "the library needs the C library only" "there is no readelf"
fi
if has pkg-config; then
    check "a program built by pkg-config's flags runs and dumps" pkg_config_links_it
    check "a program for mimalloc links with the compat library by pkg-config's flags" pkg_config_links_compat
    check "pkg-config --static names what an archive needs" static_flags_bring_all
    check "a static program of C runs and dumps" a_static_program_of_c
    check "a static program of C++ runs, throws and dumps" a_static_program_of_cpp
else
    skip "a program built by pkg-config's flags runs and dumps" "there is no pkg-config"
fi
consumer CMake cmake cmake_project_builds
! has cmake || check "a program for mimalloc runs, linked by CMake" env LD_LIBRARY_PATH="$root$lib" "$work/cmake/compat"
consumer Meson meson meson_project_builds
check "the installed hpprof finds the installed library" installed_hpprof_finds_its_library
finish
