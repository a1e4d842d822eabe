"""Measurements of bench/scale: see there, and docs/scale.md for what they say."""

import json
import os
import re
import subprocess
from dataclasses import dataclass

from harness import allocators, callgrind

# Load, smaller and larger count, what one is, environment. What one takes is the difference over that of the counts.
LOADS = (
    ("threads", 1000, 4000, "thread", {}),
    ("stacks", 50000, 200000, "stack", {"HPMALLOC_SAMPLE_INTERVAL": "1"}),
    ("samples", 1000000, 4000000, "live sample", {"HPMALLOC_SAMPLE_INTERVAL": "1"}),
    ("mebibytes", 512, 2048, "GiB of small objects", {}),
    ("blocks", 20000, 80000, "GiB of blocks, one page written", {}),
)
ONE_IS = {"mebibytes": 1024, "blocks": 1024}

# Workloads with threads that meet; their malloc+free pairs are counted by what the statistics cannot
# say, so by callgrind once, with a small part of the work.
SHARED = ("producer-consumer", "many-to-one", "ring", "exchange", "parallel", "parallel-32", "server", "waiting")

# What runs under a lock: the rooms' calls that take it, and the lock they take. Inclusive
# instructions of a call are an upper bound of what runs while it is held.
SECTIONS = (
    ("central_take", "central, one a shard"),
    ("central_put", "central, one a shard"),
    ("central_return", "central, one a shard"),
    ("pageheap_alloc_aligned", "pageheap, one"),
    ("pageheap_free_part", "pageheap, one"),
    ("livetab_alloc", "livetab, one"),
    ("livetab_free", "livetab, one"),
    ("meta_pool_alloc", "meta, one"),
)
SHARDS_MAX = 256
# Callgrind knows no cache: the line of a lock that another processor had last comes late. Taken as so
# many instructions each time, inside the lock.
TRANSFER = 200


class Failed(Exception):
    """There is no figure: says why."""


@dataclass
class Place:
    build: str
    scale: float
    scratch: str = ""

    @property
    def library(self):
        return os.path.join(self.build, ".libs", "libhpmalloc.so")

    def program(self, name):
        return os.path.join(self.build, "bench", name)


def _run(place, command, environment, library):
    settings = allocators.clean_environment() | {"HPMALLOC_QUIET": "1", "HPMALLOC_SAMPLE_BUDGET": "off"} | environment
    if library:
        settings["LD_PRELOAD"] = library
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed("%s: %s" % (" ".join(command), done.stderr.strip()[-300:] or done.returncode))
    return done


def _load(place, name, count, environment, library):
    return json.loads(_run(place, [place.program("scale_load"), name, str(count)], environment, library).stdout)


def _each(place, load, library):
    """What one of a thing takes: resident bytes, of them metadata, and page tables."""
    name, small, large, _, environment = load
    counts = [max(int(count * place.scale), 10) for count in (small, large)]
    first, second = (_load(place, name, count, environment, library) for count in counts)
    things = (counts[1] - counts[0]) / ONE_IS.get(name, 1)

    def difference(one, other):
        return (other - one) / things

    metadata = None
    if first["stats"]:
        metadata = difference(first["stats"]["metadata_bytes"], second["stats"]["metadata_bytes"])
    return (1024 * difference(first["resident_kib"], second["resident_kib"]), metadata,
            1024 * difference(first["tables_kib"], second["tables_kib"]))


def _bytes(number):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 10240 or unit == "GiB":
            return "%.0f %s" % (number, unit)
        number /= 1024
    return None


def memory(place):
    print("| one | resident | of it metadata | glibc: resident |")
    print("|---|---|---|---|")
    for load in LOADS:
        ours, metadata, _ = _each(place, load, place.library)
        theirs, _, _ = _each(place, load, "")
        print("| %s | %s | %s | %s |" % (load[3], _bytes(ours), _bytes(metadata), _bytes(theirs)), flush=True)
    print()


def _functions(path):
    """Of a callgrind file: name -> (calls, inclusive instructions of them), and the total."""
    calls, costs, names, total = {}, {}, {}, 0
    callee, count = None, None
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(("fn=", "cfn=")):
                number, _, name = line.partition("=")[2].strip().partition(" ")
                if name:
                    names[number] = name
                callee = names[number] if line.startswith("cfn=") else callee
            elif line.startswith("calls="):
                count = int(line[6:].split()[0])
            elif count is not None:
                calls[callee] = calls.get(callee, 0) + count
                costs[callee] = costs.get(callee, 0) + int(line.split()[1])
                count = None
            elif line.startswith("totals:"):
                total = int(line.split()[1])
    return {name: (calls[name], costs[name]) for name in calls}, total


def _counted(place, workload, share):
    output = os.path.join(place.scratch, "callgrind.out")
    command = callgrind.command_for([place.program("workloads"), workload, str(share)], output)
    _run(place, command, {}, place.library)
    return _functions(output)


def _pairs(functions):
    return sum(calls for name, (calls, _) in functions.items()
               if re.fullmatch(r"malloc|calloc|realloc|posix_memalign|aligned_alloc", name))


def _share(place, whole):
    return max(whole * place.scale, 0.002)


def contention(place):
    """The statistics at exit have the events of a whole run; callgrind the calls of a part of it."""
    print("| workload | allocations | lock held by another | futex waits | futex wakes |")
    print("|---|---|---|---|---|")
    for workload in SHARED:
        part, whole = _share(place, 0.02), _share(place, 1)
        functions, _ = _counted(place, workload, part)
        millions = _pairs(functions) * whole / part / 1e6
        done = _run(place, [place.program("workloads"), workload, str(whole)], {
            "HPMALLOC_STATS": "json", "HPMALLOC_QUIET": "0", "HPMALLOC_PROGRAM": "workloads"}, place.library)
        stats = json.loads(re.search(r"^\{.*\}", done.stderr, re.M | re.S).group(0))
        print("| %s | %.1f million | %.1f | %.2f | %.2f |" % (workload, millions, *(
            stats[key] / millions for key in ("contended_locks", "wait_calls", "wake_calls"))), flush=True)
    print("\nEvents are per million allocations.\n")


def throughput(processors, think, section):
    """Of a closed queue with one server: exact mean value analysis, exponential times."""
    waiting = rate = 0.0
    for customers in range(1, processors + 1):
        stay = section * (1 + waiting)
        rate = customers / (think + stay)
        waiting = rate * stay
    return rate * (think + section)


def _print_model(workload, demand, total):
    """`demand`: lock -> instructions inside it. Each thread runs `total` instructions in all."""
    for lock, inside in sorted(demand.items()):
        if inside == 0:
            continue
        share = inside / total
        sharded = "a shard" in lock
        speedups = ["%.1f" % (throughput(n, 1 - share, share) if not sharded else
                              n * throughput(-(-n // min(n, SHARDS_MAX)), 1 - share, share))
                    for n in (8, 32, 128)]
        print("| %s | %s | %.3f %% | %.0f | %s |" % (
            workload, lock, 100 * share, 1 / share, " | ".join(speedups)), flush=True)


def locks(place):
    print("| workload | lock | held for, of all work | one lock is busy at | 8 | 32 | 128 processors do |")
    print("|---|---|---|---|---|---|---|")
    for workload in ("server", "parallel", "exchange", "exchange-large", "many-to-one", "churn", "large-blocks"):
        functions, total = _counted(place, workload, _share(place, 0.05))
        demand = {}
        for name, lock in SECTIONS:
            calls, inside = functions.get(name, (0, 0))
            demand[lock] = demand.get(lock, 0) + inside + TRANSFER * calls
        _print_model(workload, demand, total + sum(demand.values()))
    print()
