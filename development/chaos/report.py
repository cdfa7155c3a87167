"""The results of a run: figures, a table and a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import attrgetter
from typing import Any

from development.chaos.load import Sample
from development.plot import Plot, quantile

SLOWEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedFault:
    """
    A fault of a run; moments are seconds since the beginning of the run.

    The fault ended at `ended_s`. Every server had acknowledged a new write at `answered_s`; all
    processes and jobs had recovered at `recovered_s`.
    """

    title: str
    at_s: float
    ended_s: float
    answered_s: float
    recovered_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The results; `violations` must never occur, `entries` counts the writes."""

    seed: int
    seconds: float
    injected: Sequence[InjectedFault]
    samples: Sequence[Sample]
    entries: int
    violations: Sequence[str]

    def numbers(self) -> dict[str, Any]:
        """Return the figures; those of a fault reach until the next one."""
        ends = [*(injected.at_s for injected in self.injected[1:]), float("inf")]
        return {
            "seed": self.seed,
            "seconds": round(self.seconds),
            "requests": len(self.samples),
            "writes": self.entries,
            "unavailable": sum(sample.status == 503 for sample in self.samples),
            "without_answer": sum(sample.status is None for sample in self.samples),
            "p50_ms": self._latency_ms(0.5),
            "p99_ms": self._latency_ms(0.99),
            "slowest_ms": self._latency_ms(1),
            "faults": [
                self._figures_of(injected, end)
                for injected, end in zip(self.injected, ends, strict=True)
            ],
            "wrong": list(self.violations),
        }

    def _latency_ms(self, share: float) -> int:
        return round(quantile((seconds for _, seconds in self.latencies()), share) * 1000)

    def latencies(self) -> Sequence[tuple[float, float]]:
        """Return beginning and duration of each answered request."""
        return [
            (sample.began, sample.seconds) for sample in self.samples if sample.status is not None
        ]

    def _figures_of(self, injected: InjectedFault, end_s: float) -> dict[str, Any]:
        affected = [sample for sample in self.samples if injected.at_s <= sample.ended < end_s]
        return {
            "title": injected.title,
            "at_s": round(injected.at_s, 1),
            "lasts_s": round(injected.ended_s - injected.at_s, 1),
            "requests": len(affected),
            "accepted": sum(sample.status == 202 for sample in affected),
            "unavailable": sum(sample.status == 503 for sample in affected),
            "without_answer": sum(sample.status is None for sample in affected),
            "slowest_ms": round(max((sample.seconds for sample in affected), default=0.0) * 1000),
            "slowest": [
                f"{sample.method} {sample.path} {sample.status}: {sample.seconds:.3f} s"
                for sample in nlargest(SLOWEST, affected, key=attrgetter("seconds"))
            ],
            "answered_after_s": round(injected.answered_s - injected.ended_s, 2),
            "healed_after_s": round(injected.recovered_s - injected.ended_s, 2),
        }


def as_table(outcome: Outcome) -> str:
    """Return the figures as a table in Markdown."""
    figures = outcome.numbers()
    wrong = len(outcome.violations)
    return "\n".join(
        [
            "{} faults in {seconds} s (seed {seed}): {requests} requests, {writes} writes in the"
            " ledger, {unavailable} answered 503, {without_answer} not answered; p50 {p50_ms} ms,"
            " p99 {p99_ms} ms, slowest {slowest_ms} ms.".format(len(outcome.injected), **figures),
            f"**{wrong or 'Nothing'} lost, doubled or otherwise wrong.**",
            "",
            "| | fault | at | lasted | requests | 202 | 503 | no answer | slowest"
            " | writes again after | all back after |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *(
                "| {} | {title} | {at_s} s | {lasts_s} s | {requests} | {accepted} | {unavailable}"
                " | {without_answer} | {slowest_ms} ms | {answered_after_s} s"
                " | {healed_after_s} s |".format(number, **fault)
                for number, fault in enumerate(figures["faults"], 1)
            ),
        ]
    )


def draw(outcome: Outcome) -> str:
    """Return a plot (SVG): latencies, and below them failed requests; faults have numbers."""
    plot = Plot(end_s=outcome.seconds)
    return plot.svg(
        "Latency of answers, and failed requests, during the faults",
        [
            part
            for number, injected in enumerate(outcome.injected, 1)
            for part in plot.band(injected.at_s, injected.recovered_s, str(number), narrow=True)
        ]
        + [
            *plot.latencies(
                outcome.latencies(), "Answers by the time of their request, milliseconds"
            ),
            *plot.counts(
                (each.ended for each in outcome.samples if not each.good),
                "Requests answered 503 or not at all, per second",
            ),
        ],
    )
