"""The benchmark: rounds of load on the service and on the limit in turn."""

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.infra.hashing.executor import hashing_cores, usable_cores
from development.benchmark.data import remove_added
from development.benchmark.load import Load, Rate, driver
from development.benchmark.noise import Spread
from development.benchmark.scenario import (
    CONNECTIONS,
    Driver,
    Round,
    Scenario,
    WrongAnswerError,
    agreed,
    conditional_lists,
    scenarios,
    sign_ins,
)
from development.benchmark.stage import (
    Server,
    Stage,
    another_service,
    import_seconds,
    start_seconds,
)
from development.outage import ROOT, say

HASHING_CONNECTIONS = 16
STORM_CONNECTIONS = 8
WARM_UP_S = 1.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how often to measure; seconds are those of one round."""

    rounds: int
    seconds: float
    starts: int
    quiet_s: float
    warm_up: bool
    operations_only: bool = False

    @classmethod
    def quick(cls) -> "Plan":
        """Be done in less than a minute; four rounds are the fewest that can be compared."""
        return cls(
            rounds=4,
            seconds=1.0,
            starts=1,
            quiet_s=2.0,
            warm_up=False,
            operations_only=True,
        )

    @classmethod
    def full(cls) -> "Plan":
        """Take the time to tell small differences from noise."""
        return cls(rounds=7, seconds=3.0, starts=5, quiet_s=8.0, warm_up=True)


def run(stage: Stage, plan: Plan, *, only: Sequence[str] = ()) -> Json:
    """
    Measure everything, or some of it.

    :raises WrongAnswerError: if anything is not answered right
    """
    result: Json = {"about": _about(plan), "figures": {}}
    for name, figure in _figures(stage, plan, only):
        result["figures"][name] = figure
        say(f"  {name:10} {_brief(figure)}")
    result["memory_mib"] = round(stage.service.rss_mib(), 1)
    result["hashing_memory_mib"] = round(stage.service.helpers_rss_mib(), 1)
    result["answers"] = _only_good(stage)
    say(f"  memory     {result['memory_mib']} MiB, {result['hashing_memory_mib']} MiB to hash")
    return result


def _figures(stage: Stage, plan: Plan, only: Sequence[str]) -> Iterator[tuple[str, Json]]:
    # Those that are compared most often take turns, so that the rounds of each are spread over all
    # the time they take: what slows the machine for ten seconds is in some rounds of all of them.
    operations = [each for each in scenarios(stage.people) if not only or each.name in only]
    figures = _in_turn(stage, plan, *(_against_limit(stage, each) for each in operations))
    yield from zip((each.name for each in operations), figures, strict=True)
    others: Mapping[str, Callable[[], Json]] = {
        "sign_in_callable": lambda: _sign_in_beside_callable(stage, plan),
        "sign_in": lambda: _sign_in(stage, plan, stage.service, cores=hashing_cores()),
        "sign_in_one_core": lambda: _sign_in_one_core(stage, plan),
        "unchanged": lambda: _unchanged(stage, plan),
        "half_load": lambda: _half_load(stage, plan, evenly=True),
        "half_load_of_strangers": lambda: _half_load(stage, plan, evenly=False),
        "storm": lambda: _storm(stage, plan),
        "start": lambda: _start(stage, plan),
    }
    for name, measure in others.items():
        wanted = name in only if only else not plan.operations_only
        if wanted and (figure := measure()):
            yield name, figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """
    The service and what it is measured against, which do the same.

    What the service says is compared with what is `right`; `settle` is called after each round.
    """

    title: str
    target: float
    limit: tuple[Server, Load]
    service: tuple[Server, Load]
    connections: int = CONNECTIONS
    right: Mapping[bytes, object] = field(default_factory=dict)
    settle: Callable[[Round], None] | None = None


def _in_turn(stage: Stage, plan: Plan, *contests: Contest) -> Sequence[Json]:
    """Drive one side of one contest after the other, again and again."""
    drive = Driver(stage=stage)
    rounds: list[list[tuple[Round, Round]]] = [[] for _ in contests]
    for number in range(0 if plan.warm_up else 1, plan.rounds + 1):
        seconds = plan.seconds if number else WARM_UP_S
        for contest, done in zip(contests, rounds, strict=True):
            limit = _round(drive, contest, contest.limit, seconds=seconds)
            service = _round(drive, contest, contest.service, seconds=seconds, right=contest.right)
            if number:
                done.append((limit, service))
    return [_as_json(contest, done) for contest, done in zip(contests, rounds, strict=True)]


def _round(
    drive: Driver,
    contest: Contest,
    side: tuple[Server, Load],
    *,
    seconds: float,
    right: Mapping[bytes, object] | None = None,
) -> Round:
    server, load = side
    done = drive.round(server, load, seconds=seconds, connections=contest.connections, right=right)
    if contest.settle is not None:
        contest.settle(done)
    return done


def _against_limit(stage: Stage, scenario: Scenario) -> Contest:
    def remove(done: Round) -> None:
        removed = remove_added(stage.database_url, stage.people)
        _check_added(removed, done.measured.requests)

    theirs = Load(stage.limit.port, scenario.limit, stage.directory, scenario.name)
    ours = Load(stage.service.port, scenario.service, stage.directory, scenario.name)
    return Contest(
        title=scenario.title,
        target=scenario.target,
        limit=(stage.limit, theirs),
        service=(stage.service, ours),
        right={} if scenario.writes else agreed(stage, scenario),
        settle=remove if scenario.writes else None,
    )


def _check_added(stored: int, acknowledged: int) -> None:
    # What was under way at the end is stored and not counted.
    if not acknowledged <= stored <= acknowledged + CONNECTIONS:
        raise WrongAnswerError(f"{acknowledged} favorites acknowledged, {stored} stored.")


def _as_json(contest: Contest, rounds: Sequence[tuple[Round, Round]]) -> Json:
    return {
        "title": contest.title,
        "target": contest.target,
        "service": [ours.as_json() for _, ours in rounds],
        "limit": [theirs.as_json() for theirs, _ in rounds],
        "ratio": [round(ours.measured.rate / theirs.measured.rate, 4) for theirs, ours in rounds],
        "sampled": sum(ours.sampled for _, ours in rounds),
    }


def _sign_in_beside_callable(stage: Stage, plan: Plan) -> Json:
    """Sign in beside a bare callable that verifies passwords on as many cores."""
    requests = sign_ins(stage.people)
    contest = Contest(
        title="Sign in",
        target=0.95,
        limit=(stage.limit, Load(stage.limit.port, requests, stage.directory, "sign-in")),
        service=(stage.service, Load(stage.service.port, requests, stage.directory, "sign-in")),
        connections=HASHING_CONNECTIONS,
    )
    (figure,) = _in_turn(stage, plan, contest)
    return figure


def _sign_in_one_core(stage: Stage, plan: Plan) -> Json:
    """Sign in where hashing may use one core, and all the rest of the work another."""
    with another_service(stage, {"PASSWORD_THREADS": "1"}) as service:
        return _sign_in(stage, plan, service, cores=1)


def _sign_in(stage: Stage, plan: Plan, server: Server, *, cores: int) -> Json:
    """Sign in as fast as possible, beside the bare verification of passwords on as many cores."""
    load = Load(server.port, sign_ins(stage.people), stage.directory, "sign-in")
    drive = Driver(stage=stage)
    service, limit = [], []
    for number in range(0 if plan.warm_up else 1, plan.rounds + 1):
        seconds = max(plan.seconds, 1.0)
        bare = float(
            subprocess.run(  # noqa: S603 - our own program
                [
                    sys.executable,
                    "-m",
                    "development.benchmark.limit",
                    "argon2",
                    str(seconds),
                    str(cores),
                ],
                env=dict(stage.environment),
                capture_output=True,
                check=True,
                text=True,
            ).stdout
        )
        done = drive.round(server, load, seconds=seconds, connections=HASHING_CONNECTIONS)
        if number:
            service.append(done)
            limit.append({"per_s": round(bare, 1)})
    return {
        "title": f"Sign in, to bare hashing on {'one core' if cores == 1 else f'{cores} cores'}",
        "target": 0.95,
        "service": [each.as_json() for each in service],
        "limit": limit,
        "ratio": [
            round(mine.measured.rate / best["per_s"], 4)
            for mine, best in zip(service, limit, strict=True)
        ],
    }


def _unchanged(stage: Stage, plan: Plan) -> Json:
    """Ask for lists that have not changed, beside the same lists in full."""
    conditional = conditional_lists(stage)
    if not conditional:
        return {}
    whole = scenarios(stage.people[: len(conditional)])[0].service
    port = stage.service.port
    contest = Contest(
        title="An unchanged list (304), to one in full",
        target=1.5,
        limit=(stage.service, Load(port, whole, stage.directory, "whole")),
        service=(stage.service, Load(port, conditional, stage.directory, "unchanged")),
    )
    (figure,) = _in_turn(stage, plan, contest)
    return figure


def _half_load(stage: Stage, plan: Plan, *, evenly: bool) -> Json:
    """
    Ask for lists at half the rate that a server can do; how much slower are the slowest?

    The limit is asked as well: what it cannot do, the machine cannot.
    """
    scenario = scenarios(stage.people)[0]
    loads = {
        "limit": Load(stage.limit.port, scenario.limit, stage.directory, "half"),
        "service": Load(stage.service.port, scenario.service, stage.directory, "half"),
    }
    rounds: dict[str, list[Json]] = {side: [] for side in loads}
    for _ in range(plan.rounds):
        for side, load in loads.items():
            rounds[side].append(_at_half_load(load, plan, evenly=evenly))
    ratios = {side: [each["ratio"] for each in done] for side, done in rounds.items()}
    how = "one after the other" if evenly else "as many strangers ask"
    return {
        "title": f"p99 to p50 of lists at half load, {how}",
        "at_most": 3.0,
        "rounds": rounds,
        "ratio": ratios["service"],
        "ratio_of_limit": ratios["limit"],
    }


def _at_half_load(load: Load, plan: Plan, *, evenly: bool) -> Json:
    most = load.run(seconds=plan.seconds, connections=CONNECTIONS).rate
    measured = load.run(
        seconds=plan.seconds * 2,
        connections=CONNECTIONS * 2,
        at=Rate(per_s=most / 2, evenly=evenly),
    )
    return {
        "share": round(measured.rate / most, 3),
        "p50_ms": measured.p50_ms,
        "p99_ms": measured.p99_ms,
        "ratio": round(measured.p99_ms / measured.p50_ms, 3),
    }


def _storm(stage: Stage, plan: Plan) -> Json:
    """Ask for lists at a steady rate, with and without a storm of sign-ins beside."""
    load = _lists(stage)
    storm = Load(stage.service.port, sign_ins(stage.people), stage.directory, "storm")
    most = load.run(seconds=plan.seconds, connections=CONNECTIONS).rate
    quiet = Rate(per_s=most / 8)
    calm, stormy = [], []
    for _ in range(plan.rounds):
        calm.append(load.run(seconds=plan.quiet_s, connections=CONNECTIONS, at=quiet))
        beside = storm.start(seconds=plan.quiet_s, connections=STORM_CONNECTIONS)
        stormy.append(load.run(seconds=plan.quiet_s, connections=CONNECTIONS, at=quiet))
        beside.wait()
    return {
        "title": "p99 of lists during a storm of sign-ins, to that without",
        "at_most": 2.0,
        "calm": [{"p50_ms": each.p50_ms, "p99_ms": each.p99_ms} for each in calm],
        "stormy": [{"p50_ms": each.p50_ms, "p99_ms": each.p99_ms} for each in stormy],
        "ratio": [
            round(during.p99_ms / without.p99_ms, 3)
            for during, without in zip(stormy, calm, strict=True)
        ],
    }


def _start(stage: Stage, plan: Plan) -> Json:
    import_seconds(stage)  # so that all modules are compiled
    return {
        "title": "From the start to the first 200, in seconds",
        "at_most": 1.5,
        "ratio": [round(start_seconds(stage), 3) for _ in range(plan.starts)],
        "imports_s": [round(import_seconds(stage), 3) for _ in range(plan.starts)],
    }


def _lists(stage: Stage) -> Load:
    return Load(stage.service.port, scenarios(stage.people)[0].service, stage.directory, "lists")


def _only_good(stage: Stage) -> dict[str, int]:
    answers = stage.answers()
    if answers.get("5xx") or answers.get("4xx"):
        raise WrongAnswerError(f"The service counted {answers}.")
    return answers


def _brief(figure: Json) -> str:
    spread = Spread.of(figure["ratio"])
    rates = ""
    if "service" in figure:
        ours = Spread.of(each["per_s"] for each in figure["service"])
        theirs = Spread.of(each["per_s"] for each in figure["limit"])
        rates = f"{ours.median:8.0f} /s of {theirs.median:8.0f} /s"
    return f"{spread.median:6.3f} [{spread.low:.3f}, {spread.high:.3f}]  {rates}"


def _about(plan: Plan) -> Json:
    revision = subprocess.run(  # noqa: S603 - our own command
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"],  # noqa: S607
        capture_output=True,
        check=False,
        text=True,
    ).stdout.strip()
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision,
        "python": platform.python_version(),
        "cores": usable_cores(),
        "driver": driver(),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
    }


def load_result(text: str) -> Json:
    """
    Read a result.

    :raises ValueError: if it is none
    """
    result = json.loads(text)
    if not isinstance(result, dict) or "figures" not in result:
        raise ValueError("This is no result of a benchmark.")
    return result
