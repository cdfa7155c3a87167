"""Inject faults into the service under load, and compare answers with the database.

    python -m development.chaos

Runs a separate service on free ports: an embedded PostgreSQL, the local Fake Store, two API
servers of two processes each, and two workers; with `--compose` the containers of the profile
`scale`. No traffic leaves this machine. Exits with status 1 if anything was lost, doubled, or
answered wrong.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from development.chaos import compose_faults, embedded_faults
from development.chaos.compose import compose_deployment
from development.chaos.embedded import embedded_deployment
from development.chaos.fault import draw_faults
from development.chaos.program import ChaosError
from development.chaos.report import Outcome, as_table, draw
from development.chaos.run import Plan, run
from development.page import update_page
from development.service import ROOT, say

ROUNDS, QUICK_ROUNDS = 20, 5

# Longer pauses: the containers also share this machine with the gateway, Redis and two others.
COMPOSE_TURN_S = 0.15


def main() -> int:
    """Make a run, print the table, and update the plot and the figures in the documentation."""
    arguments = _arguments()
    quick = arguments.quick or bool(arguments.only) or arguments.sabotage
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)  # noqa: S311 - repeatable, not secret
    directory = Path(tempfile.mkdtemp(prefix="favorites-chaos-"))
    directory.chmod(0o755)
    say(f"Seed {seed}; logs and ledger are in {directory}.")
    rounds = arguments.rounds or (QUICK_ROUNDS if quick else ROUNDS)
    try:
        make_run = _with_containers if arguments.compose else _with_processes
        outcome = make_run(arguments, directory, seed=seed, rounds=rounds)
    except ChaosError as error:
        say(f"{error}. The logs are in {directory}.")
        return 1
    part = "compose" if arguments.compose else "chaos"
    name = "chaos-compose.svg" if arguments.compose else "chaos.svg"
    target = ROOT / (".local" if quick else "docs") / name
    target.parent.mkdir(exist_ok=True)
    target.write_text(draw(outcome), encoding="utf-8")
    target.with_suffix(".json").write_text(
        json.dumps(outcome.numbers(), indent=1) + "\n", encoding="utf-8"
    )
    say(f"\n{as_table(outcome)}\n\nThe plot is {target.relative_to(ROOT)}.")
    if outcome.violations:
        counted = Counter(outcome.violations).items()
        say("\n".join(["", "Wrong:", *(f"- {each} ({times} times)" for each, times in counted)]))
        say(f"The logs and the ledger are in {directory}.")
        return 1
    shutil.rmtree(directory, ignore_errors=True)
    if not quick:
        update_page(ROOT / "docs" / "chaos.md", as_table(outcome), part=part)
    return 0


def _with_processes(
    arguments: argparse.Namespace, directory: Path, *, seed: int, rounds: int
) -> Outcome:
    faults = embedded_faults.FAULTS
    plan = Plan(seed=seed, faults=arguments.only or draw_faults(faults, rounds, seed=seed))
    with embedded_deployment(
        directory, servers=2, workers=2, sabotaged=arguments.sabotage
    ) as deployment:
        return run(deployment, faults, directory / "ledger.jsonl", plan)


def _with_containers(
    arguments: argparse.Namespace, directory: Path, *, seed: int, rounds: int
) -> Outcome:
    faults = compose_faults.FAULTS
    plan = Plan(
        seed=seed,
        faults=arguments.only or draw_faults(faults, rounds, seed=seed),
        turn_s=COMPOSE_TURN_S,
    )
    with compose_deployment(arguments.away) as deployment:
        return run(deployment, faults, directory / "ledger.jsonl", plan)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m development.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, help="seed of the random numbers, to repeat a run")
    parser.add_argument("--rounds", type=int, help=f"number of faults; {ROUNDS} by default")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_ROUNDS} faults; writes to .local/ only",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="FAULT",
        help=f"inject these faults in this order: {', '.join(embedded_faults.FAULTS)};"
        f" with --compose {', '.join(compose_faults.FAULTS)}",
    )
    parser.add_argument(
        "--compose",
        action="store_true",
        help="use the containers of the profile `scale`, which needs a Docker engine",
    )
    parser.add_argument(
        "--away",
        nargs=2,
        type=float,
        default=(2.0, 8.0),
        metavar="SECONDS",
        help="with --compose: the shortest and the longest outage",
    )
    parser.add_argument(
        "--sabotage",
        action="store_true",
        help="let PostgreSQL lose commits when it crashes, which the comparison has to find",
    )
    arguments = parser.parse_args()
    if arguments.compose and arguments.sabotage:
        parser.error("--sabotage cannot be combined with --compose")
    faults = compose_faults.FAULTS if arguments.compose else embedded_faults.FAULTS
    if unknown := {*(arguments.only or ())} - {*faults}:
        parser.error(f"unknown fault: {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
