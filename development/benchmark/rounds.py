"""Rounds of load on several servers in turn, with checks of the answers meanwhile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from development.benchmark.load import Load, Measurement
from development.benchmark.testbed import Server, ask

CONNECTIONS = 32
SAMPLE_EVERY_S = 0.1
WARM_UP_S = 1.0

Json = dict[str, Any]


class WrongAnswerError(Exception):
    """An answer was wrong or refused, so that its speed means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long and how often to measure; `seconds` are those of one round."""

    rounds: int
    variant_rounds: int
    seconds: float
    starts: int
    storm_s: float
    warm_up: bool


# Four rounds are the fewest that can be compared with others.
QUICK = Timing(rounds=4, variant_rounds=2, seconds=1.0, starts=1, storm_s=2.0, warm_up=False)
FULL = Timing(rounds=7, variant_rounds=7, seconds=3.0, starts=5, storm_s=8.0, warm_up=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of load, its CPU time per request, and the number of answers checked."""

    measured: Measurement
    cpu_us: float
    sampled: int

    def as_json(self) -> dict[str, float]:
        """Return the figures; the CPU time is that of the server and its child processes."""
        return {
            "per_s": round(self.measured.rate, 1),
            "p50_ms": round(self.measured.p50_ms, 3),
            "p99_ms": round(self.measured.p99_ms, 3),
            "cpu_us": round(self.cpu_us, 1),
            "refused": self.measured.refused,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """
    One side of a comparison: a server under one kind of load.

    `expected` has the answers to some of the requests; None stands for 304. `settle` is called
    after each round.
    """

    server: Server
    load: Load
    connections: int = CONNECTIONS
    expected: Mapping[bytes, object] = field(default_factory=dict)
    settle: Callable[[Round], None] | None = None

    def drive(self, *, seconds: float, may_refuse: bool = False) -> Round:
        """
        Make load for one round.

        With `may_refuse`, refusals under overload are part of the figures.

        :raises WrongAnswerError: if an answer was wrong, or a request was refused or failed
        """
        cpu_s = self.server.cpu_s()
        running = self.load.start(seconds=seconds, connections=self.connections)
        sampled = 0
        pairs = list(self.expected.items())
        while not running.is_over(within_s=SAMPLE_EVERY_S):
            if pairs:
                check(self.server.port, *pairs[sampled % len(pairs)])
                sampled += 1
        measured = running.wait()
        if measured.broken or (measured.refused and not may_refuse):
            raise WrongAnswerError(
                f"{measured.refused} of {measured.requests} requests were refused,"
                f" {measured.broken} failed."
            )
        cost_us = (self.server.cpu_s() - cpu_s) / measured.requests * 1e6
        done = Round(measured=measured, cpu_us=cost_us, sampled=sampled)
        if self.settle is not None:
            self.settle(done)
        return done


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """
    The service beside its reference, which the results call its limit.

    `target` is the least ratio of their rates. `beside` names the reference if it is not the bare
    callable.
    """

    title: str
    target: float
    limit: Side
    service: Side
    beside: str | None = None


def in_turn(comparisons: Sequence[Comparison], timing: Timing) -> Sequence[Json]:
    """
    Return the figures of comparisons whose sides take turns, a round each.

    Neighbors in time are compared, and a slow period of the machine affects single rounds of all
    sides. A side that several comparisons share is driven once per turn.

    :raises WrongAnswerError: as `Side.drive` does
    """
    done: dict[Side, list[Round]] = {
        side: [] for each in comparisons for side in (each.limit, each.service)
    }
    for number in range(0 if timing.warm_up else 1, timing.rounds + 1):
        for side, measured in done.items():
            latest = side.drive(seconds=timing.seconds if number else WARM_UP_S)
            if number:
                measured.append(latest)
    return [_as_json(each, done[each.limit], done[each.service]) for each in comparisons]


def _as_json(comparison: Comparison, limit: Sequence[Round], service: Sequence[Round]) -> Json:
    return {
        "title": comparison.title,
        "target": comparison.target,
        **({} if comparison.beside is None else {"beside": comparison.beside}),
        "service": [each.as_json() for each in service],
        "limit": [each.as_json() for each in limit],
        "ratio": [
            round(ours.measured.rate / theirs.measured.rate, 4)
            for ours, theirs in zip(service, limit, strict=True)
        ],
        "sampled": sum(each.sampled for each in service),
    }


def check(port: int, request: bytes, expected: object) -> None:
    """
    Send a request and compare the answer; None is expected of an unchanged resource (304).

    :raises WrongAnswerError: if the answer differs
    """
    status, _, body = ask(port, request)
    if status != (304 if expected is None else 200) or body != expected:
        raise WrongAnswerError(f"{request.splitlines()[0]!r} was answered {status} {body}")
