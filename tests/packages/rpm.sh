#!/bin/bash
# The packages that rpmbuild makes of the tarball: what is in them, and that the tool in them runs.
# shellcheck source=tests/packages/packages.bash
. "$(dirname "$0")/packages.bash"

has rpmbuild && has rpm && has rpm2archive && [ -e "$top_builddir/Makefile" ] && has make ||
    skip_all "there is no rpmbuild or no Makefile"
version=$(sed -n 's/^PACKAGE_VERSION = //p' "$top_builddir/Makefile")
name=hpmalloc-$version

packs()
{
    quiet_make -C "$top_builddir" distdir distdir="$work/$name" &&
        (cd "$work" && tar cJf "$name.tar.xz" "$name")
}

# Without looking for what it needs: that is asked of a data base that Debian's systems have not.
builds()
{
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u top_srcdir -u top_builddir -u CC -u CXX -u HPM_COMPILE \
        rpmbuild -tb --nodeps --define "_topdir $work/rpm" "$work/$name.tar.xz" >"$work/log" 2>&1 || {
        tail -n 20 "$work/log"
        return 1
    }
}

# holds PACKAGE FILE...: the package has them all, by the end of their names.
holds()
{
    local file package
    package=$(find "$work/rpm/RPMS" -name "$1-$version-*.rpm")
    rpm -qlp "$package" >"$work/list" || return
    cat "$work/list"
    shift
    for file; do
        grep -q "/$file\$" "$work/list" || {
            echo "there is no $file"
            return 1
        }
    done
}

runs()
{
    local package
    mkdir "$work/root" && for package in $(find "$work/rpm/RPMS" -name '*.rpm'); do
        rpm2archive - <"$package" | tar xz -C "$work/root" || return
    done
    library=$(find "$work/root" -name 'libhpmalloc.so.0')
    is "$(timeout 20 "$work/root/usr/bin/hpprof" run --library "$library" -- echo works)" works
}

check "the tarball is packed" packs
check "rpmbuild -tb builds the packages, and their tests pass" builds
check "the library's package" holds hpmalloc libhpmalloc.so.0
check "the compat library's package" holds hpmalloc-compat libhpmalloc_compat.so.0
check "the development package" holds hpmalloc-devel hpmalloc.h hpmalloc_compat.h libhpmalloc.so \
    hpmalloc.pc hpmalloc-config.cmake 'hpmalloc.3.*'
check "the archives' package" holds hpmalloc-static libhpmalloc.a libhpmalloc_compat.a
check "the tool's package" holds hpprof bin/hpprof 'hpprof.1.*'
check "the packed tool runs a program under the packed library" runs
finish
