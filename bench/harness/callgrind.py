"""Exact instruction counts by callgrind: of bench/pairs, and of whole programs."""

import os
import re
import subprocess
from dataclasses import dataclass

from harness import allocators

SHAPES = ("immediate", "batch")


class Failed(Exception):
    """The count is none: says why."""


@dataclass
class Counts:
    """Of one run, or of the difference of two."""

    total: float
    malloc: float  # inclusive, all calls that the loop makes
    free: float

    def minus(self, other):
        return Counts(self.total - other.total, self.malloc - other.malloc,
                      self.free - other.free)

    def per(self, pairs):
        return Counts(self.total / pairs, self.malloc / pairs, self.free / pairs)


@dataclass
class Pair:
    """What one malloc and one free take, the loop and the PLT taken off."""

    both: float
    malloc: float
    free: float


def parse(lines):
    """Sums what the loop_* functions call, and reads the total, from a callgrind output file
    without compressed names or positions."""
    counts = Counts(0, 0, 0)
    in_loop, callee, is_call = False, "", False
    for line in lines:
        if is_call:
            cost = int(line.split()[1])
            counts.free += cost if "free" in callee else 0
            counts.malloc += 0 if "free" in callee else cost
            is_call = False
        elif line.startswith("fn="):
            in_loop = line.startswith("fn=loop_")
        elif line.startswith("cfn="):
            callee = line[4:].strip()
        elif line.startswith("calls="):
            is_call = in_loop and not callee.startswith("_dl_runtime_resolve")
        elif line.startswith("totals:"):
            counts.total = int(line.split()[1])
    return counts


def _valgrind():
    """The program behind Debian's wrapper script, where there is one."""
    tool = allocators.system_tool("valgrind.bin") or allocators.system_tool("valgrind")
    if not tool:
        raise Failed("valgrind is not installed")
    return tool


def _loader_of(binary):
    with open(binary, "rb") as file:
        found = re.search(rb"/[\w./-]*/ld-[\w.-]+\.so\.\d+", file.read())
    if not found:
        raise Failed(f"{binary} names no dynamic loader")
    return found[0].decode()


def command_for(command, output, *options):
    """What counts the command's own instructions into the file."""
    return [_valgrind(), "-q", "--tool=callgrind", "--trace-children=no",
            f"--callgrind-out-file={output}", *options, *command]


def check(status, complaint):
    if status != 0 or "cannot be preloaded" in complaint:
        raise Failed(complaint.strip()[-300:] or f"exit status {status}")


def _count(command, environment, scratch):
    output = os.path.join(scratch, "callgrind.out")
    done = subprocess.run(
        command_for(command, output, "--compress-strings=no", "--compress-pos=no"),
        env=allocators.clean_environment() | environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False)
    check(done.returncode, done.stderr)
    with open(output, encoding="utf-8", errors="replace") as lines:
        return parse(lines)


@dataclass
class Whole:
    """Of a whole program."""

    total: int
    samples: int  # that our profiler took

    def minus(self, other):
        return Whole(self.total - other.total, self.samples - other.samples)


def parse_whole(lines):
    """Reads the total, and how often profile_record was called, from a callgrind output file."""
    whole, ours, is_ours = Whole(0, 0), None, False
    for line in lines:
        if line.startswith(("fn=", "cfn=")):
            number, _, name = line.partition("=")[2].strip().partition(" ")
            if name == "profile_record":
                ours = number
            is_ours = line.startswith("cfn=") and number == ours
        elif line.startswith("calls=") and is_ours:
            whole.samples += int(line[6:].split()[0])
        elif line.startswith("totals:"):
            whole.total = int(line.split()[1])
    return whole


def _per_pair(command, environment, shape, pairs, scratch):
    """The difference of 2N and N iterations: start, end and warming up fall out of it."""
    once, twice = (_count([*command, shape, str(n)], environment, scratch)
                   for n in (pairs, 2 * pairs))
    return twice.minus(once).per(pairs)


@dataclass
class Counter:
    """Counts shapes under allocators, beside the allocator that does nothing."""

    binary: str
    null_library: str
    pairs: int
    scratch: str

    def overhead(self, shape):
        """Instructions a pair that are the loop's and the PLT's: all of the run under the null
        allocator but the null allocator's own. That one is preloaded by the dynamic loader's
        option, not by the environment: valgrind's launcher needs a malloc that works."""
        command = [_loader_of(self.binary), "--preload", self.null_library, self.binary]
        null = _per_pair(command, {}, shape, self.pairs, self.scratch)
        if not 0 < null.malloc + null.free < 8:
            raise Failed("the null allocator was not preloaded")
        return null.total - null.malloc - null.free

    def pair(self, allocator, shape, overhead):
        environment = dict(allocator.environment)
        if allocator.library:
            environment["LD_PRELOAD"] = allocator.library
        run = _per_pair([self.binary], environment, shape, self.pairs, self.scratch)
        return Pair(run.total - overhead, run.malloc, run.free)
