"""The results of an outage: figures, a table and a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from development.plot import Plot, quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One read: when it was due, how long it took, and whether it was answered with 200."""

    at_s: float
    latency_s: float
    good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A period in which the catalog behaved in one way."""

    name: str
    begin_s: float
    end_s: float

    def holds(self, at_s: float) -> bool:
        """Return whether a moment is in this phase."""
        return self.begin_s <= at_s < self.end_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The measurements; `calls` are the moments at which the catalog was called.

    `favorited` is the answer to favoriting an unknown product in the outage: its status, and the
    seconds it took.
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


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def as_table(measured: Measured) -> str:
    """Return the figures as a table in Markdown."""
    figures = measured.numbers()
    lines = [
        "| | duration | reads | not 200 | p50 | p99 | slowest | catalog calls |",
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
        f"Favoriting an unknown product at the beginning of the outage: {answer['status']} after"
        f" {answer['ms']} ms.",
    ]
    return "\n".join(lines)


def draw(measured: Measured) -> str:
    """Return a plot (SVG) by the second: latencies of reads, and below them catalog calls."""
    plot = Plot(end_s=measured.phases[-1].end_s)
    outage = next(phase for phase in measured.phases if phase.name == "outage")
    samples = ((sample.at_s, sample.latency_s) for sample in measured.samples)
    return plot.svg(
        "Latency of reads and calls of the catalog, before, during and after an outage",
        [
            *plot.band(outage.begin_s, outage.end_s, "the catalog hangs"),
            *plot.latencies(samples, "Reads by customers, milliseconds"),
            *plot.counts(measured.calls, "Catalog calls per second"),
        ],
    )
