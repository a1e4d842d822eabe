# What the scripts of this folder share: `. packages.bash`.
# shellcheck source=tests/preload/common.bash
. "$(dirname "${BASH_SOURCE[0]}")/../preload/common.bash"

quiet_make()
{
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make --no-print-directory "$@"
}

# cloned FOLDER: what a fresh clone would hold, with the changes of now; from a tarball, what it holds.
cloned()
{
    mkdir -p "$1" || return
    if [ -e "$top_srcdir/.git" ] && has git; then
        (cd "$top_srcdir" && git ls-files -co --exclude-standard -z | tar --null -T - -c) | tar x -C "$1"
    else
        quiet_make -C "$top_builddir" distdir distdir="$1"
    fi
}
