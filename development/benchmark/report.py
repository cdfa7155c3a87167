"""What was measured, as a table, a plot and a comparison."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from development.benchmark.noise import Change, Spread, compared

WIDTH, LEFT, BAR, GAP, TOP = 860, 250, 24, 18, 64

STYLE = """
  svg { font: 13px system-ui, sans-serif }
  .ground { fill: #ffffff } text { fill: #24292f } .soft { fill: #6e7781; font-size: 12px }
  .grid { stroke: #d0d7de } .bar { fill: #0969da } .spread { stroke: #24292f; stroke-width: 2 }
  .goal { stroke: #1a7f37; stroke-width: 3 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #e6edf3 } .soft { fill: #8d96a0 }
    .grid { stroke: #30363d } .bar { fill: #58a6ff } .spread { stroke: #e6edf3 }
    .goal { stroke: #3fb950 }
  }
"""

Result = Mapping[str, Any]


def as_table(result: Result) -> str:
    """Return the figures as tables in Markdown."""
    about = result["about"]
    lines = [
        f"Revision {about['revision']}, Python {about['python']}, {about['cores']} cores shared by"
        f" PostgreSQL, the service and {about['driver']}; {about['rounds']} rounds of"
        f" {about['seconds']:g} s each, in turn.",
        "",
        "| | requests/s | limit/s | ratio (spread) | target | p50 | p99 | CPU a request |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {figure['title']} | {_middle(figure['service'], 'per_s'):.0f}"
            f" | {_middle(figure['limit'], 'per_s'):.0f} | {_spread(figure)}"
            f" | ≥ {figure['target']:g} | {_middle(figure['service'], 'p50_ms'):.1f} ms"
            f" | {_middle(figure['service'], 'p99_ms'):.1f} ms"
            f" | {_middle(figure['service'], 'cpu_us'):.0f} µs |"
            for figure in _against_limit(result)
        ),
        "",
        "| | measured (spread) | at most |",
        "|---|---|---|",
        *(line for figure in result["figures"].values() for line in _bounded(figure)),
        *(
            f"| Imports, in seconds (part of that) | {_spread_of(figure['imports_s'])} | 1.2 |"
            for figure in result["figures"].values()
            if "imports_s" in figure
        ),
        f"| Memory of the worker after the run, MiB | {result['memory_mib']} | 120 |",
        f"| … and of the process that hashes for it, MiB | {result['hashing_memory_mib']} | |",
    ]
    return "\n".join(lines)


def as_changes(before: Result, after: Result) -> str:
    """Return what differs between two results beyond noise, and how much everything moved."""
    lines = [f"{before['about']['revision']} → {after['about']['revision']}"]
    for change in changes(before, after):
        verdict = "CHANGED" if change.beyond_noise else "noise"
        lines.append(
            f"  {verdict:8} {change.name:24} {change.before.median:9.3f} →"
            f" {change.after.median:9.3f}  ({change.factor - 1:+.1%},"
            f" p = {change.probability:.3f})"
        )
    lines.append(f"  memory   {before['memory_mib']} → {after['memory_mib']} MiB")
    return "\n".join(lines)


def changes(before: Result, after: Result) -> Sequence[Change]:
    """
    Compare everything that both results have, each figure as a share of the limit's beside it.

    A share stays the same when the machine as a whole is slower; what a request costs does not.
    """
    found = []
    for name, old in before["figures"].items():
        new = after["figures"].get(name)
        if new is None:
            continue
        found.append(compared(f"{name} ratio", old["ratio"], new["ratio"]))
        for unit, called in (("cpu_us", "CPU"), ("p99_ms", "p99")):
            shares = _shares_of_limit(old, unit), _shares_of_limit(new, unit)
            if all(shares):
                found.append(compared(f"{name} {called}", *shares))
    return found


def _shares_of_limit(figure: Mapping[str, Any], unit: str) -> Sequence[float]:
    """Return what the service took of what the limit did, round by round, if both tell."""
    pairs = zip(figure.get("service", ()), figure.get("limit", ()), strict=True)
    return [ours[unit] / theirs[unit] for ours, theirs in pairs if unit in theirs]


def update_page(page: Path, table: str, *, part: str = "benchmark") -> None:
    """Renew what stands between the markers of a part of a page."""
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    between = re.compile(f"(?<={begin}\n).*?(?={end})", re.DOTALL)
    page.write_text(between.sub(lambda _: f"{table}\n", text), encoding="utf-8")


def draw(result: Result) -> str:
    """Return a plot (SVG): how much of the limit is reached, with the spread of the rounds."""
    figures = [each for each in _against_limit(result) if each["target"] <= 1]
    height = TOP + len(figures) * (BAR + GAP) + 36
    scale = WIDTH - LEFT - 90

    def x(share: float) -> float:
        return LEFT + min(share, 1.1) * scale

    parts = [
        '<text x="20" y="30">Share of what a bare ASGI callable reaches on this machine</text>',
    ]
    for tenth in range(0, 11, 2):
        parts += [
            f'<path class="grid" d="M{x(tenth / 10):.1f} {TOP - 12}V{height - 34}"/>',
            f'<text class="soft" x="{x(tenth / 10):.1f}" y="{height - 14}" text-anchor="middle">'
            f"{tenth * 10} %</text>",
        ]
    for number, figure in enumerate(figures):
        top = TOP + number * (BAR + GAP)
        spread = Spread.of(figure["ratio"])
        middle = top + BAR / 2
        parts += [
            f'<text x="{LEFT - 12}" y="{middle + 5}" text-anchor="end">{figure["title"]}</text>',
            f'<rect class="bar" x="{LEFT}" y="{top}" width="{x(spread.median) - LEFT:.1f}"'
            f' height="{BAR}" rx="3"/>',
            f'<path class="spread" d="M{x(spread.low):.1f} {middle}H{x(spread.high):.1f}"/>',
            f'<path class="goal" d="M{x(figure["target"]):.1f} {top - 4}v{BAR + 8}"/>',
            f'<text x="{x(max(spread.high, figure["target"])) + 10:.1f}" y="{middle + 5}">'
            f"{spread.median:.0%}</text>",
        ]
    title = "Throughput of the service as a share of the limit, with targets"
    return framed(title, parts, height=height)


def framed(title: str, parts: Sequence[str], *, height: int, style: str = STYLE) -> str:
    """Return a picture (SVG) of these parts on their ground."""
    ground = f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>'
    drawn = "\n".join([ground, *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n{drawn}\n</svg>\n"
    )


def _bounded(figure: Mapping[str, Any]) -> Iterator[str]:
    if "at_most" in figure:
        yield f"| {figure['title']} | {_spread(figure)} | {figure['at_most']:g} |"
    if "ratio_of_limit" in figure:
        yield f"| … and those of the limit | {_spread_of(figure['ratio_of_limit'])} | |"


def _against_limit(result: Result) -> Iterator[Mapping[str, Any]]:
    return (each for each in result["figures"].values() if "target" in each)


def _middle(rounds: Sequence[Mapping[str, float]], unit: str) -> float:
    return Spread.of(each[unit] for each in rounds).median


def _spread(figure: Mapping[str, Any]) -> str:
    return _spread_of(figure["ratio"])


def _spread_of(values: Sequence[float]) -> str:
    spread = Spread.of(values)
    return f"**{spread.median:.2f}** ({spread.low:.2f} to {spread.high:.2f})"
