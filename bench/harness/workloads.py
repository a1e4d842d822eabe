"""The workloads of our own, as bench/workloads lists them."""

import os
import subprocess
from dataclasses import dataclass

from harness import allocators, measure


@dataclass
class Workload:
    name: str
    threads: int
    stresses: str
    binary: str
    settles: bool
    checked: bool = True

    def missing(self):
        return ""

    def prepare(self, inputs):
        """Nothing to read: a workload makes all it needs."""

    def run(self, launcher, allocator, inputs):
        return launcher.run([self.binary, self.name, f"{inputs.scale:g}"],
                            allocators.preload_for(allocator, self.binary),
                            allocator.environment)

    def largest_live(self, launcher, counter, inputs):
        """Bytes asked for and not freed, at most; counter is the path of live_alloc.so."""
        return self._ask(launcher, "--live", allocators.Allocator("live", counter), inputs)["live"]

    def settle(self, launcher, allocator, inputs):
        """What stays resident after the peak: KiB by moment, and the live bytes under
        live_alloc.so."""
        return self._ask(launcher, "--settle", allocator, inputs)

    def _ask(self, launcher, option, allocator, inputs):
        words = launcher.read([self.binary, option, self.name, f"{inputs.scale:g}"],
                              allocators.preload_for(allocator, self.binary),
                              allocator.environment).split()
        if len(words) < 2 or len(words) % 2 or not all(word.isdigit() for word in words[1::2]):
            raise measure.Failed(f"{option} printed {' '.join(words)[:80]!r}")
        return dict(zip(words[::2], map(int, words[1::2])))


def list_workloads(binary):
    listing = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True,
                             env=allocators.clean_environment())
    rows = [line.split(maxsplit=3) for line in listing.stdout.splitlines()]
    return [Workload(name, int(threads), stresses, os.path.abspath(binary), settles == "settle")
            for name, threads, settles, stresses in rows]
