"""Throughput as the amounts grow, as a plot (SVG); a level line is good."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from development.benchmark.report import STYLE, WIDTH, framed

LEFT, RIGHT, TOP, BOTTOM, HEIGHT, GAP = 64, 16, 84, 264, 310, 28
LEAST, MOST = 100.0, 100_000.0

_COLORS = """
  .line { fill: none; stroke-width: 2 }
  .list { stroke: #0969da } .contains { stroke: #8250df } .add { stroke: #bc4c00 }
  circle.list, text.list { fill: #0969da; stroke: none }
  circle.contains, text.contains { fill: #8250df; stroke: none }
  circle.add, text.add { fill: #bc4c00; stroke: none }
"""

Point = Mapping[str, Any]


def draw(points: Sequence[Point]) -> str:
    """Return one panel for each amount that grows, with a line for each operation."""
    panels = list(dict.fromkeys(each["what"] for each in points))
    width = (WIDTH - LEFT - RIGHT - GAP * (len(panels) - 1)) / len(panels)
    parts = [
        f'<text x="20" y="30">Requests per second</text>{_legend(points)}',
        *_grid(),
    ]
    for number, what in enumerate(panels):
        left = LEFT + number * (width + GAP)
        parts += _panel([each for each in points if each["what"] == what], left, width)
    return framed("Throughput as the amounts grow", parts, height=HEIGHT, style=STYLE + _COLORS)


def _panel(points: Sequence[Point], left: float, width: float) -> list[str]:
    sizes = sorted({each["size"] for each in points})
    columns = {size: left + width * (n + 0.5) / len(sizes) for n, size in enumerate(sizes)}
    parts = [f'<text x="{left:.1f}" y="{TOP - 14}">{points[0]["what"]}</text>']
    parts += [
        f'<text class="soft" x="{columns[size]:.1f}" y="{BOTTOM + 22}" text-anchor="middle">'
        f"{_short(size)}</text>"
        for size in sizes
    ]
    for operation in dict.fromkeys(each["operation"] for each in points):
        points_at = [
            (columns[each["size"]], _height(each["service"]["per_s"]))
            for each in points
            if each["operation"] == operation
        ]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points_at)
        parts.append(f'<path class="line {operation}" d="M{line}"/>')
        parts += [
            f'<circle class="{operation}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in points_at
        ]
    return parts


def _grid() -> list[str]:
    parts = []
    for power in range(round(math.log10(LEAST)), round(math.log10(MOST)) + 1):
        y = _height(10.0**power)
        parts += [
            f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>',
            f'<text class="soft" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{10**power:,}</text>",
        ]
    return parts


def _legend(points: Sequence[Point]) -> str:
    operations = list(dict.fromkeys(each["operation"] for each in points))
    return "".join(
        f'<text class="{name}" x="{WIDTH - RIGHT - 70 * (len(operations) - 1 - n)}" y="30"'
        f' text-anchor="end">{name}</text>'
        for n, name in enumerate(operations)
    )


def _height(per_s: float) -> float:
    bounded = min(max(per_s, LEAST), MOST)
    share = math.log(bounded / LEAST) / math.log(MOST / LEAST)
    return BOTTOM - share * (BOTTOM - TOP)


def _short(size: int) -> str:
    return f"10^{round(math.log10(size))}" if size >= 100_000 else f"{size:,}"
