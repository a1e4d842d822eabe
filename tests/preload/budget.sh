#!/bin/bash
# Sampling that costs more than its budget becomes less frequent, says so, and stays right.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"

program=python3
has $program || skip_all "there is no python3"

cat >"$work/busy.py" <<'END'
import os, random, signal, time
random.seed(1)
end, kept = time.process_time() + 2.5, [None] * 20000
while time.process_time() < end:
    for i in range(2000):
        kept[random.randrange(20000)] = "x" * random.randrange(600)
os.kill(os.getpid(), signal.SIGUSR2)
END

# dumped NAME BUDGET: the text of a profile of the program, sampled each 512 bytes
dumped()
{
    timeout 60 env PYTHONMALLOC=malloc LD_PRELOAD="$library" HPMALLOC_SAMPLE_INTERVAL=512 \
        HPMALLOC_SAMPLE_BUDGET="$2" HPMALLOC_DUMP_FORMAT=text HPMALLOC_DUMP_PATH="$work/$1" \
        $program "$work/busy.py" >"$work/log" 2>&1
}

# is_right FILE: the estimate is within five standard errors of the exact count
is_right()
{
    awk '
        function bytes(number, unit) { return number * (unit == "KiB" ? 1024 : unit == "MiB" ? 1048576 : 1) }
        /^By the samples/ {
            estimate = bytes($4, $5); error = bytes($7, $8) / 1.96
            gsub(";", "")
            for (i = 1; i < NF; i++)
                if ($i == "count") { exact = bytes($(i + 1), $(i + 2)); found = 1 }
        }
        END { off = estimate - exact; exit !(found && (off < 0 ? -off : off) <= 5 * error) }' "$1"
}

says='the interval is wider than the'
dumped wide 1%
if grep -q "$says" "$work/wide.txt"; then
    ok "sampling beyond its budget widens the interval, and the dump says so"
else
    not_ok "sampling beyond its budget widens the interval, and the dump says so" <"$work/log"
fi
if is_right "$work/wide.txt"; then
    ok "estimates over changing intervals are right"
else
    head -n 20 "$work/wide.txt" >"$work/log"
    not_ok "estimates over changing intervals are right" <"$work/log"
fi
dumped asked off
if [ -s "$work/asked.txt" ] && ! grep -q "$says" "$work/asked.txt"; then
    ok "without a budget the interval stays what it was"
else
    not_ok "without a budget the interval stays what it was" <"$work/log"
fi
finish
