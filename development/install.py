"""Create `.venv` from `poetry.lock`: run by `development/bootstrap`, standard library only.

Poetry exports the lock and pip installs it: pip uses the index, proxy and certificate settings of
the machine, and its `--require-hashes` checks every file against the lock.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCAL = ROOT / ".local"
POETRY = LOCAL / "poetry"
POETRY_REQUIREMENTS = ("poetry==2.5.1", "poetry-plugin-export==1.10.1")
LOG = LOCAL / "install.log"
HEARTBEAT_S = 10.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Variables of the user that would make pip or Python use another environment.
REDIRECTING = (
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_TARGET",
    "PIP_USER",
    "PYTHONHOME",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
)


class InstallError(Exception):
    """The environment cannot be created; the text is for the user."""


def say(sentence: str) -> None:
    """Print progress to stderr: stdout belongs to the command that follows."""
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - progress for the user


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without variables that redirect pip or Python."""
    return {name: value for name, value in environment.items() if name not in REDIRECTING}


def fingerprint(*, lock: bytes, python: str, place: Path) -> str:
    """Identify the inputs of an environment: lock file, interpreter and path.

    The path is included because an environment cannot be moved.
    """
    return json.dumps(
        {"lock": hashlib.sha256(lock).hexdigest(), "python": python, "place": str(place)},
        sort_keys=True,
    )


def pinned_names(requirements: str) -> set[str]:
    """Return the normalized names pinned by an exported requirements file (PEP 503)."""
    pins = re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==", requirements, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in pins}


def read_stamp(place: Path) -> str | None:
    """Return the fingerprint of an environment, or None if it is incomplete."""
    with suppress(OSError):
        return (place / "stamp.json").read_text(encoding="utf-8")
    return None


def write_stamp(place: Path, stamp: str) -> None:
    """Mark the environment as complete, atomically."""
    draft = place / "stamp.json.draft"
    draft.write_text(stamp, encoding="utf-8")
    draft.replace(place / "stamp.json")


def run(command: Sequence[str | Path], *, what: str, count: int | None = None) -> None:
    """Run a command with its output in the log, and print progress.

    :raises InstallError: if the command fails; the text has the end of its output
    """
    with LOG.open("w+b") as log:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=clean_environment(os.environ),
            close_fds=False,  # pip inherits the lock and keeps it if we are killed
        )
        try:
            _wait(process, what=what, count=count)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if process.returncode:
            raise InstallError(f"{what} failed:\n{_tail(log)}\nThe full output is in {LOG}.")


def _wait(process: subprocess.Popen[bytes], *, what: str, count: int | None) -> None:
    started = time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(HEARTBEAT_S)
            return
        progress = f"{time.monotonic() - started:.0f} s"
        if count:
            seen = len(re.findall(rb"^Collecting ", LOG.read_bytes(), re.MULTILINE))
            progress = f"{min(seen, count)} of {count} packages fetched, {progress}"
        say(f"  … {what}: {progress}")


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-20:])


def make_venv(place: Path, *options: str) -> None:
    """Create an empty environment, replacing an existing one.

    :raises InstallError: if this Python cannot
    """
    if place.is_symlink() or place.is_file():
        place.unlink()
    shutil.rmtree(place, ignore_errors=True)
    base = getattr(sys, "_base_executable", None) or sys.executable
    run([base, "-I", "-m", "venv", *options, place], what=f"Creating {place.name}")


def pip(place: Path) -> list[str | Path]:
    """Return the start of a pip command for an environment."""
    return [
        place / "bin" / "python",
        "-I",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
    ]


def ensure_poetry() -> None:
    """Install the pinned Poetry into its own environment, if necessary."""
    ensure_tools(POETRY, POETRY_REQUIREMENTS)


def ensure_tools(place: Path, requirements: Sequence[str]) -> None:
    """Install pinned tools into their own environment, if necessary."""
    stamp = fingerprint(lock="\n".join(requirements).encode(), python=sys.version, place=place)
    if read_stamp(place) == stamp:
        return
    say(f"Installing {requirements[0].replace('==', ' ')} into .local/{place.name}")
    make_venv(place)
    run([*pip(place), "install", *requirements], what=f"Installing {place.name}")
    write_stamp(place, stamp)


def export(target: Path, *groups: str) -> str:
    """Write the lock, or some of its groups, as requirements with hashes; return the text."""
    run(
        [
            *(POETRY / "bin" / "python", "-I", "-m", "poetry", "export", "--no-interaction"),
            *(groups or ("--all-groups",)),
            *("--format", "requirements.txt", "--output", target),
        ],
        what="Reading poetry.lock",
    )
    return target.read_text(encoding="utf-8")


def ensure_venv() -> None:
    """Make `.venv` contain exactly the packages of `poetry.lock`.

    A complete environment of the same Python is updated in place; otherwise (missing, incomplete,
    another Python, moved) it is created again. The stamp is removed first and written last, so
    that an interrupted run is detected.
    """
    lock = (ROOT / "poetry.lock").read_bytes()
    stamp = fingerprint(lock=lock, python=sys.version, place=VENV)
    before = read_stamp(VENV)
    if before == stamp:
        return
    ensure_poetry()
    (VENV / "stamp.json").unlink(missing_ok=True)
    if before is None or {**json.loads(before), "lock": ""} != {**json.loads(stamp), "lock": ""}:
        say(f"Creating .venv with Python {sys.version.split()[0]}")
        make_venv(VENV)
    target = LOCAL / "requirements.txt"
    names = pinned_names(export(target))
    say(f"Installing {len(names)} packages from poetry.lock into .venv")
    run(
        [*pip(VENV), "install", "--require-hashes", "--no-deps", "--requirement", target],
        what="Installing packages",
        count=len(names),
    )
    _remove_others(names | {"pip", "setuptools"})
    write_stamp(VENV, stamp)


def _remove_others(names: set[str]) -> None:
    # Not by pip, whose listing may contain warnings.
    found = subprocess.run(  # noqa: S603 - our own environment
        [
            *(VENV / "bin" / "python", "-I", "-c"),
            "import importlib.metadata as m, json;"
            "print(json.dumps([d.metadata['Name'] for d in m.distributions()]))",
        ],
        check=True,
        capture_output=True,
        env=clean_environment(os.environ),
    )
    installed = {re.sub(r"[-_.]+", "-", name).lower() for name in json.loads(found.stdout)}
    if others := sorted(installed - names):
        run(
            [*pip(VENV), "uninstall", "--yes", *others],
            what="Removing packages that are not in the lock",
        )


def hold_lock(path: Path) -> IO[str]:
    """Take the installation lock of this checkout, until the file is closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    os.set_inheritable(file.fileno(), True)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("Waiting for another installation in this checkout")
        fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _stop(signum: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def main(arguments: Sequence[str]) -> int:
    """Install what is missing, then execute the command."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, _stop)
    wants_poetry = arguments[:1] == ["--poetry"]
    holds_signals = arguments[:1] == ["--hold-signals"]
    try:
        import ensurepip  # noqa: F401 - Debian packages it separately
    except ImportError:
        say(
            f"{sys.executable} has no ensurepip, which is needed to create .venv:"
            " install it (on Debian and Ubuntu: apt install python3-venv)."
        )
        return 1
    started = time.monotonic()
    try:
        with hold_lock(LOCAL / "install.lock"):
            ensure_venv()
            if wants_poetry:
                ensure_poetry()
    except InstallError as error:
        say(str(error))
        return 1
    except PermissionError as error:
        say(f"{error.filename} is not writable: was it created by another user?")
        return 1
    if (seconds := time.monotonic() - started) > 1:
        say(f"Ready after {seconds:.0f} s")
    command = list(arguments)
    if wants_poetry:
        command[0] = str(POETRY / "bin" / "poetry")
    elif holds_signals:
        # Signals stay pending until the command unblocks them.
        command.pop(0)
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    if command:
        os.execv(command[0], command)  # noqa: S606 - the caller's own command
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
