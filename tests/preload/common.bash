# What the scripts of this folder share: `. common.bash`, then checks, then `finish`.
#
# A script is called as NAME.sh LIBRARY, or finds the library in $top_builddir/.libs. It prints TAP.
# Nothing is preloaded into timeout or into these scripts themselves.
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top_srcdir=$(cd "${top_srcdir:-$here/../..}" && pwd)
top_builddir=$(cd "${top_builddir:-$top_srcdir}" && pwd)
library=$(realpath -m "${1:-$top_builddir/.libs/libhpmalloc.so}")
PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
export LC_ALL=C
unset LD_PRELOAD
for variable in $(compgen -e HPMALLOC_); do
    unset "$variable"
done

work=$(mktemp -d)
chmod 755 "$work"
children=()

# Kills what a script has left running, by its id.
clean_up()
{
    for child in "${children[@]}"; do
        kill -KILL "$child" && wait "$child"
    done 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT

checks=0
failures=0

ok()
{
    checks=$((checks + 1))
    echo "ok $checks - $1"
}

skip()
{
    checks=$((checks + 1))
    echo "ok $checks - $1 # SKIP $2"
}

# not_ok SENTENCE < what a reader should see
not_ok()
{
    checks=$((checks + 1))
    failures=$((failures + 1))
    echo "not ok $checks - $1"
    head -n 20 | sed 's/^/# /'
}

# check SENTENCE COMMAND...: it must succeed; what it prints is shown when it does not.
check()
{
    local sentence=$1 log="$work/check.log"
    shift
    if "$@" >"$log" 2>&1 </dev/null; then
        ok "$sentence"
    else
        not_ok "$sentence" <"$log"
    fi
}

finish()
{
    echo "1..$checks"
    exit $((failures > 0))
}

skip_all()
{
    echo "1..0 # SKIP $1"
    exit 0
}

has()
{
    command -v "$1" >/dev/null 2>&1
}

# ours SECONDS [NAME=VALUE...] PROGRAM...: runs a program under the library.
ours()
{
    local seconds=$1
    shift
    timeout "$seconds" env LD_PRELOAD="$library" "$@"
}

# is TEXT EXPECTED: whether they are the same; shows both when not.
is()
{
    [ "$1" = "$2" ] || {
        printf 'is:        %s\nshould be: %s\n' "$1" "$2"
        return 1
    }
}

# count_files FOLDER: temporary ones included
count_files()
{
    find "$1" -type f | wc -l
}

# wait_until SECONDS COMMAND...: whether it came true in that time.
wait_until()
{
    local tries=$(($1 * 20))
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.05
    done
}

[ -e "$library" ] || skip_all "there is no $library"
if has nm && ! nm -D --defined-only "$library" | grep -q ' malloc$'; then
    skip_all "the library was built to leave malloc alone"
fi
