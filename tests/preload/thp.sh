#!/bin/bash
# Huge pages: what HPMALLOC_THP asks the kernel for, and what a large program gets.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

policy=/sys/kernel/mm/transparent_hugepage/enabled
[ -e $policy ] || skip_all "this system has no transparent huge pages"
grep -q VmFlags /proc/self/smaps || skip_all "this kernel does not tell what it was asked for"

# asked MODE FLAG: grep's own memory carries it, "hg" for huge pages, "nh" for none.
asked()
{
    HPMALLOC_THP=$1 LD_PRELOAD="$library" grep -Eq "^VmFlags:.* $2( |$)" /proc/self/smaps
}

check "HPMALLOC_THP=on asks for huge pages from the first" asked on hg
check "HPMALLOC_THP=off asks for none" asked off nh
check "a small program is not put into huge pages" asked auto nh

cat >"$work/large.py" <<'END'
kept = [str(i) * 20 for i in range(1000000)]
print(next(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHuge")))
END

# huge_kib MODE
huge_kib()
{
    HPMALLOC_THP=$1 PYTHONMALLOC=malloc LD_PRELOAD="$library" python3 "$work/large.py"
}

gets_some()
{
    [ "$(huge_kib auto)" -gt $((20 * 1024)) ]
}

gets_none()
{
    [ "$(huge_kib off)" = 0 ]
}

sentence="a program of 150 MB lies in huge pages for the most part"
if grep -q '\[never\]' $policy; then
    skip "$sentence" "the system's policy is never"
elif ! has python3 || [ ! -e /proc/self/smaps_rollup ]; then
    skip "$sentence" "there is no python3, or no smaps_rollup"
else
    check "$sentence" gets_some
    check "and in none with HPMALLOC_THP=off" gets_none
fi
finish
