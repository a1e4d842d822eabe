#!/usr/bin/env python3
"""bench/report: a picture that is an SVG, a table, and one line for what it cannot read."""

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as tree

SOURCE = os.path.abspath(os.environ.get("top_srcdir", "."))
SVG = "{http://www.w3.org/2000/svg}"
LETTER, LINE = 7, 13  # of a label, no more than it takes

test_count = fail_count = 0


def check(sentence, condition, note=""):
    global test_count, fail_count
    test_count += 1
    fail_count += not condition
    if not condition:
        print("# " + str(note)[:300])
    print("%s %d - bench/report: %s" % ("ok" if condition else "not ok", test_count, sentence))


def sample(wall, peak):
    return {"wall": wall, "cpu": wall, "peak": peak, "output": ""}


def series(name, kind, threads, factor, ratios):
    """Two rounds; under glibc 1 s and 10 MiB. factor multiplies the time under the others."""
    samples = {"glibc": [sample(1.0, 10240)] * 2}
    for allocator, (time, memory) in ratios.items():
        samples[allocator] = [sample(time * factor * wander, memory * 10240)
                              for wander in (0.97, 1.03)]
    return {"name": name, "kind": kind, "threads": threads, "stresses": "this & that",
            "samples": samples, "failures": {}}


def document(ratios):
    """As bench/run writes it. ratios: allocator -> geometric mean of time and of memory."""
    tests = [series("one", "workload", 1, 0.5, ratios), series("many", "workload", 4, 1, ratios),
             series("real", "program", 1, 2, ratios)]
    tests[0] |= {"live": 8 << 20, "settled_live": 1 << 20,
                 "settled": {"glibc": {"live": 0, "at_once": 4096, "idle": 3072, "after": 2048}}}
    return {"date": "2026-01-02T03:04:05+00:00", "machine": {"cpu": "<fast> & \"new\"", "cores": 2},
            "settings": {"rounds": 2}, "series": tests, "summary": {name: {} for name in ratios}}


RATIOS = {"hpmalloc": (0.5, 0.8), "fast&fat": (0.55, 1.9), "lean": (0.95, 0.9),
          "<twin>": (0.95, 0.9), "near": (0.94, 0.91), "nearer": (0.96, 0.91),
          "beside": (0.95, 0.92)}


def run(work, text, *arguments):
    path = os.path.join(work, "results.json")
    with open(path, "w") as file:
        file.write(text)
    return run_on(path, *arguments)


def run_on(path, *arguments):
    command = [sys.executable, os.path.join(SOURCE, "bench", "report"), path, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def labels(root):
    """Name, and left, top, right, bottom of every allocator's label."""
    found = []
    for text in root.iter(SVG + "text"):
        if text.get("class") == "name":
            x, y = float(text.get("x")), float(text.get("y"))
            found.append((text.text, x, y - LINE, x + LETTER * len(text.text), y))
    return found


def overlaps(one, other):
    return one[1] < other[3] and other[1] < one[3] and one[2] < other[4] and other[2] < one[4]


def check_picture(work):
    done = run(work, json.dumps(document(RATIOS)))
    check("the picture is made", done.returncode == 0, done.stderr)
    try:
        root = tree.fromstring(done.stdout)
    except tree.ParseError as error:
        check("the picture is well-formed", False, error)
        return
    check("the picture is well-formed", root.tag == SVG + "svg", root.tag)
    found = labels(root)
    check("every allocator has a label and a dot",
          {label[0] for label in found} == {"glibc", *RATIOS} and
          len(list(root.iter(SVG + "circle"))) == len(RATIOS) + 1, found)
    width, height = float(root.get("width")), float(root.get("height"))
    check("labels are inside the picture",
          all(0 <= left and right <= width and 0 <= top and bottom <= height
              for _, left, top, right, bottom in found), found)
    clashes = [(a[0], b[0]) for i, a in enumerate(found) for b in found[:i] if overlaps(a, b)]
    check("labels do not overlap, near as their dots may be", not clashes, clashes)
    check("nothing is fetched from elsewhere",
          not any(word in done.stdout for word in ("href", "url(", "@import", "<script")))
    check("dark paper has colours of its own", "prefers-color-scheme: dark" in done.stdout)


def check_table(work):
    done = run(work, json.dumps(document(RATIOS)), "--table")
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    check("the table has as many cells in each row",
          done.returncode == 0 and len(rows) > 8 and len({row.count("|") for row in rows}) == 1,
          done.stdout + done.stderr)
    check("the table's mean is the geometric mean of the medians",
          any(row.startswith("| time, all (3) | 1 | 0.500 |") for row in rows), done.stdout)
    settled = "| resident after one, over live | 2.00 |"
    check("the table says what stayed resident over live bytes",
          any(row.startswith(settled) for row in rows), done.stdout)


def check_bad_input(work):
    whole = document(RATIOS)
    without_time = document({"zero": (0, 1)})
    bad = {
        "no JSON": "{",
        "JSON of something else": '{"series": 3, "summary": {}}',
        "a list": "[]",
        "a test without samples": json.dumps(whole | {"series": [{"name": "one"}]}),
        "nothing measured": json.dumps(whole | {"series": []}),
        "a run that took no time": json.dumps(without_time),
    }
    for what, text in bad.items():
        done = run(work, text)
        check("%s: one line, status 1" % what,
              done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1 and
              done.stderr.startswith("bench/report: "), done.stderr)
    done = run_on(os.path.join(work, "absent"))
    check("no such file: one line, status 1",
          done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr)


def main():
    with tempfile.TemporaryDirectory() as work:
        check_picture(work)
        check_table(work)
        check_bad_input(work)
    print("1..%d" % test_count)
    return 1 if fail_count else 0


sys.exit(main())
