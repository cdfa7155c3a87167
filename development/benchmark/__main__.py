"""Measure the service beside a bare ASGI callable: `python -m development.benchmark`.

Everything runs on free ports and in a temporary directory; no traffic leaves this machine.
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
from development.benchmark.report import as_changes, as_table, draw
from development.benchmark.rounds import FULL, QUICK, WrongAnswerError
from development.benchmark.run import NAMES, QUICK_NAMES, load_result, run
from development.benchmark.testbed import running_testbed
from development.page import update_page
from development.service import ROOT, ServiceError, say

CUSTOMERS, COLLECTORS = 10_000, 500
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
    except (ServiceError, WrongAnswerError, LoadError, OSError, ValueError) as error:
        say(str(error))
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m development.benchmark", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="take less than a minute, with few figures; writes to .local/ only",
    )
    parser.add_argument(
        "--only",
        action="extend",
        nargs="+",
        default=[],
        choices=NAMES,
        metavar="FIGURE",
        help=f"measure these figures only; writes to .local/ only: {', '.join(NAMES)}",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the result (JSON) here")
    commands = parser.add_subparsers(dest="command")
    compare = commands.add_parser("compare", help="show what changed beyond noise")
    compare.add_argument("results", nargs=2, type=Path, metavar="RESULT")
    growth = commands.add_parser("growth", help="measure throughput as the amounts grow")
    growth.add_argument("--rows", type=int, default=10_000_000, help="most favorites to create")
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
    names = arguments.only or (QUICK_NAMES if arguments.quick else NAMES)
    with running_testbed(customers=CUSTOMERS, collectors=COLLECTORS) as testbed:
        say(f"{CUSTOMERS + COLLECTORS} customers created after {time.monotonic() - began:.0f} s")
        result = run(testbed, QUICK if arguments.quick else FULL, names)
    target = arguments.out or ROOT / (".local" if partial else "docs") / "benchmarks.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if not partial:
        target.with_suffix(".svg").write_text(draw(result), encoding="utf-8")
        update_page(PAGE, as_table(result), part="benchmark")
    say(f"\n{as_table(result)}\n\n{target}, after {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
