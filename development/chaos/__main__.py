"""Kill parts of the service under load, and compare what clients were told with what is there.

    python -m development.chaos

Runs a service of its own on free ports: an embedded PostgreSQL, a local Fake Store, two API
servers of two processes each, two workers. Nothing leaves this machine. Ends with status 1 if
anything was lost, doubled, or answered as nobody may ever be answered.
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
from development.chaos.faults import FAULTS
from development.chaos.faults import plan as draw_faults
from development.chaos.program import ChaosError
from development.chaos.report import as_table, draw
from development.chaos.run import Plan, run
from development.outage import ROOT, say

ROUNDS, QUICK_ROUNDS = 20, 5


def main() -> int:
    """Make a run, print its table, and renew the plot and the numbers in the documentation."""
    arguments = _arguments()
    quick = arguments.quick or bool(arguments.only) or arguments.sabotage
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)  # noqa: S311 - to be repeated, not to be secret
    rounds = arguments.rounds or (QUICK_ROUNDS if quick else ROUNDS)
    plan = Plan(
        seed=seed,
        faults=arguments.only or draw_faults(rounds, seed=seed),
        sabotaged=arguments.sabotage,
    )
    directory = Path(tempfile.mkdtemp(prefix="favorites-chaos-"))
    directory.chmod(0o755)
    say(f"Seed {seed}; logs and ledger are in {directory} meanwhile.")
    try:
        outcome = run(directory, plan)
    except ChaosError as error:
        say(f"{error}. The logs are in {directory}.")
        return 1
    target = ROOT / (".local" if quick else "docs") / "chaos.svg"
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
        update_page(ROOT / "docs" / "chaos.md", as_table(outcome), part="chaos")
    return 0


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
        "--only", nargs="+", choices=sorted(FAULTS), metavar="FAULT",
        help=f"these faults in this order: {', '.join(FAULTS)}",
    )  # fmt: skip
    parser.add_argument(
        "--sabotage",
        action="store_true",
        help="let PostgreSQL forget what was committed when it crashes; that has to be found",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
