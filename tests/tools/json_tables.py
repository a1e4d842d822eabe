#!/usr/bin/env python3
"""What commands print with --json is JSON, and says what the same command's table says: each number
within what the table's rounding leaves."""

import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import truths  # noqa: E402

UNITS = {"": 1, "B": 1, "kB": 2 ** 10, "MB": 2 ** 20, "GB": 2 ** 30,
         "KiB": 2 ** 10, "MiB": 2 ** 20, "GiB": 2 ** 30}
NUMBER = r"(-?[\d.]+) ?(B|kB|MB|GB|KiB|MiB|GiB|)"
DASHES = "-" * 20

reporter = tap.Reporter("json")
report = reporter.report


class Difference(Exception):
    """Between the table and what --json says."""


def run(*words):
    return subprocess.run([truths.HPPROF, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60)


def output_of(*words):
    found = run(*words)
    if found.returncode != 0:
        raise Difference(str(found))
    return found.stdout


def read(*words):
    return json.loads(output_of(words[0], "--json", *words[1:]))


def must(is_so, *shown):
    if not is_so:
        raise Difference(" ".join(map(str, shown)))


def must_be(text, number, digits=2):
    """`text`, rounded to so many digits, is the number; "." and "0" are nothing."""
    if text == ".":
        must(number == 0, text, number)
        return
    found = re.fullmatch(NUMBER, text)
    must(found is not None, "no number:", text)
    unit = UNITS[found.group(2)]
    must(abs(float(found.group(1)) * unit - number) <= (0.51 * 10 ** -digits) * unit, text, number)


def compare_top(*words):
    said = read("top", *words)
    lines = output_of("top", *words).splitlines()
    must_be(re.search("of (%s), " % NUMBER, lines[1]).group(1), said["total"])
    rows = lines[3:]
    must(len(rows) == len(said["functions"]) > 0, rows, said)
    for row, function in zip(rows, said["functions"]):
        flat, _, _, cum, _, name = row.split(None, 5)
        must_be(flat, function["flat"])
        must_be(cum, function["cum"])
        must(re.sub(r" \((partial-)?inline\)$", "", name) == function["function"], row, function)


def blocks_of(text):
    """Of a tree: (callers, function, callees), each a list of words."""
    block = None
    for line in text.splitlines():
        if line.startswith(DASHES):
            if block is not None and block[1] is not None:
                yield block
            block = ([], None, [])
        elif block is not None and "|" in line and not line.lstrip().startswith("flat"):
            left, right = line.split("|", 1)
            words = left.split() + [right.strip()]
            if len(words) > 4:
                block = (block[0], words, [])
            else:
                block[0 if block[1] is None else 2].append(words)


def compare_edges(rows, edges):
    must(len(rows) == len(edges), rows, edges)
    for (value, _, name), edge in zip(rows, edges):
        must_be(value, edge["value"])
        must(name == edge["function"] + (" (inline)" if edge["inlined"] else ""), name, edge)


def compare_tree(command, *words):
    said = read(command, *words)
    blocks = list(blocks_of(output_of(command, *words)))
    must(len(blocks) == len(said["functions"]) > 0, blocks, said)
    for (callers, row, callees), function in zip(blocks, said["functions"]):
        must_be(row[0], function["flat"])
        must_be(row[3], function["cum"])
        must(row[-1] == function["function"], row, function)
        compare_edges(callers, function["callers"])
        compare_edges(callees, function["callees"])


def compare_list(*words):
    said = read("list", *words)
    blocks = re.findall("^(.*) in (.*): %s flat, %s cum\n((?:.+\n)*)" % (NUMBER, NUMBER),
                        output_of("list", *words), re.M)
    must(len(blocks) == len(said["functions"]) > 0, blocks, said)
    for (name, file, flat, unit, cum, cum_unit, text), function in zip(blocks, said["functions"]):
        must((name, file) == (function["function"], function["file"]), name, file, function)
        must_be(flat + unit, function["flat"])
        must_be(cum + cum_unit, function["cum"])
        rows = [line.split()[:3] for line in text.splitlines()]
        rows = [row for row in rows if row[:2] != [".", "."]]
        must([int(row[2]) for row in rows] == [line["line"] for line in function["lines"]], rows)
        for row, line in zip(rows, function["lines"]):
            must_be(row[0], line["flat"])
            must_be(row[1], line["cum"])


def compare_diff(*words):
    said = read("diff", *words)
    text = output_of("diff", "-n", "0", *words).split("By stack")[1]
    rows = re.findall(r"^ *[+]?%s +.*\(%s, then %s\)$" % (NUMBER, NUMBER, NUMBER), text, re.M)
    stacks = said["stacks"]
    must(len(rows) == len(stacks) > 0, len(rows), len(stacks), text)
    for row, stack in zip(rows, stacks):
        must_be(row[0] + row[1], stack["change"])
        must_be(row[2] + row[3], stack["old"])
        must_be(row[4] + row[5], stack["new"])


def compare_leaks(*words):
    said = read("leaks", *words)
    text = output_of("leaks", "-n", "0", *words)
    rows = re.findall(r"^([A-Z]+|not enough.*?|\S.*?) +%s  (.*)\n    (.*)$" % NUMBER, text, re.M)
    must(len(rows) == len(said["stacks"]) > 0, len(rows), len(said["stacks"]), text)
    must(text.startswith("%d snapshots" % said["snapshots"]), text)
    for (verdict, number, unit, reason, stack), row in zip(rows, said["stacks"]):
        must(verdict == row["verdict"] and reason == row["reason"], verdict, reason, row)
        must_be(number + " " + unit, row["bytes"], 1)
        must(" < ".join(row["stack"]).startswith(stack.removesuffix(" < ...")), stack, row)


def compare_totals(path, said):
    for total in said["totals"]:
        top = read("top", "--sample", total["sample_type"], path)
        must((top["total"], top["unit"]) == (total["total"], total["unit"]), top["total"], total)


def compare_written(folder, first, second):
    """merge, convert and symbolize say what is read from the file they wrote."""
    merged = os.path.join(folder, "merged.pb.gz")
    said = read("merge", first, second, "-o", merged)
    must((said["file"], said["format"], said["inputs"]) == (merged, "pprof", 2), said)
    must(len(said["totals"]) == 4, said)
    compare_totals(merged, said)
    for name, form, types in (("a.pb", "proto", 4), ("a.heap", "legacy", 4),
                              ("a.folded", "collapsed", 1)):
        said = read("convert", first, "-o", os.path.join(folder, name))
        must(said["format"] == form and len(said["totals"]) == types, said)
        if form == "proto":
            compare_totals(os.path.join(folder, name), said)
    top = read("top", os.path.join(folder, "a.folded"))
    must(top["total"] == said["totals"][0]["total"], top, said)
    named = os.path.join(folder, "named.pb.gz")
    said = read("symbolize", first, "-o", named)
    compare_totals(named, said)
    must(run("convert", "--json", first, "-o", "-").returncode == 2, "a profile among JSON")


def compare_dumps(folder):
    record = os.path.join(folder, "record")
    environment = dict(os.environ, LD_PRELOAD=truths.LIBRARY, HPMALLOC_QUIET="1",
                       HPMALLOC_RECORD=record,
                       HPMALLOC_DUMP_PROFILE="heap,allocs",
                       HPMALLOC_DUMP_PATH=os.path.join(folder, "dumped.%n"))
    with subprocess.Popen([sys.executable, "-c", "input()"], env=environment,
                          stdin=subprocess.PIPE) as child:
        wait_for_handler(child.pid)
        said = read("dump", str(child.pid))
        must(said["pid"] == child.pid and len(said["files"]) == 2, said)
        child.communicate(b"\n")
    must(sorted(said["files"]) == sorted(glob.glob(os.path.join(folder, "dumped.*"))), said)
    said = read("dump", "--record", record)
    must(said["record"] == record and len(said["files"]) == 1 and
         os.path.getsize(said["files"][0]) > 0, said)
    must(run("dump", "--json", "2147483646").stdout == "", "JSON of what failed")


def wait_for_handler(pid):
    for _ in range(200):
        with open("/proc/%d/status" % pid) as status:
            caught = int(re.search(r"SigCgt:\s*(\w+)", status.read()).group(1), 16)
        if caught >> (signal.SIGUSR2 - 1) & 1:
            return
        time.sleep(0.05)


def compare_options():
    said = read("options")
    rows = re.findall(r"^(HPMALLOC_\w+) \[(.*)\]\n    (.*)\n    takes (.*)$", output_of("options"),
                      re.M)
    must(rows == [(row["variable"], row["default"] or "none", row["help"], row["accepted"])
                  for row in said], rows, said)


def check(sentence, compare, *words):
    try:
        compare(*words)
        faults = []
    except (Difference, ValueError, KeyError, AttributeError) as difference:
        faults = ["%s: %s" % (type(difference).__name__, difference)]
    report(sentence, faults)


def check_all(folder, files):
    last = files[-1]
    for type_ in ("inuse_space", "alloc_objects"):
        check("top of " + type_, compare_top, "--sample", type_, last)
    check("top, the change since another", compare_top, "--base", files[0], last)
    check("tree", compare_tree, "tree", last)
    check("tree, of 3 functions", compare_tree, "tree", "-n", "3", last)
    check("peek", compare_tree, "peek", "--sample", "alloc_space", last, "keep|main")
    check("list", compare_list, last, "leak_slowly|run_background|main")
    check("diff", compare_diff, files[0], last)
    check("leaks", compare_leaks, *files)
    check("merge, convert and symbolize", compare_written, folder, files[0], last)
    check("dump, of a process and of a record", compare_dumps, folder)
    check("options", compare_options)


def main():
    if not truths.are_there():
        print("1..0 # SKIP there is no library, or no hpprof")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        truths.wait_for([truths.start(truths.build(folder), "leak", 5, 100,
                                      os.path.join(folder, "leak.%n"))])
        files = [os.path.join(folder, "leak.%d.pb.gz" % number) for number in range(1, 6)]
        check_all(folder, files)
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
