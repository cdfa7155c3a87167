"""The software bill of materials of the image, and its known vulnerabilities.

`python -m development.supply_chain sbom [FILE]` writes a software bill of materials (CycloneDX,
JSON) of exactly the packages in the image, installed from poetry.lock as in the Dockerfile.
`... audit` looks up each of them in the advisory database of PyPI. Exit status: 0 no known
vulnerability, 1 at least one, 2 failure, 3 some packages could not be looked up.

The tools have their own environment, as Poetry has: their dependencies are no part of the project.
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
    """Run the command of the command line."""
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
    """Write the bill of materials of the image; return the exit status."""
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
    """Return the `[project]` table alone: the tool cannot read the tables of Poetry."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    # JSON strings are also TOML strings.
    lines = [f"{name} = {json.dumps(value)}" for name, value in project.items()]
    return "\n".join(["[project]", *lines, ""])


def audit() -> int:
    """Look up every package of the image; return the exit status."""
    try:
        prepare()
    except InstallError as error:
        say(str(error))
        return FAILED
    with tempfile.TemporaryDirectory(prefix="favorites-audit-") as directory:
        report = Path(directory) / "report.json"
        audited = subprocess.run(  # noqa: S603 - our own command
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
            last = (audited.stderr.strip() or "no reason given").splitlines()[-1]
            say(f"The advisory database could not be queried: {last[:200]}")
            return UNKNOWN
        status, sentences = verdict(json.loads(report.read_text(encoding="utf-8")))
    for sentence in sentences:
        say(sentence)
    return status


def verdict(report: Mapping[str, Any]) -> tuple[int, Sequence[str]]:
    """
    Evaluate a report of pip-audit; return the exit status and the messages.

    pip-audit does not fail for packages that it skips, even if an index without advisories makes
    it skip all of them.
    """
    packages = report["dependencies"]
    vulnerabilities = [
        f"{package['name']} {package['version']}: {each['id']}, "
        + (f"fixed in {', '.join(each['fix_versions'])}" if each["fix_versions"] else "not fixed")
        for package in packages
        for each in package.get("vulns", [])
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        shown = ", ".join(skipped[:3]) + (", …" if len(skipped) > 3 else "")
        not_checked = (
            f"The advisory database could not be queried for {len(skipped)} of {len(packages)}"
            f" packages ({shown})."
        )
        return (VULNERABLE if vulnerabilities else UNKNOWN), [*vulnerabilities, not_checked]
    if vulnerabilities:
        return VULNERABLE, vulnerabilities
    if not packages:
        return UNKNOWN, ["The report contains no package."]
    return 0, [f"No known vulnerability in {len(packages)} packages."]


def prepare() -> None:
    """
    Install the tools and export the requirements of the image.

    :raises InstallError: if that fails
    """
    with hold_lock(LOCAL / "install.lock"):
        ensure_poetry()
        ensure_tools(TOOLS, TOOL_REQUIREMENTS)
        export(REQUIREMENTS, "--only", "main")


def ensure_runtime() -> None:
    """
    Create an environment with the packages of the image and no others.

    :raises InstallError: if that fails
    """
    stamp = fingerprint(lock=REQUIREMENTS.read_bytes(), python=sys.version, place=RUNTIME)
    with hold_lock(LOCAL / "install.lock"):
        if read_stamp(RUNTIME) == stamp:
            return
        count = len(pinned_names(REQUIREMENTS.read_text(encoding="utf-8")))
        say("Installing the packages of the image into .local/runtime")
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
