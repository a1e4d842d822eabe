#!/usr/bin/env python3
"""hpprof's verdicts on courses of known truth (courses.c), by simulation: how often each is wrong."""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import truths  # noqa: E402

RUNS = os.environ.get("COURSE_RUNS", "50")
SEED = os.environ.get("COURSE_SEED", "1")
ROOMS = ["trend.c", "kept.c", "memory.c", "units.c"]
VERDICTS = "LGKPN"  # leak, growing, peak, plateau, not enough data
# In 100, of what is no leak, and at least so many samples grow: what is called one.
FALSE_LEAKS = {100: 1.5, 0: 8}
# Leaks that can be found from so many samples in all, and how many of 100 then have to be.
FOUND = {
    "leak": (48, 85), "leak, begun long ago": (48, 80), "leak, twice as fast": (48, 90),
    "leak, up and down in short": (48, 80), "leak, up and down in long": (190, 90),
    "leak of 1 in 3": (190, 90), "leak of 1 in 10": (190, 75), "leak of 1 in 50": (770, 70),
    "leak of 1 in 10, begun long ago": (770, 75), "leak of 1 in 3, others live 0.1": (770, 88),
    "leak of 1 in 3, others live 0.1, begun long ago": (770, 90), "leak in 40 bursts": (190, 70),
    "leak of 24 large ones": (48, 85), "leak of 12 large ones": (48, 85),
}
SAMPLES = 12 << 10  # KiB that grow, by the interval in KiB: samples

reporter = tap.Reporter("courses", faults_shown=20)


def read(text):
    """By kind: what is right of it, and (snapshots, interval, {verdict: percent}) of each setting."""
    kinds = {}
    for line in text.splitlines():
        name, right, snapshots, interval, *counts = line.split("\t")
        counts = [int(count) for count in counts]
        shares = {verdict: 100 * count / sum(counts) for verdict, count in zip(VERDICTS, counts)}
        kinds.setdefault(name, (right, []))[1].append((int(snapshots), int(interval), shares))
    return kinds


def faults_of_no_leak(settings):
    faults = []
    for least, most in FALSE_LEAKS.items():
        shares = [shares["L"] for _, interval, shares in settings if SAMPLES / interval > least]
        if sum(shares) / len(shares) > most:
            faults.append("more than %d samples: %s" % (least, shares))
    return faults


def faults_of_leak(name, right, settings):
    faults = []
    for snapshots, interval, shares in settings:
        least, percent = FOUND.get(name, (500, 70))
        found = sum(shares[verdict] for verdict in right)
        if SAMPLES / interval >= least and found < percent and (snapshots > 8 or right == "L"):
            faults.append("%d snapshots, %d KiB: %s" % (snapshots, interval, shares))
    return faults


def show(name, settings):
    """The share of leaks by number of snapshots, the fewest samples first."""
    rows = {}
    for snapshots, _, shares in settings:
        rows.setdefault(snapshots, []).append("%3.0f" % shares["L"])
    print("# %-50s %s" % (name, "   ".join("/".join(row) for row in rows.values())))


def main():
    with tempfile.TemporaryDirectory() as place:
        rooms = [os.path.join("tools/hpprof", room) for room in ROOMS]
        program = truths.compile_with(os.path.join(place, "courses"), "-std=gnu11", "-O2", "-Itools/hpprof",
                                      "-Isrc", "-Iinclude", "tests/tools/courses.c", *rooms)
        said = subprocess.run([program, RUNS, SEED], stdout=subprocess.PIPE, text=True, check=True)
    kinds = read(said.stdout)
    print("# called a leak, in 100: of 8, 13 and 20 snapshots, each from the fewest samples to the most")
    for name, (right, settings) in kinds.items():
        show(name, settings)
        if right == "?":
            reporter.skip(name, "nobody can know: nothing of it is freed, or stops, while it is watched")
            continue
        sentence = "no leak" if right == "*" else "a leak, or growing" if right == "LG" else "a leak"
        faults = faults_of_no_leak(settings) if right == "*" else faults_of_leak(name, right, settings)
        reporter.report("%s: %s" % (name, sentence), faults)
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
