"""The workloads of our own, as bench/workloads lists them."""

import os
import subprocess
from dataclasses import dataclass

from harness import allocators


@dataclass
class Workload:
    name: str
    threads: int
    stresses: str
    binary: str
    checked: bool = True

    def missing(self):
        return ""

    def prepare(self, inputs):
        """Nothing to read: a workload makes all it needs."""

    def run(self, launcher, allocator, inputs):
        return launcher.run([self.binary, self.name, f"{inputs.scale:g}"],
                            allocators.preload_for(allocator, self.binary),
                            allocator.environment)


def list_workloads(binary):
    listing = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True,
                             env=allocators.clean_environment())
    rows = [line.split(maxsplit=2) for line in listing.stdout.splitlines()]
    return [Workload(name, int(threads), stresses, os.path.abspath(binary))
            for name, threads, stresses in rows]
