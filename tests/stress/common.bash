# What stress.sh, oracle.sh and storm.sh share: `. common.bash`, `need PROGRAM`, then checks, then
# `finish`. They run in builds that leave malloc alone, too.
set -u
top_builddir=$(cd "${top_builddir:-.}" && pwd)
checks=0
failures=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

need()
{
    [ -x "$1" ] || {
        echo "1..0 # SKIP there is no $1"
        exit 0
    }
}

# check SENTENCE SECONDS AGAIN COMMAND...: it must succeed in that time. The end of what it says is
# shown; when it fails, AGAIN, the words that repeat it, is as well.
check()
{
    local sentence=$1 seconds=$2 again=$3 said status
    shift 3
    checks=$((checks + 1))
    said=$(timeout "$seconds" "$@" 2>&1)
    status=$?
    if [ $status = 0 ]; then
        echo "ok $checks - $sentence"
    else
        echo "# ended with status $status; again: $again"
        echo "not ok $checks - $sentence"
        failures=$((failures + 1))
    fi
    echo "$said" | tail -n 40 | sed 's/^/# /'
}

finish()
{
    echo "1..$checks"
    exit $((failures > 0))
}
