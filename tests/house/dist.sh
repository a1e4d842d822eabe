#!/bin/bash
# `make dist` packs all that building takes, and what is built from it is the same wherever and
# whenever it is built.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/../preload/common.bash"

[ -e "$top_builddir/Makefile" ] && has make && has xz || skip_all "there is no Makefile, make or xz"

quiet_make()
{
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make --no-print-directory "$@"
}

packed()
{
    quiet_make -C "$top_builddir" distdir distdir="$work/hpmalloc"
}

# built FOLDER CONFIGURE: as a packager would, with the same prefix.
built()
{
    cd "$1" && "$2" -q --prefix=/usr && quiet_make -j 2 libhpmalloc.la hpprof
}

first=$work/a
second=$work/another-folder/of_another_length

first_builds()
{
    mkdir -p "$first" && cp -rp "$work/hpmalloc/." "$first" &&
        (export AUTOCONF=false AUTOMAKE=false ACLOCAL=false && built "$first" ./configure)
}

# Out of the tree, at another time, under another name, and with other rights.
second_builds()
{
    mkdir -p "$second/source" "$second/build" && cp -rp "$work/hpmalloc/." "$second/source" &&
        (umask 077 && TZ=Asia/Tokyo && export TZ && built "$second/build" ../source/configure)
}

# same FILE
same()
{
    cmp "$first/$1" "$second/build/$1"
}

names_no_folder()
{
    ! grep -l "$work" "$second/build/.libs/libhpmalloc.so" "$first/.libs/libhpmalloc.a"
}

check "the tarball's files are gathered" packed
check "they build where they lie, without autotools" first_builds
check "they build elsewhere, out of their tree" second_builds
check "both shared libraries are the same, byte for byte" same .libs/libhpmalloc.so
check "both archives are the same" same .libs/libhpmalloc.a
check "both tools are the same" same hpprof
check "neither names the folder it was built in" names_no_folder
finish
