"""Measure the service against what this machine can do at all: `python -m development.benchmark`.

Everything runs on free ports and in a temporary directory; nothing leaves this machine.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from development.benchmark.growth import as_table as growth_table
from development.benchmark.growth import measure
from development.benchmark.growth_plot import draw as draw_growth
from development.benchmark.load import LoadError
from development.benchmark.report import as_changes, as_table, draw, update_page
from development.benchmark.run import Plan, load_result, run
from development.benchmark.scenario import WrongAnswerError
from development.benchmark.stage import stage
from development.outage import ROOT, OutageError, say

CUSTOMERS = 10_000
PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> int:
    """Measure, or compare two results."""
    arguments = _arguments()
    try:
        match arguments.command:
            case "compare":
                before, after = (
                    load_result(path.read_text(encoding="utf-8")) for path in arguments.results
                )
                say(as_changes(before, after))
            case "growth":
                _grow(most_rows=arguments.rows)
            case _:
                _measure(arguments)
    except (OutageError, WrongAnswerError, LoadError, OSError, ValueError) as error:
        say(str(error))
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m development.benchmark", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="be done in less than a minute; writes to .local/ only",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="FIGURE", help="measure less")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the result (JSON) goes")
    commands = parser.add_subparsers(dest="command")
    compare = commands.add_parser("compare", help="say what changed beyond noise")
    compare.add_argument("results", nargs=2, type=Path, metavar="RESULT")
    growth = commands.add_parser("growth", help="measure as there is more of everything")
    growth.add_argument("--rows", type=int, default=10_000_000, help="favorites at the most")
    return parser.parse_args()


def _grow(*, most_rows: int) -> None:
    points = list(measure(most_rows=most_rows))
    target = ROOT / "docs" / "growth.json"
    target.write_text(json.dumps(points, indent=1) + "\n", encoding="utf-8")
    target.with_suffix(".svg").write_text(draw_growth(points), encoding="utf-8")
    update_page(PAGE, growth_table(points), part="growth")
    say(growth_table(points))


def _measure(arguments: argparse.Namespace) -> None:
    began = time.monotonic()
    partial = arguments.quick or arguments.only
    plan = Plan.quick() if arguments.quick else Plan.full()
    with stage(customers=CUSTOMERS) as running:
        say(f"{CUSTOMERS} customers on stage after {time.monotonic() - began:.0f} s")
        result = run(running, plan, only=arguments.only)
    target = arguments.out or ROOT / (".local" if partial else "docs") / "benchmarks.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if not partial:
        target.with_suffix(".svg").write_text(draw(result), encoding="utf-8")
        update_page(PAGE, as_table(result))
    say(f"\n{as_table(result)}\n\n{target}, after {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
