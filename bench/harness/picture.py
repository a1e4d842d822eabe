"""Time against memory, a dot for each allocator: an SVG that stands by itself."""

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 520
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 56, 62
LETTER, LINE = 7.4, 15  # a label's letter and height at 13 px, rather more than it takes
TICKS = [n / 100 for n in (*range(10, 100, 10), *range(100, 200, 20), *range(200, 400, 50))] + \
    list(range(4, 10)) + list(range(10, 100, 10))

# Not by CSS variables, which not every reader of SVG knows.
COLOURS = """
  text {{ fill: {ink}; }}
  .paper {{ fill: {paper}; }}
  .note, .tick {{ fill: {dim}; }}
  .grid {{ stroke: {faint}; }}
  .one, .bar, .lead {{ stroke: {dim}; }}
  .dot {{ fill: {dim}; }}
  .ours .dot, .ours text {{ fill: {ours}; }}
  .ours .bar {{ stroke: {ours}; }}
"""
LIGHT = COLOURS.format(paper="#ffffff", ink="#1f2328", faint="#e2e6ea", dim="#59636e",
                       ours="#b4400a")
DARK = COLOURS.format(paper="#0d1117", ink="#e6edf3", faint="#262c34", dim="#9198a1",
                      ours="#ff9b57")
STYLE = f"""
  text {{ font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }}
  .title {{ font-size: 16px; font-weight: 600; }}
  .note, .tick {{ font-size: 12px; }}
  .one {{ stroke-dasharray: 4 4; }}
  .bar {{ fill: none; }}
  .lead {{ stroke-width: 0.8; }}
  .ours text {{ font-weight: 600; }}
{LIGHT}
  @media (prefers-color-scheme: dark) {{
{DARK}
  }}
"""


@dataclass
class Point:
    name: str
    time: tuple  # low, middle, high; ratios to the baseline
    memory: tuple
    note: str = ""
    ours: bool = False

    @property
    def label(self):
        return f"{self.name} {self.note}".strip()


@dataclass
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other):
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(wide, 0) * max(high, 0)


PLOT = Box(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)


class Axis:
    """Logarithmic, so that twice and half are as far from one."""

    def __init__(self, values, start, end):
        low, high = math.log(min(*values, 1)), math.log(max(*values, 1))
        margin = max((high - low) * 0.1, 0.03)
        self.low, self.high = low - margin, high + margin
        self.start, self.end = start, end

    def place(self, value):
        share = (math.log(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, apart):
        """1 and what fits beside it."""
        chosen = [1.0]
        for tick in TICKS:
            inside = self.low <= math.log(tick) <= self.high
            if inside and all(abs(self.place(tick) - self.place(c)) >= apart for c in chosen):
                chosen.append(tick)
        return sorted(chosen)


def _label_boxes(x, y, text):
    """Where a label may stand, the best place first: beside its dot, then farther away."""
    wide = LETTER * len(text)
    for away in (9, 24, 42, 64, 90, 120, 160):
        slant = away * 0.75
        for left, middle in ((x + away, y), (x - away - wide, y), (x - wide / 2, y - away - 6),
                             (x - wide / 2, y + away + 6), (x + slant, y - slant),
                             (x + slant, y + slant), (x - slant - wide, y - slant),
                             (x - slant - wide, y + slant)):
            yield Box(left, middle - LINE / 2, left + wide, middle + LINE / 2)


def _inside(box):
    return (box.left >= PLOT.left + 2 and box.right <= PLOT.right - 2 and
            box.top >= PLOT.top + 2 and box.bottom <= PLOT.bottom - 2)


def place_labels(spots, lines=()):
    """spots: (x, y, text, obstacles of its own); lines: other obstacles. Returns a box for each,
    in that order: the first place without overlap, or the one that overlaps least."""
    taken = [box for *_, obstacles in spots for box in obstacles] + list(lines)
    placed = []
    for x, y, text, _ in spots:
        candidates = [box for box in _label_boxes(x, y, text) if _inside(box)]
        if not candidates:
            candidates = [next(_label_boxes(x, y, text))]
        best = min(candidates, key=lambda box: sum(box.overlap(other) for other in taken))
        taken.append(best)
        placed.append(best)
    return placed


def _obstacles(point, across, up):
    """The dot and its two bars."""
    x, y = across.place(point.time[1]), up.place(point.memory[1])
    return [Box(x - 6, y - 6, x + 6, y + 6),
            Box(across.place(point.time[0]), y - 2, across.place(point.time[2]), y + 2),
            Box(x - 2, up.place(point.memory[2]), x + 2, up.place(point.memory[0]))]


def _lines_of_one(across, up):
    x, y = across.place(1), up.place(1)
    return [Box(x - 1, PLOT.top, x + 1, PLOT.bottom), Box(PLOT.left, y - 1, PLOT.right, y + 1)]


def _grid(across, up):
    for tick in across.ticks(44):
        x, kind = across.place(tick), "one" if tick == 1 else "grid"
        yield f'<line class="{kind}" x1="{x:.1f}" y1="{PLOT.top}" x2="{x:.1f}" y2="{PLOT.bottom}"/>'
        yield (f'<text class="tick" x="{x:.1f}" y="{PLOT.bottom + 18}" text-anchor="middle">'
               f'{tick:.4g}</text>')
    for tick in up.ticks(24):
        y, kind = up.place(tick), "one" if tick == 1 else "grid"
        yield f'<line class="{kind}" x1="{PLOT.left}" y1="{y:.1f}" x2="{PLOT.right}" y2="{y:.1f}"/>'
        yield (f'<text class="tick" x="{PLOT.left - 8}" y="{y + 4:.1f}" text-anchor="end">'
               f'{tick:.4g}</text>')


def _lead(x, y, box):
    """A thin line from a dot to a label that does not stand beside it."""
    near_x, near_y = min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)
    if math.hypot(near_x - x, near_y - y) < 16:
        return ""
    return f'<line class="lead" x1="{x:.1f}" y1="{y:.1f}" x2="{near_x:.1f}" y2="{near_y:.1f}"/>'


def _dot(point, box, across, up):
    x, y = across.place(point.time[1]), up.place(point.memory[1])
    low, high = across.place(point.time[0]), across.place(point.time[2])
    least, most = up.place(point.memory[0]), up.place(point.memory[2])
    about = (f"{point.label}: time {point.time[1]:.3f} ({point.time[0]:.3f}-{point.time[2]:.3f}), "
             f"memory {point.memory[1]:.3f} ({point.memory[0]:.3f}-{point.memory[2]:.3f})")
    return (f'<g class="{"ours" if point.ours else "peer"}"><title>{escape(about)}</title>'
            f'<path class="bar" d="M{low:.1f} {y:.1f}H{high:.1f}M{x:.1f} {least:.1f}V{most:.1f}"/>'
            f'{_lead(x, y, box)}<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
            f'<text class="name" x="{box.left:.1f}" y="{box.bottom - 4:.1f}" '
            f'textLength="{(box.right - box.left) * 0.92:.1f}" lengthAdjust="spacingAndGlyphs">'
            f'{escape(point.label)}</text></g>')


def draw(points, title, note):
    """The picture of these points as text."""
    across = Axis([v for p in points for v in p.time], PLOT.left, PLOT.right)
    up = Axis([v for p in points for v in p.memory], PLOT.bottom, PLOT.top)
    boxes = place_labels([(across.place(p.time[1]), up.place(p.memory[1]), p.label,
                           _obstacles(p, across, up)) for p in points], _lines_of_one(across, up))
    middle = (PLOT.left + PLOT.right) / 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{_attribute(title)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{PLOT.left}" y="24">{escape(title)}</text>',
        f'<text class="note" x="{PLOT.left}" y="43">{escape(note)}</text>',
        *_grid(across, up),
        f'<text x="{middle}" y="{HEIGHT - 16}" text-anchor="middle">'
        "time, as a ratio to glibc (left is faster)</text>",
        f'<text transform="translate(20 {(PLOT.top + PLOT.bottom) / 2}) rotate(-90)" '
        'text-anchor="middle">peak memory, as a ratio to glibc (down is less)</text>',
        *(_dot(point, box, across, up) for point, box in zip(points, boxes)),
        "</svg>"]
    return "\n".join(lines) + "\n"


def _attribute(text):
    return escape(text, {'"': "&quot;"})
