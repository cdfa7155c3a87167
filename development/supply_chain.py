"""What the image is made of, and whether something of it is known to be vulnerable.

`python -m development.supply_chain sbom [FILE]` writes a software bill of materials (CycloneDX,
JSON) of the packages that the image has: exactly those, installed from poetry.lock as in the
Dockerfile. `... audit` asks PyPI's advisory database about each of them. Exit status: 0 nothing is
known, 1 something is, 2 it could not be done, 3 the database could not be asked about all of them.

The tools have a place of their own, as Poetry has: what they need is no part of the project.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from development.install import (
    LOCAL,
    ROOT,
    InstallError,
    ensure_poetry,
    ensure_tools,
    export,
    fingerprint,
    hold_lock,
    make_venv,
    pinned_names,
    pip,
    read_stamp,
    run,
    say,
    write_stamp,
)

TOOLS = LOCAL / "tools"
TOOL_REQUIREMENTS = ("cyclonedx-bom==7.5.0", "pip-audit==2.10.1")
PROJECT = LOCAL / "sbom.toml"
RUNTIME = LOCAL / "runtime"
REQUIREMENTS = LOCAL / "runtime.txt"
TIMEOUT_S = 10

VULNERABLE, FAILED, UNKNOWN = 1, 2, 3


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says."""
    match arguments:
        case ["sbom"]:
            work = write_sbom(LOCAL / "sbom.json")
        case ["sbom", name]:
            work = write_sbom(Path(name).absolute())
        case ["audit"]:
            work = audit()
        case _:
            say("Usage: python -m development.supply_chain sbom [FILE] | audit")
            return FAILED
    return work


def write_sbom(target: Path) -> int:
    """Write the bill of materials of what the image has; returns the exit status."""
    try:
        prepare()
        ensure_runtime()
        PROJECT.write_text(described(ROOT / "pyproject.toml"), encoding="utf-8")
        run(
            [
                *(TOOLS / "bin" / "cyclonedx-py", "environment", "--output-reproducible"),
                *("--pyproject", PROJECT, "--output-format", "JSON"),
                *("--output-file", target, RUNTIME / "bin" / "python"),
            ],
            what="Writing the bill of materials",
        )
    except InstallError as error:
        say(str(error))
        return FAILED
    components = json.loads(target.read_text(encoding="utf-8"))["components"]
    say(f"{target}: {len(components)} packages")
    return 0


def described(pyproject: Path) -> str:
    """Return what a project says of itself, and nothing of Poetry, at which the tool stumbles."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    # A JSON string is one of TOML, too.
    told = [f"{name} = {json.dumps(value)}" for name, value in project.items()]
    return "\n".join(["[project]", *told, ""])


def audit() -> int:
    """Ask about every package of the image; returns the exit status."""
    try:
        prepare()
    except InstallError as error:
        say(str(error))
        return FAILED
    with tempfile.TemporaryDirectory(prefix="favorites-audit-") as directory:
        report = Path(directory) / "report.json"
        asked = subprocess.run(  # noqa: S603 - our own command
            [
                *(TOOLS / "bin" / "pip-audit", "--requirement", REQUIREMENTS, "--require-hashes"),
                *("--disable-pip", "--progress-spinner", "off", "--timeout", str(TIMEOUT_S)),
                *("--format", "json", "--output", report),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if not report.exists():
            last = (asked.stderr.strip() or "no reason was given").splitlines()[-1]
            say(f"The advisory database could not be asked: {last[:200]}")
            return UNKNOWN
        status, sentences = verdict(json.loads(report.read_text(encoding="utf-8")))
    for sentence in sentences:
        say(sentence)
    return status


def verdict(report: Mapping[str, Any]) -> tuple[int, Sequence[str]]:
    """
    Judge a report of pip-audit; returns the exit status and what to tell.

    pip-audit counts a package that the database does not know as one without faults, also when it
    is a mirror that knows none at all.
    """
    packages = report["dependencies"]
    faults = [
        f"{package['name']} {package['version']}: {fault['id']}, "
        + (f"repaired in {', '.join(fault['fix_versions'])}" if fault["fix_versions"] else "open")
        for package in packages
        for fault in package.get("vulns", [])
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        shown = ", ".join(skipped[:3]) + (", …" if len(skipped) > 3 else "")
        unasked = (
            f"The advisory database could not be asked about {len(skipped)} of {len(packages)}"
            f" packages ({shown})."
        )
        return (VULNERABLE if faults else UNKNOWN), [*faults, unasked]
    if faults:
        return VULNERABLE, faults
    if not packages:
        return UNKNOWN, ["The report names no package."]
    return 0, [f"Nothing is known against any of {len(packages)} packages."]


def prepare() -> None:
    """
    Have the tools, and the requirements of the image.

    :raises InstallError: if that cannot be
    """
    with hold_lock(LOCAL / "install.lock"):
        ensure_poetry()
        ensure_tools(TOOLS, TOOL_REQUIREMENTS)
        export(REQUIREMENTS, "--only", "main")


def ensure_runtime() -> None:
    """
    Have an environment with what the image has, and nothing else.

    :raises InstallError: if that cannot be
    """
    stamp = fingerprint(lock=REQUIREMENTS.read_bytes(), python=sys.version, place=RUNTIME)
    with hold_lock(LOCAL / "install.lock"):
        if read_stamp(RUNTIME) == stamp:
            return
        count = len(pinned_names(REQUIREMENTS.read_text(encoding="utf-8")))
        say("Installing what the image has into .local/runtime")
        make_venv(RUNTIME, "--without-pip")
        run(
            [
                *pip(TOOLS),
                *("--python", RUNTIME / "bin" / "python", "install", "--require-hashes"),
                *("--only-binary=:all:", "--no-deps", "--requirement", REQUIREMENTS),
            ],
            what="Installing packages",
            count=count,
        )
        write_stamp(RUNTIME, stamp)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
