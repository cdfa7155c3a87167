"""Kill parts of the service under load, and compare what clients were told with what is there.

    python -m development.chaos

Runs a service of its own on free ports: an embedded PostgreSQL, a local Fake Store, two API
servers of two processes each, two workers; with `--compose` the containers of the profile `scale`,
which are killed, frozen and put back. Nothing leaves this machine. Ends with status 1 if anything
was lost, doubled, or answered as nobody may ever be answered.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from development.benchmark.report import update_page
from development.chaos import compose_faults, embedded_faults
from development.chaos.compose import compose_world
from development.chaos.embedded import embedded_world
from development.chaos.program import ChaosError
from development.chaos.report import Outcome, as_table, draw
from development.chaos.run import Plan, run
from development.chaos.scene import plan as draw_faults
from development.outage import ROOT, say

ROUNDS, QUICK_ROUNDS = 20, 5

# Slower than on this machine alone: the containers share it with the gateway, Redis and two more.
COMPOSE_TURN_S = 0.15


def main() -> int:
    """Make a run, print its table, and renew the plot and the numbers in the documentation."""
    arguments = _arguments()
    quick = arguments.quick or bool(arguments.only) or arguments.sabotage
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)  # noqa: S311 - to be repeated, not to be secret
    directory = Path(tempfile.mkdtemp(prefix="favorites-chaos-"))
    directory.chmod(0o755)
    say(f"Seed {seed}; logs and ledger are in {directory} meanwhile.")
    rounds = arguments.rounds or (QUICK_ROUNDS if quick else ROUNDS)
    try:
        make = _among_containers if arguments.compose else _on_this_machine
        outcome = make(arguments, directory, seed=seed, rounds=rounds)
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
    if outcome.faults:
        counted = Counter(outcome.faults).items()
        say("\n".join(["", "Wrong:", *(f"- {fault} ({times} times)" for fault, times in counted)]))
        say(f"The logs and the ledger are in {directory}.")
        return 1
    shutil.rmtree(directory, ignore_errors=True)
    if not quick:
        update_page(ROOT / "docs" / "chaos.md", as_table(outcome), part=part)
    return 0


def _on_this_machine(
    arguments: argparse.Namespace, directory: Path, *, seed: int, rounds: int
) -> Outcome:
    faults = embedded_faults.FAULTS
    plan = Plan(seed=seed, faults=arguments.only or draw_faults(faults, rounds, seed=seed))
    with embedded_world(directory, servers=2, workers=2, sabotaged=arguments.sabotage) as world:
        return run(world, faults, directory / "ledger.jsonl", plan)


def _among_containers(
    arguments: argparse.Namespace, directory: Path, *, seed: int, rounds: int
) -> Outcome:
    faults = compose_faults.FAULTS
    plan = Plan(
        seed=seed,
        faults=arguments.only or draw_faults(faults, rounds, seed=seed),
        turn_s=COMPOSE_TURN_S,
    )
    with compose_world(arguments.away) as world:
        return run(world, faults, directory / "ledger.jsonl", plan)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m development.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, help="do the same again; by default it is drawn")
    parser.add_argument("--rounds", type=int, help=f"faults; {ROUNDS} by default")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_ROUNDS} faults; writes to .local/ only",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="FAULT",
        help=f"these faults in this order: {', '.join(embedded_faults.FAULTS)};"
        f" with --compose {', '.join(compose_faults.FAULTS)}",
    )
    parser.add_argument(
        "--compose",
        action="store_true",
        help="among the containers of the profile `scale`, which takes a Docker engine",
    )
    parser.add_argument(
        "--away",
        nargs=2,
        type=float,
        default=(2.0, 8.0),
        metavar="SECONDS",
        help="with --compose: how long parts are away, at the least and at the most",
    )
    parser.add_argument(
        "--sabotage",
        action="store_true",
        help="let PostgreSQL forget what was committed when it crashes; that has to be found",
    )
    arguments = parser.parse_args()
    if arguments.compose and arguments.sabotage:
        parser.error("--sabotage is not for --compose")
    faults = compose_faults.FAULTS if arguments.compose else embedded_faults.FAULTS
    if unknown := {*(arguments.only or ())} - {*faults}:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
