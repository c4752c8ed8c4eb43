"""Small charts as SVG: lines over axes from 0 to 1, and a table of counts. Colours follow the reader's light or dark
theme.

The charts are written here, not drawn by matplotlib: four plain charts are not worth 30 MB in the service's image, and
the SVG of matplotlib has a single background.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

SIDE, LEFT, TOP, BOTTOM = 360, 64, 40, 52
LEGEND, LINE = 320, 20
CELL, NAME = 84, 120
COLOURS = 6
LONGEST_NAME = 40

STYLE = """
svg{font:13px system-ui,sans-serif;--ink:#1b1f24;--faint:#d0d7de;--paper:#fff;--fill:#0969da;
--c0:#0969da;--c1:#bc4c00;--c2:#1a7f37;--c3:#8250df;--c4:#bf3989;--c5:#7d6300}
@media(prefers-color-scheme:dark){svg{--ink:#e6edf3;--faint:#3d444d;--paper:#0d1117;--fill:#388bfd;
--c0:#58a6ff;--c1:#f0883e;--c2:#3fb950;--c3:#bc8cff;--c4:#f778ba;--c5:#d4a72c}}
text{fill:var(--ink)}.paper{fill:var(--paper)}.title{font-weight:600;font-size:15px}
.grid{stroke:var(--faint)}.axis{stroke:var(--ink)}.line{fill:none;stroke-width:2}.end{text-anchor:end}
.middle{text-anchor:middle}.guide{stroke:var(--ink);stroke-width:1;stroke-dasharray:2 4;fill:none}
"""
DASHES = ("none", "8 3", "2 3")
"""When all colours are used, further lines differ by their dashes."""


@dataclass(frozen=True)
class Line:
    """A line and its name in the legend; x and y are from 0 to 1. `dots` also marks the points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False


def line_chart(
    title: str, x_title: str, y_title: str, lines: Sequence[Line], guide: Sequence[tuple[float, float]] = ()
) -> str:
    """Draw lines over the unit square, with a title on each axis, a legend, and a dotted guide such as the diagonal."""
    parts = [*_axes(x_title, y_title)]
    if guide:
        parts.append(f'<polyline class="guide" points="{_points(*zip(*guide, strict=True))}"/>')
    for number, line in enumerate(lines):
        parts += _draw(line, _stroke(number))
        parts += _legend_entry(line, number)
    height = max(TOP + SIDE + BOTTOM, TOP + LINE * (len(lines) + 1))
    return _svg(title, LEFT + SIDE + LEGEND, height, parts)


def count_table(title: str, names: Sequence[str], rows: Sequence[Sequence[int]]) -> str:
    """Draw counts by true class (rows) and predicted class (columns), each shaded by its share of the row."""
    parts = [
        f'<text class="middle" x="{NAME + CELL * len(names) / 2}" y="{TOP + 14}">predicted class</text>',
        f'<text class="middle" transform="translate(16 {TOP + 48 + CELL * len(rows) / 2}) rotate(-90)">class</text>',
    ]
    for number, name in enumerate(names):
        middle = NAME + CELL * (number + 0.5)
        parts.append(f'<text class="middle" x="{middle}" y="{TOP + 36}">{_short(name, 11)}</text>')
        parts.append(f'<text class="end" x="{NAME - 8}" y="{_row(number) + CELL / 2 + 4}">{_short(name, 12)}</text>')
    for row, counts in enumerate(rows):
        for column, count in enumerate(counts):
            parts += _cell(row, column, count, count / max(sum(counts), 1))
    return _svg(title, NAME + CELL * len(names) + 16, int(_row(len(rows))) + 16, parts)


def _axes(x_title: str, y_title: str) -> list[str]:
    parts = []
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        x, y = _pixel(tick, tick)
        parts.append(f'<path class="grid" d="M{x} {TOP}V{TOP + SIDE}M{LEFT} {y}H{LEFT + SIDE}"/>')
        parts.append(f'<text class="middle" x="{x}" y="{TOP + SIDE + 18}">{tick:.1f}</text>')
        parts.append(f'<text class="end" x="{LEFT - 8}" y="{y + 4}">{tick:.1f}</text>')
    parts.append(f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{TOP + SIDE}H{LEFT + SIDE}"/>')
    parts.append(f'<text class="middle" x="{LEFT + SIDE / 2}" y="{TOP + SIDE + 40}">{escape(x_title)}</text>')
    turned = f"translate(18 {TOP + SIDE / 2}) rotate(-90)"
    parts.append(f'<text class="middle" transform="{turned}">{escape(y_title)}</text>')
    return parts


def _draw(line: Line, stroke: str) -> list[str]:
    parts = [f'<polyline class="line" style="{stroke}" points="{_points(line.x, line.y)}"/>']
    if line.dots:
        for x, y in zip(line.x, line.y, strict=True):
            across, down = _pixel(x, y)
            parts.append(f'<circle cx="{across}" cy="{down}" r="3" style="{stroke};fill:var(--paper);stroke-width:2"/>')
    return parts


def _legend_entry(line: Line, number: int) -> list[str]:
    x, y = LEFT + SIDE + 16, TOP + 10 + LINE * number
    return [
        f'<path class="line" style="{_stroke(number)}" d="M{x} {y}h24"/>',
        f'<text x="{x + 32}" y="{y + 4}">{_short(line.name, LONGEST_NAME)}</text>',
    ]


def _cell(row: int, column: int, count: int, share: float) -> list[str]:
    x, y = NAME + CELL * column, _row(row)
    middle = f'class="middle" x="{x + CELL / 2}"'
    return [
        f'<rect class="grid" x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="var(--fill)"'
        f' fill-opacity="{0.45 * share:.3f}"/>',
        f'<text {middle} y="{y + CELL / 2}">{count}</text>',
        f'<text {middle} y="{y + CELL / 2 + 18}">{share:.0%}</text>',
    ]


def _row(number: int) -> float:
    return TOP + 48 + CELL * number


def _stroke(number: int) -> str:
    dash = DASHES[number // COLOURS % len(DASHES)]
    return f"stroke:var(--c{number % COLOURS});stroke-dasharray:{dash}"


def _points(x: Sequence[float], y: Sequence[float]) -> str:
    return " ".join(",".join(map(str, _pixel(*point))) for point in zip(x, y, strict=True))


def _pixel(x: float, y: float) -> tuple[float, float]:
    return round(LEFT + SIDE * x, 1), round(TOP + SIDE * (1 - y), 1)


def _short(name: str, longest: int) -> str:
    printable = "".join(letter for letter in name if letter.isprintable())
    return escape(printable if len(printable) <= longest else printable[: longest - 1] + "…")


def _svg(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<rect class="paper" width="100%" height="100%"/>'
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>{"".join(parts)}</svg>\n'
    )
