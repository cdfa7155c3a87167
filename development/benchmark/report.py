"""A result as tables, as a plot, and compared with another result."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from development.benchmark.noise import Change, Spread, compared

WIDTH, LEFT, BAR, GAP, TOP = 860, 250, 24, 18, 64

STYLE = """
  svg { font: 13px system-ui, sans-serif }
  .background { fill: #ffffff } text { fill: #24292f } .soft { fill: #6e7781; font-size: 12px }
  .grid { stroke: #d0d7de } .bar { fill: #0969da } .spread { stroke: #24292f; stroke-width: 2 }
  .goal { stroke: #1a7f37; stroke-width: 3 }
  @media (prefers-color-scheme: dark) {
    .background { fill: #0d1117 } text { fill: #e6edf3 } .soft { fill: #8d96a0 }
    .grid { stroke: #30363d } .bar { fill: #58a6ff } .spread { stroke: #e6edf3 }
    .goal { stroke: #3fb950 }
  }
"""

Result = Mapping[str, Any]


def as_table(result: Result) -> str:
    """Return the figures as tables in Markdown."""
    about = result["about"]
    beside_list = [each for each in result["figures"].values() if "beside" in each]
    lines = [
        f"Revision {about['revision']}, Python {about['python']}, {about['cores']} cores shared by"
        f" PostgreSQL, the service and {about['driver']}; rounds of {about['seconds']:g} s each,"
        " in turn.",
        *_rates("Beside the limit", "limit/s", _against_limit(result)),
        *_rates("Beside the plain list", "plain list/s", beside_list),
        "",
        "| | measured (spread) | at most |",
        "|---|---|---|",
        *(line for figure in result["figures"].values() for line in _bounded(figure)),
        *(
            f"| Imports, in seconds (part of that) | {_spread_of(figure['imports_s'])} | 1.2 |"
            for figure in result["figures"].values()
            if "imports_s" in figure
        ),
        f"| Memory of the API process after the run, MiB | {result['memory_mib']} | 120 |",
        f"| … and of its hashing process, MiB | {result['hashing_memory_mib']} | |",
    ]
    return "\n".join(lines)


def _rates(heading: str, reference: str, figures: Sequence[Mapping[str, Any]]) -> list[str]:
    if not figures:
        return []
    return [
        "",
        f"| {heading}, {len(figures[0]['ratio'])} rounds | requests/s | {reference}"
        " | ratio (spread) | target | p50 | p99 | CPU per request |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {figure['title']} | {_median(figure['service'], 'per_s'):.0f}"
            f" | {_median(figure['limit'], 'per_s'):.0f} | {_spread(figure)}"
            f" | ≥ {figure['target']:g} | {_median(figure['service'], 'p50_ms'):.1f} ms"
            f" | {_median(figure['service'], 'p99_ms'):.1f} ms"
            f" | {_median(figure['service'], 'cpu_us'):.0f} µs |"
            for figure in figures
        ),
    ]


def as_changes(before: Result, after: Result) -> str:
    """Return how far each figure moved between two results, and whether that is beyond noise."""
    lines = [f"{before['about']['revision']} → {after['about']['revision']}"]
    for change in changes(before, after):
        verdict = "CHANGED" if change.beyond_noise else "noise"
        lines.append(
            f"  {verdict:8} {change.name:27} {change.before.median:9.3f} →"
            f" {change.after.median:9.3f}  ({change.factor - 1:+.1%},"
            f" p = {change.probability:.3f})"
        )
    lines.append(f"  memory   {before['memory_mib']} → {after['memory_mib']} MiB")
    return "\n".join(lines)


def changes(before: Result, after: Result) -> Sequence[Change]:
    """
    Compare the figures that both results have, each as a share of its reference.

    A slower machine does not change such a share; a more expensive request does.
    """
    found = []
    for name, old in before["figures"].items():
        new = after["figures"].get(name)
        if new is None:
            continue
        found.append(compared(f"{name} ratio", old["ratio"], new["ratio"]))
        for unit, label in (("cpu_us", "CPU"), ("p99_ms", "p99")):
            shares = _shares(old, unit), _shares(new, unit)
            if all(shares):
                found.append(compared(f"{name} {label}", *shares))
    return found


def _shares(figure: Mapping[str, Any], unit: str) -> Sequence[float]:
    """Return service / reference of each round; empty if one of them was not measured."""
    pairs = zip(figure.get("service", ()), figure.get("limit", ()), strict=True)
    return [ours[unit] / theirs[unit] for ours, theirs in pairs if unit in theirs]


def draw(result: Result) -> str:
    """Return a plot (SVG) of the ratios to the limit, with the spread of the rounds."""
    figures = _against_limit(result)
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
    """Return a picture (SVG) of these parts on a background."""
    background = f'<rect class="background" width="{WIDTH}" height="{height}" rx="6"/>'
    drawn = "\n".join([background, *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n{drawn}\n</svg>\n"
    )


def _bounded(figure: Mapping[str, Any]) -> Iterator[str]:
    if "at_most" in figure:
        yield f"| {figure['title']} | {_spread(figure)} | {figure['at_most']:g} |"
    if "ratio_of_limit" in figure:
        yield f"| … and the same of the limit | {_spread_of(figure['ratio_of_limit'])} | |"


def _against_limit(result: Result) -> Sequence[Mapping[str, Any]]:
    figures = result["figures"].values()
    return [each for each in figures if "target" in each and "beside" not in each]


def _median(rounds: Sequence[Mapping[str, float]], unit: str) -> float:
    return Spread.of(each[unit] for each in rounds).median


def _spread(figure: Mapping[str, Any]) -> str:
    return _spread_of(figure["ratio"])


def _spread_of(values: Sequence[float]) -> str:
    spread = Spread.of(values)
    return f"**{spread.median:.2f}** ({spread.low:.2f} to {spread.high:.2f})"
