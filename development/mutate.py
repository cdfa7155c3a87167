"""
Mutate the core and print how many mutants the unit tests kill: `task mutate`.

mutmut works on a copy of the project, so that the work tree stays as it is. It does not mutate
functions that have decorators. In the copy, decorators are therefore applied by assignments below
their functions: see `without_decorators`.
"""

import argparse
import ast
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MUTMUT = Path(sys.executable).with_name("mutmut")
CORE = ("app/domain", "app/application")
COPIED = ("app", "development", "tests", "pyproject.toml")
UNDETECTED = ("survived", "no_tests", "suspicious", "skipped", "segfault")


class MutationError(Exception):
    """The mutants could not be tested; the text says why."""


def without_decorators(source: str) -> str:
    """
    Return an equivalent module whose functions mutmut does not skip.

    `@override` has no effect at run time and is removed. `@property` and the decorators of context
    managers are replaced by `name = decorator(name)` below the function.
    """
    lines = source.splitlines(keepends=True)
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    for function in sorted(functions, key=lambda node: node.lineno, reverse=True):
        names = [ast.unparse(decorator) for decorator in function.decorator_list]
        applied = [name for name in names if name != "override"]
        if not names or not {"property", "contextmanager", "asynccontextmanager"} >= {*applied}:
            continue
        indent = " " * function.col_offset
        lines[function.end_lineno : function.end_lineno] = [
            f"{indent}{function.name} = {name}({function.name})\n" for name in reversed(applied)
        ]
        for decorator in function.decorator_list:
            lines[decorator.lineno - 1] = "\n"
    return "".join(lines)


def copy_project(target: Path, modules: Sequence[str]) -> None:
    """Copy what the unit tests need, prepared for the mutation of some modules."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, target / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, target / name)
    for core in CORE:
        for module in (target / core).rglob("*.py"):
            module.write_text(without_decorators(module.read_text("utf-8")), "utf-8")
    if modules:
        settings = target / "pyproject.toml"
        section = "[tool.mutmut]\n"
        selected = f"{section}only_mutate = {json.dumps(list(modules))}\n"
        settings.write_text(settings.read_text("utf-8").replace(section, selected), "utf-8")


def mutmut(*arguments: str, project: Path, shown: bool = False) -> str:
    """
    Run a command of mutmut and return its output, unless it is shown on the terminal.

    :raises MutationError: if it fails
    """
    done = subprocess.run(  # noqa: S603 - a tool of ours
        [MUTMUT, *arguments],
        cwd=project,
        stdout=None if shown else subprocess.PIPE,
        stderr=None if shown else subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MutationError((done.stdout or "")[-5000:] + f"\nmutmut {arguments[0]} failed")
    return done.stdout or ""


def report(project: Path) -> str:
    """Return the difference that each undetected mutant makes, and the score."""
    parts = []
    for line in mutmut("results", project=project).splitlines():
        name, _, status = line.strip().partition(": ")
        if status in {"survived", "no tests"}:
            shown = mutmut("show", name, project=project)
            parts.append(f"{status}:\n{shown[shown.index('--- ') :]}")
    mutmut("export-cicd-stats", project=project)
    counts = json.loads((project / "mutants/mutmut-cicd-stats.json").read_text("utf-8"))
    total = counts["total"]
    killed = total - sum(counts[status] for status in UNDETECTED)
    score = 100 * killed / total if total else 100.0
    return "\n".join([*parts, f"{killed} of {total} mutants killed: {score:.1f} %"])


def main(arguments: Sequence[str]) -> int:
    """Mutate the given modules, by default the whole core, and print the result."""
    parser = argparse.ArgumentParser(prog="task mutate --", description=main.__doc__)
    parser.add_argument("modules", nargs="*", help="for example app/domain/session.py")
    modules = parser.parse_args(arguments).modules
    for module in modules:
        if not (ROOT / module).is_file() or not module.startswith(CORE):
            parser.error(f"{module} is not a module of {' or '.join(CORE)}")
    # The directory is removed, also if the run is terminated.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="favorites-mutants-") as directory:
        project = Path(directory)
        copy_project(project, modules)
        try:
            mutmut("run", project=project, shown=sys.stdout.isatty())
            sys.stdout.write(report(project) + "\n")
        except MutationError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
