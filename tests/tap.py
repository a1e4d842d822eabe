"""What tests in Python say: a line of TAP for each sentence, with what speaks against it before it.
And what they ask: where it is not so, an AssertionError says what was."""

import os
import sys
import time


def is_emulated():
    """Whether qemu stands between what was built and the kernel: it does not do all that a kernel does."""
    return "EMULATED" in os.environ


def target_of(path):
    """The processor and the C library that an ELF file is for."""
    with open(path, "rb") as file:
        data = file.read()
    return data[18:20], b"\0libc.so.6\0" in data


def is_native(library):
    """Whether this machine's own programs can be run with it."""
    return target_of(library) == target_of(os.path.realpath(sys.executable))


def equal(is_, should_be, *said):
    if is_ != should_be:
        raise AssertionError(" ".join(["%r is not %r" % (is_, should_be), *map(str, said)]))


def holds(condition, *said):
    if not condition:
        raise AssertionError(" ".join(map(str, said)) or "it does not hold")


def soon(condition, seconds=10.0, pause=0.02):
    """Whether it comes true in that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


class Reporter:
    def __init__(self, name, faults_shown=None):
        """`faults_shown`: at most so many of a sentence's faults; None: all."""
        self.name, self.faults_shown = name, faults_shown
        self.test_count = self.fail_count = 0

    def report(self, sentence, faults, skip=None):
        self.test_count += 1
        for fault in faults[:self.faults_shown]:
            print("# " + fault)
        self.fail_count += bool(faults)
        print("%s %d - %s: %s%s" % ("not ok" if faults else "ok", self.test_count, self.name, sentence,
                                    " # SKIP " + skip if skip else ""), flush=True)

    def skip(self, sentence, reason):
        self.report(sentence, [], reason)

    def finish(self):
        """Prints the plan. The exit status."""
        print("1..%d" % self.test_count)
        return int(self.fail_count != 0)
