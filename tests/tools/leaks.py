#!/usr/bin/env python3
"""hpprof leaks on programs of known truth: every verdict right, and no leak found anywhere else."""

import glob
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
SOURCE = os.path.abspath(os.environ.get("top_srcdir", "."))
LIBRARY = os.path.join(BUILD, ".libs", "libhpmalloc.so")
HPPROF = os.path.join(BUILD, "hpprof")

# The function that does what the truth's name says, and what is right to say of it: a verdict, or
# several where nobody could know better.
TRUTHS = {
    "leak": ("leak_slowly", "LEAK"),
    "trickle": ("trickle_away", "LEAK"),
    "threads": ("serve_thread", "LEAK"),
    "errors": ("answer_or_fail", "LEAK"),
    "block": ("lose_block", "LEAK"),
    "late": ("leak_since_noon", "LEAK GROWING"),
    "gathered": ("gather_log", "LEAK GROWING"),
    "load": ("serve_load", "GROWING"),
    "batch": ("run_batch", "PEAK"),
    "expiry": ("keep_for_a_time", "PEAK"),
    "queue": ("fall_behind", "PEAK"),
    "cache": ("fill_cache", "PLATEAU"),
    "fragmentation": ("break_up", "PLATEAU"),
    "steady": ("hold_steady", "PLATEAU"),
    "log": ("write_log", "PLATEAU"),
    "pool": ("fill_pool", "PLATEAU"),
    "sessions": ("open_sessions", "PLATEAU GROWING"),
    "reload": ("reload_settings", "PEAK PLATEAU"),
}
# So many snapshots in the time of one step.
SLICES = {"block": 4}
ROUNDS = int(os.environ.get("LEAK_ROUNDS", "1"))
STEPS = os.environ.get("LEAK_STEPS", "10")
MILLISECONDS = os.environ.get("LEAK_MILLISECONDS", "250")

reporter = tap.Reporter("leaks")
report = reporter.report


def run_all(program, folder):
    """All truths at once: they sleep most of the time."""
    children = []
    for name in TRUTHS:
        os.makedirs(os.path.join(folder, name))
        environment = dict(os.environ, LD_PRELOAD=LIBRARY, HPMALLOC_QUIET="1",
                           HPMALLOC_SAMPLE_INTERVAL="32k", HPMALLOC_SAMPLE_BUDGET="off",
                           HPMALLOC_DUMP_PATH=os.path.join(folder, name, "%n"))
        slices = SLICES.get(name, 1)
        children.append(subprocess.Popen([program, name, str(int(STEPS) * slices),
                                          str(int(MILLISECONDS) // slices)], env=environment))
    for child in children:
        assert child.wait() == 0


def verdicts(folder, *arguments):
    files = sorted(glob.glob(os.path.join(folder, "*.pb.gz")))
    found = subprocess.run([HPPROF, "leaks", "--json", *arguments, *files],
                           stdout=subprocess.PIPE, check=True, timeout=60)
    return json.loads(found.stdout)["stacks"]


def check_truth(name, folders):
    function, right = TRUTHS[name]
    faults = []
    for folder in folders:
        seen = False
        for stack in verdicts(os.path.join(folder, name)):
            is_it = function in stack["stack"]
            seen = seen or is_it
            is_right = stack["verdict"] in right.split(" ")
            if is_it and not is_right or not is_it and stack["verdict"] == "LEAK":
                faults.append("%s: %s: %s %s" % (stack["verdict"], stack["reason"], stack["stack"][:3],
                                                 [round(value / 1024) for value in stack["values"]]))
        if not seen:
            faults.append("there is no stack with " + function)
    report("%s: %s, and no leak elsewhere" % (name, right.replace(" ", " or ")), faults)


def check_few(folder):
    files = sorted(glob.glob(os.path.join(folder, "leak", "*.pb.gz")))
    found = subprocess.run([HPPROF, "leaks", *files[:2]], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    report("two snapshots are too few, and it says what to do",
           [] if found.returncode == 1 and "HPMALLOC_DUMP_EVERY" in found.stderr
           and found.stdout == "" else [found.stderr, found.stdout])


def check_order(folder):
    files = sorted(glob.glob(os.path.join(folder, "leak", "*.pb.gz")))
    said = [subprocess.run([HPPROF, "leaks", *order], stdout=subprocess.PIPE, text=True).stdout
            for order in (files, files[::-1])]
    report("the order of the files does not matter", [] if said[0] == said[1] else said)


def main():
    if not os.path.exists(LIBRARY) or not os.path.exists(HPPROF):
        print("1..0 # SKIP there is no library, or no hpprof")
        return 0
    with tempfile.TemporaryDirectory() as place:
        program = os.path.join(place, "truths")
        subprocess.run([*os.environ.get("CC", "cc").split(), "-O1", "-g", "-pthread", "-o", program,
                        os.path.join(SOURCE, "tests/tools/truths.c")], check=True)
        folders = [os.path.join(place, str(number)) for number in range(ROUNDS)]
        for folder in folders:
            run_all(program, folder)
        for name in TRUTHS:
            check_truth(name, folders)
        check_few(folders[0])
        check_order(folders[0])
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
