#!/usr/bin/env python3
"""What hpprof's commands are told to choose (values, stacks, formats, order) is what they show, and
nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
LIBRARY = os.path.join(BUILD, ".libs", "libhpmalloc.so")
HPPROF = os.path.join(BUILD, "hpprof")

FOLDED = "main;load;parse 600\nmain;load;read 300\nmain;serve;cache 100\n"
LATER = "main;load;parse 650\nmain;load;read 300\nmain;serve;cache 900\n"

# Holds a thousand of one size, and a thousand of another are gone.
PROGRAM = """
#include <stdlib.h>
void *kept[1000];
__attribute__((noinline)) void hold(void) { for (int i = 0; i < 1000; i++) kept[i] = malloc(1000); }
__attribute__((noinline)) void pass(void) { for (int i = 0; i < 1000; i++) free(malloc(2000)); }
int main(void) { hold(); pass(); return 0; }
"""

reporter = tap.Reporter("choices", 5)
report = reporter.report


def hpprof(*words):
    done = subprocess.run([HPPROF, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    if done.returncode != 0:
        raise SystemExit("hpprof %s: %s" % (" ".join(words), done.stderr.decode()))
    return done.stdout.decode()


def functions(*words):
    return [row["function"] for row in json.loads(hpprof(*words, "--json"))["functions"]]


def same(sentence, is_, should_be):
    report(sentence, [] if is_ == should_be else ["%r, not %r" % (is_, should_be)])


def check_stacks():
    """Of three stacks, by a function in them."""
    same("tree --focus shows those with it", set(functions("tree", "--focus", "parse", "old.folded")),
         {"parse", "load", "main"})
    same("tree --ignore shows those without it", set(functions("tree", "--ignore", "load", "old.folded")),
         {"cache", "serve", "main"})
    same("tree --cum begins with the most", functions("tree", "--cum", "old.folded")[:2], ["main", "load"])
    same("tree without it with the most of its own", functions("tree", "old.folded")[0], "parse")
    same("peek --focus shows those with it", functions("peek", "--focus", "read", "old.folded", "load|cache"),
         ["load"])
    same("peek --ignore shows those without it",
         functions("peek", "--ignore", "load", "old.folded", "load|cache"), ["cache"])
    rows = json.loads(hpprof("peek", "--base", "old.folded", "--json", "new.folded", "cache|read"))["functions"]
    same("peek --base shows the change", [(row["function"], row["flat"]) for row in rows], [("cache", 800)])


def changed(*words):
    """The functions of diff's first table, in its order."""
    table = hpprof("diff", *words, "old.folded", "new.folded").split("\n\n")[0]
    return [line.split()[-1] for line in table.splitlines() if line.count("%") == 3 and "flat%" not in line]


def check_changes():
    same("diff begins with the most changed", changed()[:1], ["cache"])
    same("diff --cum with the most changed below it", changed("--cum")[:1], ["main"])
    same("diff --focus shows stacks with it", set(changed("--focus", "parse")), {"parse", "load", "main"})
    same("diff --ignore shows stacks without it", set(changed("--ignore", "serve")), {"parse", "load", "main"})
    for word, own in ("--focus", ["cache"]), ("--ignore", ["parse"]):
        stacks = json.loads(hpprof("diff", word, "serve", "--json", "old.folded", "new.folded"))["stacks"]
        same("diff %s chooses among the stacks, too" % word, [stack["stack"][0] for stack in stacks], own)


def heap(number):
    """Ever more objects, of ever fewer bytes."""
    return "heap profile: %d: %d [%d: 100000] @ heap_v2/1\n  %d: %d [%d: 100000] @ 0x100\n%s" % (
        number, 9000 - number, number, number, 9000 - number, number,
        "\nMAPPED_LIBRARIES:\n00000000-00000fff r-xp 00000000 00:00 0 /nowhere/one\n")


def check_leaks():
    files = ["%d.heap" % number for number in range(1, 6)]
    for number, name in enumerate(files, 1):
        with open(name, "w") as file:
            file.write(heap(1000 * number))
        os.utime(name, (60 * number, 60 * number))
    for kind, values in (("inuse_objects", [1000, 2000, 3000, 4000, 5000]),
                         ("inuse_space", [8000, 7000, 6000, 5000, 4000])):
        said = json.loads(hpprof("leaks", "--sample", kind, "--json", *files))
        same("leaks --sample %s looks at these" % kind, [row["values"] for row in said["stacks"]], [values])


def check_formats():
    merged = hpprof("merge", "old.folded", "new.folded", "--format", "collapsed", "-o", "-")
    same("merge --format writes that format", sorted(merged.splitlines()),
         ["main;load;parse 1250", "main;load;read 600", "main;serve;cache 1000"])
    same("symbolize --format writes that format",
         hpprof("symbolize", "1.heap", "--format", "legacy", "-o", "-").split(":")[0], "heap profile")


def made_profiles():
    """a.pb.gz and a.record, or why not."""
    compiler = os.environ.get("CC", "cc").split()
    if shutil.which(compiler[0]) is None or not os.path.exists(LIBRARY):
        return "there is no compiler, or no library to preload"
    with open("a.c", "w") as file:
        file.write(PROGRAM)
    subprocess.run([*compiler, "-g", "-O0", "-fno-builtin", "a.c", "-o", "a"], check=True)
    subprocess.run(["./a"], check=True, timeout=60, env=dict(
        os.environ, LD_PRELOAD=LIBRARY, HPMALLOC_SAMPLE_INTERVAL="1k", HPMALLOC_SAMPLE_BUDGET="off",
        HPMALLOC_QUIET="1", HPMALLOC_DUMP_AT_EXIT="1", HPMALLOC_DUMP_PATH="a", HPMALLOC_RECORD="a.record"))
    return None if os.path.exists("a.pb.gz") else "the profiler was compiled out"


def check_values():
    """What is gone is in what was allocated only."""
    reason = made_profiles()
    if reason is not None:
        reporter.skip("values of a program's profile", reason)
        return
    drawn = [hpprof("flame", "--sample", kind, "a.pb.gz") for kind in ("alloc_space", "inuse_space")]
    same("flame --sample chooses the values", ["pass" in picture for picture in drawn], [True, False])
    for kind, name in ("alloc_space", "pass"), ("inuse_space", "hold"):
        lines = json.loads(hpprof("list", "--sample", kind, "--json", "a.pb.gz", "^(pass|hold)$"))
        said = {row["function"] for row in lines["functions"] if row["flat"] > 0}
        report("list --sample %s has %s" % (kind, name), [] if name in said and
               ("pass" in said) == (kind == "alloc_space") else [str(said)])
    title = hpprof("top", "--base", "a.pb.gz", "a.pb.gz").splitlines()[0]
    report("top --base says of when each is", [] if re.fullmatch(
        r"a: inuse_space, ([-0-9]+ [:0-9]+ UTC); the change since a\.pb\.gz, \1: more is positive, less is negative",
        title) else [title])
    written = [hpprof("dump", "--record", "a.record", "--profile", profile, "--format", "collapsed", "-o", "-")
               for profile in ("allocs", "heap")]
    same("dump --record --profile chooses the profile", ["pass" in text for text in written], [True, False])


def check_doctor():
    """Of a program that does not run yet it judges the library it is told."""
    done = subprocess.run([HPPROF, "doctor", "--library", "/nowhere/lib.so", "/bin/cat"], timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    report("doctor --library looks at that library", [] if done.returncode == 1 and
           "/nowhere/lib.so" in done.stdout else [str(done.returncode), done.stdout])


def main():
    if not os.access(HPPROF, os.X_OK):
        print("1..0 # SKIP there is no " + HPPROF)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, text in ("old.folded", FOLDED), ("new.folded", LATER):
            with open(name, "w") as file:
                file.write(text)
        check_stacks()
        check_changes()
        check_leaks()
        check_formats()
        check_values()
        check_doctor()
        os.chdir("/")
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
