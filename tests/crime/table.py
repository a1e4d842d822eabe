#!/usr/bin/env python3
"""Each crime under glibc's malloc, under ours, and under ours hardened: what glibc reports is
reported by ours as well, and the hardened heap reports all there is.

A report is a line on stderr and an end by a signal. What glibc notices only because its own records
lie between the program's objects, where ours has none, is named below: by default that is not
found, hardened always."""

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
OURS = os.path.join(BUILD, "tests", "crime", "crime")
LIBC = os.path.join(BUILD, "tests", "crime", "crime_libc")

# No crimes; or such that a handler of the program's own, or the kernel, has the last word.
INNOCENT = {"no_crime", "free_with_right_size", "free_with_right_alignment"}
HANDLED = {"read_after_free_with_handler", "read_after_free_and_live", "read_after_free_on_stack",
           "read_by_the_system_after_free", "wild_read"}

# Damage from one live object to another: glibc's headers are in its way.
DAMAGE = {"underflow_by_1", "underflow_into_live", "overflow_into_live_small",
          "overflow_into_live_medium"}

# With samples, but so few that none of these objects is one: samples lie in slabs of their own, where
# a write after free is not looked for.
DEFAULT = {"HPMALLOC_SAMPLE_INTERVAL": "1g"}

# Each by itself: samples are guarded, all others have canaries and are kept for a while.
HARDENED = [{"HPMALLOC_HARDENED": "1", "HPMALLOC_SAMPLE_INTERVAL": interval}
            for interval in ("0", "1")]


def commit(program, name, variables=None):
    """Whether it was reported, and what was said."""
    environment = {key: value for key, value in os.environ.items()
                   if not key.startswith(("HPMALLOC_", "MALLOC_", "GLIBC_TUNABLES"))}
    try:
        done = subprocess.run([program, name], env=environment | (variables or {}), timeout=60,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, errors="replace", check=False)
    except subprocess.TimeoutExpired:
        return False, "still runs after a minute"
    said = done.stderr.strip().split("\n")[0]
    return done.returncode < 0 and said != "", "%s, status %d" % (said or "silence", done.returncode)


def names_of(program):
    return subprocess.run([program, "names"], capture_output=True, text=True,
                          check=True).stdout.split()


def faults_of(names, verdicts, must):
    return ["%s: %s" % (name, verdicts[name][1]) for name in names
            if must(name) and not verdicts[name][0]]


def main():
    reporter = tap.Reporter("crimes")
    names = [name for name in names_of(OURS) if name not in HANDLED]
    crimes = [name for name in names if name not in INNOCENT]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts_of = lambda program, variables=None: dict(zip(names, pool.map(
            lambda name: commit(program, name, variables), names)))
        default = verdicts_of(OURS, DEFAULT)
        hardened = [verdicts_of(OURS, variables) for variables in HARDENED]
        libc = verdicts_of(LIBC) if platform.libc_ver()[0] == "glibc" else None
    reporter.report("innocent programs end in silence", [
        "%s: %s" % (name, verdicts[name][1]) for verdicts in [default, *hardened]
        for name in INNOCENT if verdicts[name][1] != "silence, status 0"])
    if libc is None:
        reporter.skip("what glibc reports is reported by default", "this is no glibc")
    else:
        judge_default(reporter, crimes, default, libc)
    either = {name: max((verdicts[name] for verdicts in hardened), key=lambda v: v[0])
              for name in names}
    reporter.report("the hardened heap reports all %d of them" % len(crimes),
                    faults_of(crimes, either, lambda name: True))
    return reporter.finish()


def judge_default(reporter, crimes, default, libc):
    by_libc, by_us = ({name for name in crimes if verdicts[name][0]} for verdicts in (libc, default))
    reporter.report("what glibc reports is reported by default, but for damage to its records",
                    faults_of(crimes, default, lambda name: name in by_libc - DAMAGE))
    reporter.report("by default more are reported than by glibc (%d of %d; by glibc %d)"
                    % (len(by_us), len(crimes), len(by_libc)),
                    [] if len(by_us) > len(by_libc) else ["only by glibc: " + name
                                                          for name in sorted(by_libc - by_us)])
    reporter.report("what is named as damage is a crime", sorted(DAMAGE - set(crimes)))


if __name__ == "__main__":
    sys.exit(main())
