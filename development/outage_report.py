"""What an outage looked like: numbers, a table and a plot."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- outage: begin -->", "<!-- outage: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One read: when it was due, how long it took, and whether it was answered with 200."""

    at_s: float
    latency_s: float
    good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of time in which the catalog behaved in one way."""

    name: str
    begin_s: float
    end_s: float

    def holds(self, at_s: float) -> bool:
        """Tell whether a moment belongs to it."""
        return self.begin_s <= at_s < self.end_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Everything that was seen; `calls` are the moments at which the catalog was called.

    `favorited` is how favoriting an unknown product in the outage was answered: the status, and
    the seconds it took.
    """

    phases: Sequence[Phase]
    samples: Sequence[Sample]
    calls: Sequence[float]
    favorited: tuple[int, float]

    def numbers(self) -> dict[str, Any]:
        """Return the figures of each phase; latencies in milliseconds."""
        status, seconds = self.favorited
        return {
            "phases": [self._phase(phase) for phase in self.phases],
            "favoriting_in_the_outage": {"status": status, "ms": round(seconds * 1000)},
        }

    def _phase(self, phase: Phase) -> dict[str, Any]:
        reads = [sample for sample in self.samples if phase.holds(sample.at_s)]
        latencies = [sample.latency_s for sample in reads]
        calls = sum(phase.holds(at) for at in self.calls)
        seconds = phase.end_s - phase.begin_s
        return {
            "name": phase.name,
            "seconds": round(seconds),
            "reads": len(reads),
            "not_200": sum(not sample.good for sample in reads),
            "p50_ms": _ms(quantile(latencies, 0.5)),
            "p99_ms": _ms(quantile(latencies, 0.99)),
            "max_ms": _ms(max(latencies, default=0.0)),
            "catalog_calls": calls,
            "catalog_calls_per_s": round(calls / seconds, 2),
        }


def quantile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least this share does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def as_table(measured: Measured) -> str:
    """Return the figures as a table in Markdown."""
    figures = measured.numbers()
    lines = [
        "| | duration | reads | not 200 | p50 | p99 | slowest | calls of the catalog |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        "| {name} | {seconds} s | {reads} | {not_200} | {p50_ms} ms | {p99_ms} ms | {max_ms} ms"
        " | {catalog_calls} ({catalog_calls_per_s}/s) |".format(**phase)
        for phase in figures["phases"]
    ]
    answer = figures["favoriting_in_the_outage"]
    lines += [
        "",
        f"Favoriting an unknown product as the outage began: {answer['status']} after"
        f" {answer['ms']} ms.",
    ]
    return "\n".join(lines)


def update_page(page: Path, table: str) -> None:
    """Renew what stands between the markers of a page."""
    text = page.read_text(encoding="utf-8")
    between = re.compile(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)
    page.write_text(between.sub(lambda _: f"{table}\n", text), encoding="utf-8")


WIDTH, LEFT, RIGHT = 860, 64, 16
LATENCY_TOP, LATENCY_BOTTOM, CALLS_TOP, CALLS_BOTTOM = 56, 236, 286, 376
FASTEST_MS, SLOWEST_MS = 1.0, 10_000.0

STYLE = """
  svg { font: 13px system-ui, sans-serif }
  .ground { fill: #ffffff } .out { fill: #cf222e; opacity: .1 }
  text { fill: #24292f } .soft { fill: #6e7781; font-size: 12px }
  .grid { stroke: #d0d7de } .p50, .p99 { fill: none; stroke-width: 2; stroke-linejoin: round }
  .p50 { stroke: #0969da } .p99 { stroke: #8250df } .call { fill: #24292f }
  text.p50 { fill: #0969da; stroke: none } text.p99 { fill: #8250df; stroke: none }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .out { fill: #f85149 }
    text, .call { fill: #e6edf3 } .soft { fill: #8d96a0 } .grid { stroke: #30363d }
    .p50 { stroke: #58a6ff } .p99 { stroke: #bc8cff }
    text.p50 { fill: #58a6ff } text.p99 { fill: #bc8cff }
  }
"""


def draw(measured: Measured) -> str:
    """Return a plot (SVG): latencies of reads above, calls of the catalog below, by the second."""
    end = measured.phases[-1].end_s
    scale = (WIDTH - LEFT - RIGHT) / end

    def x(at_s: float) -> float:
        return LEFT + at_s * scale

    outage = next(phase for phase in measured.phases if phase.name == "outage")
    parts = [
        f'<rect class="ground" width="{WIDTH}" height="420" rx="6"/>',
        f'<rect class="out" x="{x(outage.begin_s):.1f}" y="{LATENCY_TOP}"'
        f' width="{(outage.end_s - outage.begin_s) * scale:.1f}"'
        f' height="{CALLS_BOTTOM - LATENCY_TOP}"/>',
        f'<text x="{x(outage.begin_s) + 6:.1f}" y="{LATENCY_TOP + 16}">the catalog hangs</text>',
        *_latencies(measured, x),
        *_calls(measured, x, width=scale),
        *(
            f'<text class="soft" x="{x(second):.1f}" y="396" text-anchor="middle">{second}</text>'
            for second in range(0, int(end) + 1, 10)
        ),
        f'<text class="soft" x="{WIDTH - RIGHT}" y="412" text-anchor="end">seconds</text>',
    ]
    title = "Latency of reads and calls of the catalog, before, in and after an outage"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 420" role="img">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _latencies(measured: Measured, x: Callable[[float], float]) -> list[str]:
    def y(seconds: float) -> float:
        bounded = min(max(seconds * 1000, FASTEST_MS), SLOWEST_MS)
        height = math.log(bounded / FASTEST_MS) / math.log(SLOWEST_MS / FASTEST_MS)
        return LATENCY_BOTTOM - height * (LATENCY_BOTTOM - LATENCY_TOP)

    by_second: dict[int, list[float]] = {}
    for sample in measured.samples:
        by_second.setdefault(int(sample.at_s), []).append(sample.latency_s)
    parts = [f'<text x="{LEFT}" y="30">Reads by customers, milliseconds</text>']
    for number, milliseconds in enumerate((1, 10, 100, 1000, 10_000)):
        height = y(milliseconds / 1000)
        parts += [
            f'<path class="grid" d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}"/>',
            f'<text class="soft" x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">'
            f"{10**number}</text>",
        ]
    for number, (name, share) in enumerate((("p50", 0.5), ("p99", 0.99))):
        line = "L".join(
            f"{x(second + 0.5):.1f} {y(quantile(by_second[second], share)):.1f}"
            for second in sorted(by_second)
        )
        parts += [
            f'<path class="{name}" d="M{line}"/>',
            f'<text class="{name}" x="{WIDTH - RIGHT - 40 * (1 - number)}" y="30"'
            f' text-anchor="end">{name}</text>',
        ]
    return parts


def _calls(measured: Measured, x: Callable[[float], float], *, width: float) -> list[str]:
    by_second = Counter(int(at) for at in measured.calls if at >= 0)
    most = max(by_second.values(), default=1)
    unit = (CALLS_BOTTOM - CALLS_TOP) / most
    return [
        f'<text x="{LEFT}" y="{CALLS_TOP - 16}">Calls of the catalog, each second</text>',
        f'<path class="grid" d="M{LEFT} {CALLS_BOTTOM}H{WIDTH - RIGHT}"/>',
        f'<path class="grid" d="M{LEFT} {CALLS_TOP}H{WIDTH - RIGHT}"/>',
        f'<text class="soft" x="{LEFT - 8}" y="{CALLS_TOP + 4}" text-anchor="end">{most}</text>',
        f'<text class="soft" x="{LEFT - 8}" y="{CALLS_BOTTOM + 4}" text-anchor="end">0</text>',
        *(
            f'<rect class="call" x="{x(second) + 1:.1f}" y="{CALLS_BOTTOM - count * unit:.1f}"'
            f' width="{max(width - 2, 1):.1f}" height="{count * unit:.1f}"/>'
            for second, count in sorted(by_second.items())
        ),
    ]
