"""From samples to ratios, means, a table, a file, and a verdict."""

import datetime
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from statistics import geometric_mean, median

from harness import limits
from harness.measure import Sample

BASELINE = "glibc"


@dataclass
class Series:
    """All samples of one workload: for each allocator one of each round, in order."""

    name: str
    kind: str  # "workload" or "program"
    threads: int
    stresses: str
    samples: dict = field(default_factory=dict)  # allocator -> [Sample]
    failures: dict = field(default_factory=dict)  # allocator -> why
    live: int = 0  # most bytes live at once; 0: not known
    settled_live: int = 0  # bytes live where the workload settles
    settled: dict = field(default_factory=dict)  # allocator -> resident KiB by moment

    def complete(self, allocator):
        return all(self.samples.get(a) and a not in self.failures for a in (BASELINE, allocator))

    def median(self, allocator, what):
        return median(getattr(sample, what) for sample in self.samples[allocator])

    def ratio(self, allocator, what):
        """Of the medians: this allocator's to the baseline's."""
        return self.median(allocator, what) / max(self.median(BASELINE, what), 1e-9)

    def round_ratio(self, allocator, what, number):
        ours, base = self.samples[allocator][number], self.samples[BASELINE][number]
        return getattr(ours, what) / max(getattr(base, what), 1e-9)

    def spread(self, allocator):
        """Half the range of the wall times, as a share of their median."""
        walls = [sample.wall for sample in self.samples[allocator]]
        return (max(walls) - min(walls)) / 2 / median(walls)


GROUPS = {
    "all": lambda series: True,
    "one thread": lambda series: series.kind == "workload" and series.threads == 1,
    "several threads": lambda series: series.kind == "workload" and series.threads > 1,
    "real programs": lambda series: series.kind == "program",
}


def _mean(values):
    """The geometric mean; a processor time too short to be seen counts as a little."""
    return geometric_mean(max(value, 1e-3) for value in values)


def summarize(all_series, allocator):
    """group -> means of time, cpu and memory ratios, and the range of the rounds' time means."""
    summary = {}
    for group, belongs in GROUPS.items():
        chosen = [s for s in all_series if belongs(s) and s.complete(allocator)]
        if not chosen:
            continue
        rounds = min(min(len(s.samples[a]) for a in (BASELINE, allocator)) for s in chosen)
        by_round = [_mean(s.round_ratio(allocator, "wall", number) for s in chosen)
                    for number in range(rounds)]
        memory_by_round = [_mean(s.round_ratio(allocator, "peak", number) for s in chosen)
                           for number in range(rounds)]
        summary[group] = {
            "count": len(chosen),
            "time": _mean(s.ratio(allocator, "wall") for s in chosen),
            "time_low": min(by_round), "time_high": max(by_round),
            "cpu": _mean(s.ratio(allocator, "cpu") for s in chosen),
            "memory": _mean(s.ratio(allocator, "peak") for s in chosen),
            "memory_low": min(memory_by_round), "memory_high": max(memory_by_round),
        }
    return summary


def _cells(series, allocator):
    if not series.complete(allocator):
        return f"{'failed':>7}{'':>12}"
    return (f"{series.ratio(allocator, 'wall'):7.3f} ±{100 * series.spread(allocator):3.0f}%"
            f"{series.ratio(allocator, 'peak'):6.2f} ")


def _row(series, names):
    if series.samples.get(BASELINE) and BASELINE not in series.failures:
        base = (f"{series.median(BASELINE, 'wall'):7.3f} ±{100 * series.spread(BASELINE):3.0f}%"
                f"{series.median(BASELINE, 'peak') / 1024:8.1f}")
    else:
        base = f"{'failed':>7}{'':>14}"
    return f"{series.name:<18}{series.threads:>4}{base}" + "".join(
        " |" + _cells(series, name) for name in names)


def _mean_rows(all_series, names):
    summaries = {name: summarize(all_series, name) for name in names}
    for group in GROUPS:
        present = [name for name in names if group in summaries[name]]
        if not present:
            continue
        yield f"\ngeometric mean, {group}"
        for name in present:
            mean = summaries[name][group]
            yield (f"  {name:<20} time {mean['time']:6.3f}  (rounds {mean['time_low']:.3f}-"
                   f"{mean['time_high']:.3f})  cpu {mean['cpu']:6.3f}  memory "
                   f"{mean['memory']:6.3f}  of {mean['count']}")


def table(all_series, names):
    """The whole report as text; names are the allocators beside the baseline."""
    head = f"{'':<22}{BASELINE:>21}" + "".join(f" | {name[:17]:<18}" for name in names)
    units = f"{'':<16}threads{'s':>6}{'MiB':>13} " + " |   time        mem " * len(names)
    lines = [head.rstrip(), units.rstrip()]
    lines += [_row(series, names).rstrip() for series in all_series]
    lines += _mean_rows(all_series, names)
    lines += limits.peak_rows(all_series, [BASELINE, *names])
    lines += limits.settled_rows(all_series, [BASELINE, *names])
    lines += [f"\n{s.name} under {allocator} failed: {why}"
              for s in all_series for allocator, why in s.failures.items()]
    return "\n".join(lines)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as cpuinfo:
        model = next((line.split(":", 1)[1].strip() for line in cpuinfo
                      if line.startswith("model name")), platform.machine())
    libc = " ".join(platform.libc_ver())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "memory_bytes": memory,
            "kernel": platform.release(), "libc": libc}


def write_json(path, all_series, names, settings):
    document = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": settings,
        "series": [asdict(series) for series in all_series],
        "summary": {name: summarize(all_series, name) for name in names},
    }
    with open(path + ".new", "w", encoding="utf-8") as out:
        json.dump(document, out, indent=1)
        out.write("\n")
    os.rename(path + ".new", path)


class BadFile(Exception):
    """What was read is not what write_json writes: says why."""


def read_json(path):
    """Returns all series, the names of the allocators beside the baseline, and the document."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        all_series = [_series_of(entry) for entry in document["series"]]
        names = list(document["summary"])
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise BadFile(f"{path}: not JSON of bench/run: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise BadFile(f"{path}: not a result of bench/run: {what}") from None
    return all_series, names, document


def _series_of(entry):
    series = Series(**entry)
    series.samples = {name: [Sample(**sample) for sample in samples]
                      for name, samples in series.samples.items()}
    for sample in (one for samples in series.samples.values() for one in samples):
        if not (sample.wall > 0 and sample.peak > 0):
            raise ValueError(f"{series.name} took no time or no memory")
    return series


@dataclass
class Bounds:
    geomean_time: float
    time: float
    geomean_memory: float


def broken_bounds(all_series, allocator, bounds):
    """A sentence for every bound that this allocator breaks, and for every failure."""
    found = [f"{s.name}: failed: {why}" for s in all_series
             for name, why in s.failures.items() if name in (allocator, BASELINE)]
    mean = summarize(all_series, allocator).get("all")
    if not mean:
        return found + [f"{allocator}: nothing was measured"]
    for what, limit in (("time", bounds.geomean_time), ("memory", bounds.geomean_memory)):
        if mean[what] > limit:
            found.append(f"geometric mean of {what} {mean[what]:.3f}, bound {limit:.3f}")
    found += [f"{s.name}: time {s.ratio(allocator, 'wall'):.3f}, bound {bounds.time:.3f}"
              for s in all_series
              if s.complete(allocator) and s.ratio(allocator, "wall") > bounds.time]
    return found
