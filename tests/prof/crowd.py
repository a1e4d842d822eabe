#!/usr/bin/env python3
"""One profile of a program with many stacks: the leaking one is suspected first, and what the profiler
itself takes is little."""

import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

PROGRAM = os.path.join(os.environ.get("top_builddir", "."), "tests/prof/crowd")
LIVE_MIB = 1100  # above a gibibyte
WAYS = (100, 1000, 1 << 24)

reporter = tap.Reporter("crowd")
report = reporter.report


def start(path, arguments, interval="512k"):
    environment = dict(os.environ, HPMALLOC_QUIET="1", HPMALLOC_SYMBOLIZE="on",
                       HPMALLOC_SAMPLE_INTERVAL=interval, HPMALLOC_SAMPLE_BUDGET="off")
    arguments = [PROGRAM, arguments[0], path] + arguments[1:]
    return subprocess.Popen(arguments, env=environment)


def finish(process, path):
    if process.wait(timeout=120) != 0:
        return ""
    with open(path) as file:
        return file.read()


def first_suspect(text):
    """The frames of the stack that the list of suspects begins with."""
    found = re.search(r"^Leak suspects, by age:\n.* of stack (\d+):", text, re.M)
    if found is None:
        return "none"
    row = re.search(r"^ *%s\. .*\n((?:        .*\n)*)" % found.group(1), text, re.M)
    return row.group(1) if row else "a row that is not there"


def check_leaks(folder):
    kinds = ("leak", "half-leak")
    paths = [os.path.join(folder, kind + ".txt") for kind in kinds]
    processes = [start(path, [kind]) for kind, path in zip(kinds, paths)]
    sentences = ("one that leaks 1 of 100 blocks made is suspected first among 100 busy stacks",
                 "so is one that frees every other")
    for sentence, process, path in zip(sentences, processes, paths):
        suspect = first_suspect(finish(process, path))
        report(sentence, [] if "make_leak" in suspect else [suspect])


def amount(text, what):
    found = re.search(r"^ *(\d+) .*  %s" % what, text, re.M)
    return int(found.group(1)) if found else 1 << 60


def own_bytes(folder, ways, interval):
    """Tables, and slabs that are for samples only in part."""
    path = os.path.join(folder, "hold.%d.%s.txt" % (ways, interval))
    text = finish(start(path, ["hold", str(LIVE_MIB), str(ways)], interval), path)
    return amount(text, "tables of the allocator") + amount(text, "free, in slabs")


def check_footprint(folder):
    for ways in WAYS:
        bytes_ = own_bytes(folder, ways, "512k") - own_bytes(folder, ways, "0")
        share = 100 * bytes_ / (LIVE_MIB << 20)
        print("# %d stacks: %d bytes, %.3f %%" % (ways, bytes_, share))
        report("profiling of a gibibyte from %d stacks of 26 frames takes at most 0.1 %%" % ways,
               [] if share <= 0.1 else ["it takes %d bytes, %.3f %%" % (bytes_, share)])


def main():
    if not os.path.exists(PROGRAM):
        print("1..0 # SKIP there is no " + PROGRAM)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        check_leaks(folder)
        check_footprint(folder)
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
