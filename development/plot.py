"""Plots (SVG) over time: latencies, and below them counts of events."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, LEFT, RIGHT = 860, 64, 16
LATENCY_TOP, LATENCY_BOTTOM, COUNT_TOP, COUNT_BOTTOM, HEIGHT = 56, 236, 286, 376, 420
FASTEST_MS, SLOWEST_MS = 1.0, 10_000.0

STYLE = """
  svg { font: 13px system-ui, sans-serif }
  .background { fill: #ffffff } .out { fill: #cf222e; opacity: .1 }
  text { fill: #24292f } .soft { fill: #6e7781; font-size: 12px }
  .grid { stroke: #d0d7de } .p50, .p99 { fill: none; stroke-width: 2; stroke-linejoin: round }
  .p50 { stroke: #0969da } .p99 { stroke: #8250df } .call { fill: #24292f }
  text.p50 { fill: #0969da; stroke: none } text.p99 { fill: #8250df; stroke: none }
  @media (prefers-color-scheme: dark) {
    .background { fill: #0d1117 } .out { fill: #f85149 }
    text, .call { fill: #e6edf3 } .soft { fill: #8d96a0 } .grid { stroke: #30363d }
    .p50 { stroke: #58a6ff } .p99 { stroke: #bc8cff }
    text.p50 { fill: #58a6ff } text.p99 { fill: #bc8cff }
  }
"""


def quantile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that this share of them does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of `end_s` seconds; `svg` assembles parts that the other methods draw."""

    end_s: float

    @property
    def second(self) -> float:
        """The width of a second."""
        return (WIDTH - LEFT - RIGHT) / self.end_s

    def x(self, at_s: float) -> float:
        """Return the horizontal position of a moment."""
        return LEFT + at_s * self.second

    def band(self, begin_s: float, end_s: float, label: str, *, narrow: bool = False) -> list[str]:
        """Return a highlighted period; the label of a narrow one is above it."""
        begin = self.x(begin_s)
        width = max((end_s - begin_s) * self.second, 1.0)
        position = (
            f'class="soft" x="{begin:.1f}" y="{LATENCY_TOP - 4}"'
            if narrow
            else f'x="{begin + 6:.1f}" y="{LATENCY_TOP + 16}"'
        )
        return [
            f'<rect class="out" x="{begin:.1f}" y="{LATENCY_TOP}" width="{width:.1f}"'
            f' height="{COUNT_BOTTOM - LATENCY_TOP}"/>',
            f"<text {position}>{label}</text>",
        ]

    def latencies(self, samples: Iterable[tuple[float, float]], heading: str) -> list[str]:
        """Return p50 and p99 of each second; samples are moments and durations in seconds."""
        by_second: dict[int, list[float]] = {}
        for at_s, latency_s in samples:
            by_second.setdefault(int(at_s), []).append(latency_s)
        parts = [f'<text x="{LEFT}" y="30">{heading}</text>']
        for number, milliseconds in enumerate((1, 10, 100, 1000, 10_000)):
            height = _height(milliseconds / 1000)
            parts += [
                f'<path class="grid" d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}"/>',
                f'<text class="soft" x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">'
                f"{10**number}</text>",
            ]
        for number, (name, share) in enumerate((("p50", 0.5), ("p99", 0.99))):
            line = "L".join(
                f"{self.x(second + 0.5):.1f} {_height(quantile(by_second[second], share)):.1f}"
                for second in sorted(by_second)
            )
            parts += [
                f'<path class="{name}" d="M{line}"/>',
                f'<text class="{name}" x="{WIDTH - RIGHT - 40 * (1 - number)}" y="30"'
                f' text-anchor="end">{name}</text>',
            ]
        return parts

    def counts(self, moments: Iterable[float], heading: str) -> list[str]:
        """Return the number of events in each second."""
        by_second = Counter(int(at) for at in moments if at >= 0)
        most = max(by_second.values(), default=1)
        unit = (COUNT_BOTTOM - COUNT_TOP) / most
        return [
            f'<text x="{LEFT}" y="{COUNT_TOP - 16}">{heading}</text>',
            f'<path class="grid" d="M{LEFT} {COUNT_BOTTOM}H{WIDTH - RIGHT}"/>',
            f'<path class="grid" d="M{LEFT} {COUNT_TOP}H{WIDTH - RIGHT}"/>',
            *(
                f'<text class="soft" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{number}</text>'
                for y, number in ((COUNT_TOP, most), (COUNT_BOTTOM, 0))
            ),
            *(
                f'<rect class="call" x="{self.x(second) + 1:.1f}"'
                f' y="{COUNT_BOTTOM - count * unit:.1f}"'
                f' width="{max(self.second - 2, 1):.1f}" height="{count * unit:.1f}"/>'
                for second, count in sorted(by_second.items())
            ),
        ]

    def svg(self, title: str, parts: Sequence[str]) -> str:
        """Return the whole plot, with the time axis."""
        step = 10 * max(1, math.ceil(self.end_s / 120))
        drawn = [
            f'<rect class="background" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
            *parts,
            *(
                f'<text class="soft" x="{self.x(second):.1f}" y="396" text-anchor="middle">'
                f"{second}</text>"
                for second in range(0, int(self.end_s) + 1, step)
            ),
            f'<text class="soft" x="{WIDTH - RIGHT}" y="412" text-anchor="end">seconds</text>',
        ]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
            f"<title>{title}</title>\n<style>{STYLE}</style>\n" + "\n".join(drawn) + "\n</svg>\n"
        )


def _height(seconds: float) -> float:
    bounded = min(max(seconds * 1000, FASTEST_MS), SLOWEST_MS)
    height = math.log(bounded / FASTEST_MS) / math.log(SLOWEST_MS / FASTEST_MS)
    return LATENCY_BOTTOM - height * (LATENCY_BOTTOM - LATENCY_TOP)
