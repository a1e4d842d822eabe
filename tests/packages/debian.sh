#!/bin/bash
# Debian's packages: built from a clean clone, looked at by lintian, installed into a fresh system, tried
# there, and purged without a trace.
# shellcheck source=tests/packages/packages.bash
. "$(dirname "$0")/packages.bash"

has dpkg-buildpackage && has dh && has autoreconf || skip_all "there is no dpkg-buildpackage, dh or autoreconf"
top=$work/build
root=$work/root

builds()
{
    cd "$top/source" && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u top_srcdir -u top_builddir \
        -u CC -u CXX -u HPM_COMPILE DEB_BUILD_OPTIONS=parallel=2 dpkg-buildpackage -us -uc -b >"$work/log" 2>&1 || {
        tail -n 20 "$work/log"
        return 1
    }
}

are_all()
{
    is "$(cd "$top" && find . -name '*.deb' ! -name '*dbgsym*' | sed 's/_.*//' | sort | tr '\n' ' ')" \
        "./hpprof ./libhpmalloc-compat0 ./libhpmalloc-dev ./libhpmalloc0 "
}

lintian_is_content()
{
    lintian --fail-on error,warning "$top"/*.changes
}

# The system as it is now: names of files, but those of what is running and apt's notes, and dpkg's own list.
listed()
{
    (cd "$root" && find . -xdev \( -path ./proc -o -path ./tmp -o -path ./var/log -o -path ./var/cache \
        -o -path ./var/lib/apt \) -prune -o -print | sort && chroot . dpkg -l)
}

fresh_system()
{
    debootstrap --variant=minbase "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root" >"$work/log" 2>&1
}

inside()
{
    env -u TMPDIR unshare --mount --pid --fork chroot "$root" sh -c "mount -t proc proc /proc && $1"
}

installs()
{
    listed >"$work/before" && mkdir "$root/tmp/debs" &&
        find "$top" -name '*.deb' ! -name '*dbgsym*' -exec cp -t "$root/tmp/debs" {} + &&
        inside 'cd /tmp/debs && apt-get install -y ./libhpmalloc*.deb ./hpprof*.deb'
}

works_inside()
{
    cp "$top/source/debian/tests/run" "$root/tmp/smoke" && inside /tmp/smoke
}

purges()
{
    inside 'apt-get purge -y hpprof libhpmalloc-dev libhpmalloc-compat0 libhpmalloc0' &&
        listed | diff "$work/before" -
}

check "the sources are those of a clean clone" cloned "$top/source"
check "dpkg-buildpackage -us -uc -b builds the packages, and their tests pass" builds
check "they are the libraries, the development files and the tool" are_all
if has lintian; then
    check "lintian finds no error and nothing to warn of" lintian_is_content
else
    skip "lintian finds no error and nothing to warn of" "there is no lintian"
fi
if has debootstrap && has unshare && [ "$(id -u)" = 0 ] && fresh_system; then
    check "apt-get installs them all in a fresh system" installs
    check "a program runs and is profiled there" works_inside
    check "purging leaves nothing" purges
else
    skip "apt-get installs them all in a fresh system" "there is no debootstrap, no network, or no right to it"
fi
finish
