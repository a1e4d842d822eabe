#!/usr/bin/env python3
"""bench/scale counts what it says: its loads hold what they were asked for, and the model of its locks is
that of the books."""

import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

SOURCE = os.path.abspath(os.environ.get("top_srcdir", "."))
BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
LIBRARY = os.path.join(BUILD, ".libs", "libhpmalloc.so")
LOAD = os.path.join(BUILD, "bench", "scale_load")
sys.path.insert(0, os.path.join(SOURCE, "bench"))
from harness import scaling  # noqa: E402

reporter = tap.Reporter("bench scale")
report = reporter.report


def stats_of(load, count):
    done = subprocess.run([LOAD, load, str(count)], check=True, timeout=120, stdout=subprocess.PIPE, env=dict(
        os.environ, LD_PRELOAD=LIBRARY, HPMALLOC_SAMPLE_INTERVAL="1", HPMALLOC_SAMPLE_BUDGET="off",
        HPMALLOC_QUIET="1"))
    return json.loads(done.stdout)["stats"]


def at_least(sentence, is_, count):
    report(sentence, [] if count <= is_ <= count + 200 else ["%r, not %r" % (is_, count)])


def check_loads():
    at_least("so many threads", stats_of("threads", 100)["threads"], 100)
    stacks = stats_of("stacks", 3000)
    at_least("so many stacks", stacks["stacks"], 3000)
    at_least("of which nothing is live", stacks["live_samples"], 0)
    at_least("so many live samples", stats_of("samples", 30000)["live_samples"], 30000)
    at_least("so many blocks", stats_of("blocks", 50)["live_large_bytes"] >> 20, 50)


def check_model():
    """Known without it: one customer never waits; a saturated server does 1/s; for equal parts the chance
    that the server idles is Erlang's."""
    def far(is_, should_be):
        return [] if abs(is_ - should_be) < 0.001 * should_be else ["%r, not %r" % (is_, should_be)]
    report("one processor never waits", far(scaling.throughput(1, 0.9, 0.1), 1))
    report("a lock that is always busy bounds them all", far(scaling.throughput(1000, 0.9, 0.1), 10))
    # Two customers, think time 1, service 1: idle with probability 1/5, so a rate of 4/5, of units of 2.
    report("two that share one in half of their work do 1.6", far(scaling.throughput(2, 1, 1), 1.6))


def main():
    check_model()
    if not os.path.exists(LIBRARY) or "-fsanitize" in os.environ.get("HPM_COMPILE", ""):
        reporter.skip("the loads", "there is no library to preload")
    else:
        check_loads()
    return reporter.finish()


if __name__ == "__main__":
    sys.exit(main())
