#!/bin/bash
# Real programs pass their own tests under the library as they do without it: by default, hardened,
# and with guarded samples, each with a sample every 64 KiB.
#
#   SUITES        which: some of redis sqlite3 python3 postgres nginx node java gcc (default all)
#   SUITES_MODES  some of default hardened guard (default all)
#   SUITES_FULL   1: every unit of redis' tests and every file of sqlite3's, not a choice of them
#   SUITES_CACHE  where the sources from Debian are kept (default tests/suites in the build folder)
#
# A part that fails is run once more, and then without us: it is a failure of ours when it fails
# twice with the library and passes without it, or when the library said a word. What fails without
# us, too, is told.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
# shellcheck source=tests/preload/suites.bash
. "$(dirname "$0")/suites.bash"

suites=${SUITES:-redis sqlite3 python3 postgres nginx node java gcc}
modes=${SUITES_MODES:-default hardened guard}

# are_among NAME VALUE WORD...
are_among()
{
    local word
    for word in $2; do
        [[ " ${*:3} " == *" $word "* ]] || {
            echo "$1=$2: '$word' is not known; accepted are ${*:3}" >&2
            exit 2
        }
    done
}
are_among SUITES "$suites" redis sqlite3 python3 postgres nginx node java gcc
are_among SUITES_MODES "$modes" default hardened guard

for suite in $suites; do
    reason=
    "prepare_$suite" >"$work/prepare.log" 2>&1 </dev/null ||
        reason=${reason:-its tests could not be prepared}
    for mode in $modes; do
        sentence="$suite passes its own tests, $mode"
        if [ -n "$reason" ]; then
            sed 's/^/# /' "$work/prepare.log" | tail -n 5
            skip "$sentence" "$reason"
        else
            rm -f "$work/told"
            check "$sentence" passes "$suite" "$mode"
            [ ! -e "$work/told" ] || sed 's/^/# /' "$work/told"
        fi
    done
done
finish
