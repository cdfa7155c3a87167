"""What a run was like: numbers, a table and a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import attrgetter
from typing import Any

from development.chaos.load import Sample
from development.plot import Plot, quantile

SLOWEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """
    A fault that has happened; moments are seconds of the run.

    From `ended_s` on nothing is in the way any more: `answered_s` is when every server had
    acknowledged a write again, `healed_s` when all processes and jobs were back as well.
    """

    title: str
    at_s: float
    ended_s: float
    answered_s: float
    healed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run. `faults` is everything that may never happen; `entries` are writes."""

    seed: int
    seconds: float
    struck: Sequence[Struck]
    samples: Sequence[Sample]
    entries: int
    faults: Sequence[str]

    def numbers(self) -> dict[str, Any]:
        """Return the figures; of each fault those until the next one."""
        ends = [*(struck.at_s for struck in self.struck[1:]), float("inf")]
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
                self._of(struck, end) for struck, end in zip(self.struck, ends, strict=True)
            ],
            "wrong": list(self.faults),
        }

    def _latency_ms(self, share: float) -> int:
        return round(quantile((seconds for _, seconds in self.latencies()), share) * 1000)

    def latencies(self) -> Sequence[tuple[float, float]]:
        """Return when each request was made that was answered, and how long that took."""
        return [
            (sample.began, sample.seconds) for sample in self.samples if sample.status is not None
        ]

    def _of(self, struck: Struck, end_s: float) -> dict[str, Any]:
        met = [sample for sample in self.samples if struck.at_s <= sample.ended < end_s]
        return {
            "title": struck.title,
            "at_s": round(struck.at_s, 1),
            "lasts_s": round(struck.ended_s - struck.at_s, 1),
            "requests": len(met),
            "accepted": sum(sample.status == 202 for sample in met),
            "unavailable": sum(sample.status == 503 for sample in met),
            "without_answer": sum(sample.status is None for sample in met),
            "slowest_ms": round(max((sample.seconds for sample in met), default=0.0) * 1000),
            "slowest": [
                f"{sample.method} {sample.path} {sample.status}: {sample.seconds:.3f} s"
                for sample in nlargest(SLOWEST, met, key=attrgetter("seconds"))
            ],
            "answered_after_s": round(struck.answered_s - struck.ended_s, 2),
            "healed_after_s": round(struck.healed_s - struck.ended_s, 2),
        }


def as_table(outcome: Outcome) -> str:
    """Return the figures as a table in Markdown."""
    figures = outcome.numbers()
    wrong = len(outcome.faults)
    return "\n".join(
        [
            "{} faults in {seconds} s (seed {seed}): {requests} requests, {writes} writes in the"
            " ledger, {unavailable} answers of 503, {without_answer} without an answer; of the"
            " answers half within {p50_ms} ms, 99 of 100 within {p99_ms} ms, all within"
            " {slowest_ms} ms.".format(len(outcome.struck), **figures),
            f"**{wrong or 'Nothing'} lost, doubled or otherwise wrong.**",
            "",
            "| | fault | at | lasted | requests | 202 | 503 | no answer | longest"
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
    """Return a plot (SVG): latencies above, requests that failed below, faults by their number."""
    plot = Plot(end_s=outcome.seconds)
    return plot.svg(
        "Latency of answers, and requests that failed, while parts were killed",
        [
            part
            for number, struck in enumerate(outcome.struck, 1)
            for part in plot.band(struck.at_s, struck.healed_s, str(number), narrow=True)
        ]
        + [
            *plot.latencies(
                outcome.latencies(), "Answers, milliseconds, by when they were asked for"
            ),
            *plot.counts(
                (each.ended for each in outcome.samples if not each.good),
                "Requests answered 503 or not at all, each second",
            ),
        ],
    )
