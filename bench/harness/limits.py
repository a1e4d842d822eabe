"""Memory against its limit: peaks over live bytes, and what stays resident after a peak."""

from statistics import geometric_mean

MOMENTS = ("at_once", "idle", "after")


def peak_over_live(series, allocator):
    """None where the workload failed or its live bytes are not known."""
    if not series.live or allocator in series.failures or not series.samples.get(allocator):
        return None
    return series.median(allocator, "peak") * 1024 / series.live


def settled_over_live(series, allocator, moment):
    if not series.settled_live or allocator not in series.settled:
        return None
    return series.settled[allocator][moment] * 1024 / series.settled_live


def _cell(ratio, width):
    return f"{'-' if ratio is None else f'{ratio:.2f}':>{width}}"


def peak_rows(all_series, names):
    """Small workloads are left out: below 4 MiB live it is the program's own image that counts."""
    chosen = [s for s in all_series if s.live >= 4 * 1024 * 1024]
    if not chosen:
        return
    yield "\npeak over live bytes, workloads of 4 MiB live and more"
    yield f"{'':<18}{'live MiB':>9}" + "".join(f"{name[:13]:>14}" for name in names)
    for series in chosen:
        yield f"{series.name:<18}{series.live / 2 ** 20:9.1f}" + "".join(
            _cell(peak_over_live(series, name), 14) for name in names)
    columns = [[peak_over_live(s, name) for s in chosen] for name in names]
    yield f"{'geometric mean':<27}" + "".join(
        _cell(None if None in column else geometric_mean(column), 14) for column in columns)


def settled_rows(all_series, names):
    """MiB resident when the workload has dropped what it drops, after a second without a call,
    and after another with a few; and the last over live bytes."""
    chosen = [s for s in all_series if s.settled]
    if not chosen:
        return
    yield "\nresident after the peak: MiB at once, after an idle second, after one with a few " \
        "calls; the last over live bytes"
    yield f"{'':<18}{'live MiB':>9}" + "".join(f"{name[:13]:>26}" for name in names)
    for series in chosen:
        yield f"{series.name:<18}{series.settled_live / 2 ** 20:9.1f}" + "".join(
            _settled_cell(series, name) for name in names)


def _settled_cell(series, name):
    if name not in series.settled:
        return f"{'-':>26}"
    found = series.settled[name]
    return "".join(f"{found[moment] / 1024:6.0f}" for moment in MOMENTS).rjust(19) + _cell(
        settled_over_live(series, name, "after"), 7)
