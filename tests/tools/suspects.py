#!/usr/bin/env python3
"""hpprof leaks of one file: of programs of known truth it suspects the stacks that the library's
text of the same moment suspects, for the same reasons, and no others."""

import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import truths  # noqa: E402

STEPS, MILLISECONDS = 10, 300

# The function that is to be suspected, or None.
TRUTHS = {"leak": "leak_slowly", "trickle": "trickle_away", "threads": "serve_thread",
          "cache": None, "steady": None}

reporter = tap.Reporter("suspects")
report = reporter.report


def run_all(program, folder):
    truths.wait_for([truths.start(program, name, STEPS, MILLISECONDS, os.path.join(folder, name + ".%n"),
                                  HPMALLOC_DUMP_LABELS="age", HPMALLOC_DUMP_FORMAT="pprof,text,legacy")
                     for name in TRUTHS])


def in_bytes(text):
    number, unit = text.split()
    return float(number) * 1024 ** ["B", "KiB", "MiB", "GiB"].index(unit)


# Samples are counted here by the profile's estimates, there by the frees themselves.
def reason_of(text):
    return re.sub(r"of \d+ objects", "of N objects", text)


def suspected_by_text(path):
    """(bytes, reason, innermost functions) of each."""
    text = open(path, encoding="utf-8").read()
    rows = re.findall(r"^ +([\d.]+ \w+) of stack (\d+): (.*)$", text, re.M)
    suspects = []
    for size, number, reason in rows:
        stack = re.search(r"^ *%s\. .*\n((?: {8}.*\n)+)" % number, text, re.M).group(1)
        suspects.append((in_bytes(size), reason_of(reason),
                         [line.strip().split("+")[0] for line in stack.splitlines()][:2]))
    return suspects


def check_truth(folder, name):
    path = os.path.join(folder, "%s.%d" % (name, STEPS))
    wanted = suspected_by_text(path + ".txt")
    suspects = truths.stacks_of(path + ".pb.gz")["suspects"]
    faults = [] if len(wanted) == len(suspects) else ["text: %s; file: %s" % (wanted, suspects)]
    for (size, reason, functions), row in zip(wanted, suspects):
        if abs(size - row["bytes"]) > 0.06 * size or reason != reason_of(row["reason"]) or \
                functions[0] not in row["stack"][:3]:
            faults.append("text: %s; file: %s" % ((size, reason, functions), row))
    is_seen = [TRUTHS[name] in row["stack"] for row in suspects]
    if is_seen != ([] if TRUTHS[name] is None else [True]):
        faults.append("suspected: %s" % suspects)
    report("%s: as in the text, %s" % (name, TRUTHS[name] or "nothing"), faults)
    check_table(name, path + ".pb.gz", suspects)


def check_table(name, path, suspects):
    said = truths.leaks(path)
    rows = re.findall(r"^SUSPECT +([\d.]+ \w+)  (.*)\n    (.*)$", said.stdout, re.M)
    faults = [] if len(rows) == len(suspects) and said.returncode == 0 else [said.stdout]
    for (size, reason, stack), row in zip(rows, suspects):
        if abs(in_bytes(size) - row["bytes"]) > 0.06 * row["bytes"] or reason != row["reason"] or \
                not " < ".join(row["stack"]).startswith(stack.removesuffix(" < ...")):
            faults.append("%s: %s" % ((size, reason, stack), row))
    if ("nothing in it is suspected" in said.stdout) != (not suspects):
        faults.append(said.stdout)
    report("%s: the table says what --json says" % name, faults)


def check_refusal(sentence, status, words, text):
    found = truths.leaks(*words)
    is_right = found.returncode == status and found.stdout == "" and text in found.stderr and \
        found.stderr.count("\n") == 1
    report(sentence, [] if is_right else [str(found)])


def main():
    if not truths.are_there():
        print("1..0 # SKIP there is no library, or no hpprof")
        return 0
    with tempfile.TemporaryDirectory() as place:
        run_all(truths.build(place), place)
        for name in TRUTHS:
            check_truth(place, name)
        one = os.path.join(place, "leak.%d" % STEPS)
        check_refusal("a file without ages says which option makes it carry them", 1,
                      [one + ".heap"], "HPMALLOC_DUMP_LABELS=age")
        check_refusal("what is not in use has no age", 2, ["--sample", "alloc_space", one + ".pb.gz"],
                      "--sample")
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
