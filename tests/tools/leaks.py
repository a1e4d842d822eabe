#!/usr/bin/env python3
"""hpprof leaks on programs of known truth: every verdict right, and no leak found anywhere else."""

import glob
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import truths  # noqa: E402

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
    "entries": ("cache_for_half", "PLATEAU GROWING"),
    "logins": ("stay_logged_in", "GROWING PLATEAU"),
    "answers": ("answer_in_time", "PLATEAU GROWING"),
    "names": ("meet_names", "PLATEAU GROWING"),
    "ring": ("fill_ring", "PLATEAU"),
    "more": ("serve_more", "PLATEAU GROWING"),
    "gatherer": ("gather_batch", "PEAK GROWING"),
    "sawtooth": ("leave_some", "LEAK GROWING"),
    "hidden": ("forget_some", "LEAK"),
}
# So many snapshots in the time of one step.
SLICES = {"block": 4}
# As many rounds, of which so many at the same time; where to keep the profiles, or where they are.
ROUNDS = int(os.environ.get("LEAK_ROUNDS", "1"))
AT_ONCE = int(os.environ.get("LEAK_AT_ONCE", "1"))
KEPT = os.environ.get("LEAK_FOLDER")
STEPS = int(os.environ.get("LEAK_STEPS", "12"))
MILLISECONDS = int(os.environ.get("LEAK_MILLISECONDS", "250"))

reporter = tap.Reporter("leaks")
report = reporter.report


def run_rounds(program, folders):
    """All truths at once: they sleep most of the time."""
    children = []
    for folder in folders:
        for name in TRUTHS:
            os.makedirs(os.path.join(folder, name))
            slices = SLICES.get(name, 1)
            children.append(truths.start(program, name, STEPS * slices, MILLISECONDS // slices,
                                         os.path.join(folder, name, "%n")))
    truths.wait_for(children)


def run_all(place):
    """The folders of the rounds."""
    folders = [os.path.join(place, str(number)) for number in range(ROUNDS)]
    if not all(os.path.exists(folder) for folder in folders):
        program = truths.build(place)
        for first in range(0, ROUNDS, AT_ONCE):
            run_rounds(program, folders[first:first + AT_ONCE])
    return folders


def files_of(folder, name):
    return sorted(glob.glob(os.path.join(folder, name, "*.pb.gz")))


def check_truth(name, folders):
    function, right = TRUTHS[name]
    faults = []
    for folder in folders:
        seen = False
        for stack in truths.stacks_of(*files_of(folder, name))["stacks"]:
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
    found = truths.leaks(*files_of(folder, "leak")[:2])
    report("two snapshots are too few, and it says what to do",
           [] if found.returncode == 1 and "HPMALLOC_DUMP_EVERY" in found.stderr
           and found.stdout == "" else [found.stderr, found.stdout])


def check_order(folder):
    files = files_of(folder, "leak")
    said = [truths.leaks(*order).stdout for order in (files, files[::-1])]
    report("the order of the files does not matter", [] if said[0] == said[1] else said)


def check_all(place):
    folders = run_all(place)
    for name in TRUTHS:
        check_truth(name, folders)
    check_few(folders[0])
    check_order(folders[0])


def main():
    if not truths.are_there():
        print("1..0 # SKIP there is no library, or no hpprof")
        return 0
    if KEPT:
        os.makedirs(KEPT, exist_ok=True)
        check_all(KEPT)
    else:
        with tempfile.TemporaryDirectory() as place:
            check_all(place)
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
