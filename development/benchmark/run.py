"""The benchmark as a whole: which figures are measured, and their result."""

import json
import platform
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from app.infra.hashing.cores import usable_cores
from development.benchmark import latency, sign_in
from development.benchmark.load import driver
from development.benchmark.noise import Spread
from development.benchmark.rounds import Json, Timing, WrongAnswerError, in_turn
from development.benchmark.scenario import compared_with_limit, scenarios
from development.benchmark.testbed import Testbed
from development.benchmark.variants import VARIANTS, beside_plain_list
from development.service import ROOT, say

OPERATIONS = tuple(scenario.name for scenario in scenarios(()))
"""What is measured beside the limit."""

OTHERS: Mapping[str, Callable[[Testbed, Timing], Json]] = {
    "sign_in_callable": sign_in.beside_callable,
    "sign_in": sign_in.on_all_cores,
    "sign_in_one_core": sign_in.on_one_core,
    "half_load": partial(latency.at_half_load, evenly=True),
    "half_load_of_strangers": partial(latency.at_half_load, evenly=False),
    "storm": latency.in_a_storm,
    "start": latency.start,
}

NAMES: Sequence[str] = (*OPERATIONS, *VARIANTS, *OTHERS)
QUICK_NAMES: Sequence[str] = (*OPERATIONS, "sorted", "profile")


def run(testbed: Testbed, timing: Timing, names: Collection[str]) -> Json:
    """
    Measure some of the figures that `NAMES` has.

    :raises WrongAnswerError: if any answer is wrong
    """
    result: Json = {"about": _about(timing), "figures": {}}
    for name, figure in _figures(testbed, timing, names):
        result["figures"][name] = figure
        say(f"  {name:22} {_brief(figure)}")
    result["memory_mib"] = round(testbed.service.rss_mib(), 1)
    result["hashing_memory_mib"] = round(testbed.service.children_rss_mib(), 1)
    result["answers"] = _only_successes(testbed)
    say(
        f"  memory                 {result['memory_mib']} MiB,"
        f" hashing process {result['hashing_memory_mib']} MiB"
    )
    return result


def _figures(
    testbed: Testbed, timing: Timing, names: Collection[str]
) -> Iterator[tuple[str, Json]]:
    operations = [each for each in scenarios(testbed.customers) if each.name in names]
    figures = in_turn([compared_with_limit(testbed, each) for each in operations], timing)
    yield from zip((each.name for each in operations), figures, strict=True)
    variants = [name for name in VARIANTS if name in names]
    figures = in_turn(
        beside_plain_list(testbed, variants), replace(timing, rounds=timing.variant_rounds)
    )
    yield from zip(variants, figures, strict=True)
    for name, measure in OTHERS.items():
        if name in names:
            yield name, measure(testbed, timing)


def _only_successes(testbed: Testbed) -> dict[str, int]:
    answers = testbed.answers()
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


def _about(timing: Timing) -> Json:
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
        "rounds": timing.rounds,
        "seconds": timing.seconds,
    }


def load_result(text: str) -> Json:
    """
    Read a result.

    :raises ValueError: if the text is not one
    """
    result = json.loads(text)
    if not isinstance(result, dict) or "figures" not in result:
        raise ValueError("This is not a benchmark result.")
    return result
