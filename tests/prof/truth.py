#!/usr/bin/env python3
"""A program that knows what it holds, against the profile of it: every function within five
standard errors of the truth, and the whole within a tenth."""

import math
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import profileproto  # noqa: E402
import tap  # noqa: E402

PROGRAM = os.path.join(os.environ.get("top_builddir", "."), "tests/prof/truth")
ERRORS = 5

reporter = tap.Reporter("truth")
report = reporter.report


class Fact:
    """What is true of a function, and how far an estimate may be from it: of n objects of s bytes
    at interval T, each is sampled with p = 1 - exp(-s/T), so the variance of the estimated number
    is n (1-p)/p."""

    def __init__(self, words):
        self.name = words[1]
        self.bytes, self.live, self.allocated, self.interval = map(int, words[2:])
        p = -math.expm1(-self.bytes / self.interval)
        self.objects_variance = (1 - p) / p

    def faults(self, profile, value, objects, scale):
        is_ = profile.total(value, self.name)
        truth = objects * scale
        error = scale * math.sqrt(objects * self.objects_variance)
        if abs(is_ - truth) <= ERRORS * error + max(scale, 1):
            return []
        return ["%s of %s is %d, not %d ± %d" % (value, self.name, is_, truth, error)]


def run(scenario, folder):
    """The facts as the program states them, and the profile."""
    path = os.path.join(folder, scenario)
    environment = dict(os.environ, HPMALLOC_SYMBOLIZE="on", HPMALLOC_QUIET="1",
                       HPMALLOC_SAMPLE_BUDGET="off")
    said = subprocess.run([PROGRAM, scenario, path], env=environment, timeout=120, check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    lines = [line.split() for line in said.splitlines()]
    return lines, profileproto.Profile(path + ".pb.gz"), open(path + ".txt").read()


def check_facts(scenario, facts, profile):
    live, allocated = [], []
    for fact in facts:
        live += fact.faults(profile, "inuse_space", fact.live, fact.bytes)
        live += fact.faults(profile, "inuse_objects", fact.live, 1)
        allocated += fact.faults(profile, "alloc_space", fact.allocated, fact.bytes)
        allocated += fact.faults(profile, "alloc_objects", fact.allocated, 1)
    report(scenario + ": what lives is within five standard errors", live)
    report(scenario + ": what was ever allocated is within five standard errors", allocated)


def check_total(scenario, facts, profile):
    truth = sum(fact.bytes * fact.live for fact in facts)
    variance = sum(fact.bytes ** 2 * fact.live * fact.objects_variance for fact in facts)
    is_, error = profile.total("inuse_space"), math.sqrt(variance)
    report(scenario + ": the sum of what lives is within five standard errors",
           [] if abs(is_ - truth) < ERRORS * error
           else ["it is %d, not %d ± %d" % (is_, truth, error)])
    if scenario == "sizes":
        report("sizes: the sum of what lives is within a tenth of the truth",
               [] if abs(is_ - truth) < truth / 10 else ["it is %d, not %d" % (is_, truth)])


def check_sizes(scenario, facts, profile):
    """The label `bytes` of a function's samples is what its objects charge."""
    faults = []
    for fact in facts:
        sizes = {size for stack, _, size in profile.samples if fact.name in stack}
        if sizes - {fact.bytes}:
            faults.append("%s has objects of %s bytes, not %d" % (fact.name, sizes, fact.bytes))
    report(scenario + ": samples carry the size of their objects", faults)


def facts_of(lines):
    return [Fact(words) for words in lines if words[0] == "function"]


def check_scenario(scenario, folder):
    lines, profile, text = run(scenario, folder)
    facts = facts_of(lines)
    check_facts(scenario, facts, profile)
    check_sizes(scenario, facts, profile)
    if scenario != "resizes":
        check_total(scenario, facts, profile)
    if scenario == "sizes":
        check_shape(profile)
        check_text(facts, text)
    if scenario == "intervals":
        report("intervals: nothing is sampled while profiling is off",
               ["there is something"] if profile.total("alloc_objects", "make_while_off") else [])
    if scenario == "resizes":
        check_resizes(lines, profile)


def check_resizes(lines, profile):
    """Of a chain only the last length lives."""
    words = next(words for words in lines if words[0] == "live")
    fact = Fact(["", words[1], words[2], words[3], 0, words[4]])
    report("resizes: of a chain of small blocks the last one lives",
           fact.faults(profile, "inuse_space", fact.live, fact.bytes))


def check_shape(profile):
    wanted = ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]
    report("sizes: sample types stand in Go's order",
           [] if profile.types == wanted else [str(profile.types)])
    report("sizes: the period is the interval",
           [] if profile.period == 65536 else [str(profile.period)])
    # In-use values are calibrated, alloc values are not, for they must never fall: the two may differ
    # by what chance explains.
    faults = ["more lives than was allocated: %s" % values for _, values, _ in profile.samples
              if values["inuse_space"] > 1.2 * values["alloc_space"]]
    report("sizes: no stack holds more than it allocated, but for chance", faults)


def check_text(facts, text):
    faults = ["%s is not in the text" % fact.name for fact in facts
              if fact.live and fact.name not in text]
    report("sizes: the text names every function that holds memory", faults)


def check_peak(folder):
    """What was live at the peak, long after it, when little is."""
    lines, profile, _ = run("peak", folder)
    facts = facts_of(lines)
    check_facts("peak", facts, profile)
    at_peak = profileproto.Profile(os.path.join(folder, "peak.peak.pb.gz"))
    parts = [Fact(words) for words in lines if words[0] == "peak"]
    faults = []
    for part in parts:
        faults += part.faults(at_peak, "inuse_space", part.live, part.bytes)
    report("peak: each part of it is within five standard errors", faults)
    truth = sum(part.bytes * part.live for part in parts)
    error = math.sqrt(sum(part.bytes ** 2 * part.live * part.objects_variance for part in parts))
    total = at_peak.total("inuse_space")
    report("peak: a gibibyte is remembered, and what came later is not in it",
           [] if truth > 1 << 30 and abs(total - truth) < ERRORS * error and
           at_peak.total("inuse_space", "make_after") == 0 and
           profile.total("inuse_space") < 100 << 20
           else ["%d at the peak, not %d ± %d; %d now" %
                 (total, truth, error, profile.total("inuse_space"))])


def check_go(folder):
    go = shutil.which("go")
    sentence = "sizes: go tool pprof reads the profile"
    if go is None:
        reporter.skip(sentence, "there is no go")
        return
    top = subprocess.run([go, "tool", "pprof", "-top", "-sample_index=inuse_space", PROGRAM,
                          os.path.join(folder, "sizes.pb.gz")], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, timeout=120,
                         env=dict(os.environ, HOME=folder, PPROF_TMPDIR=folder)).stdout
    names = ["make_tiny", "make_small", "make_huge", "make_large"]
    faults = ["%s is not in its answer: %s" % (name, top) for name in names if name not in top]
    report(sentence, faults)


def main():
    if not os.path.exists(PROGRAM):
        print("1..0 # SKIP there is no " + PROGRAM)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        for scenario in ("sizes", "intervals", "resizes", "threads"):
            check_scenario(scenario, folder)
        check_peak(folder)
        check_go(folder)
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
