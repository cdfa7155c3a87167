"""Run pytest so that fixtures clean up after every kind of end: `development/test`."""

import os
import signal
import sys
from types import FrameType
from urllib.parse import urlsplit

import pytest

from app.infra.hashing.cores import usable_cores


def database(environment: dict[str, str]) -> str:
    """Describe the database that the tests will use."""
    if url := environment.get("TEST_DATABASE_URL"):
        parts = urlsplit(url)
        return f"{parts.path.lstrip('/')} on {parts.hostname or 'localhost'} (TEST_DATABASE_URL)"
    if environment.get("TEST_DATABASE") == "container":
        return "PostgreSQL in a container (TEST_DATABASE=container)"
    return "embedded PostgreSQL; TEST_DATABASE=container or TEST_DATABASE_URL choose another"


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    # As after Ctrl-C, fixtures stop what they have started.
    raise KeyboardInterrupt


def main() -> int:
    """Run the suite with the arguments given and return its exit status."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _interrupt)
    sys.stdout.write(f"Database of the tests: {database(dict(os.environ))}\n")
    sys.stdout.flush()
    return int(pytest.main([*_processes(sys.argv[1:]), *sys.argv[1:]]))


def _processes(arguments: list[str]) -> list[str]:
    """Run on all cores unless the arguments say how many, or ask for a debugger."""
    if any(argument.startswith(("-n", "--numprocesses", "--pdb")) for argument in arguments):
        return []
    # One more than the cores, because many tests wait for processes. Tests of one file share
    # fixtures; files run in the order found, which has short ones last.
    processes = usable_cores() + 1
    return [f"--numprocesses={processes}", "--dist=loadfile", "--no-loadscope-reorder"]


if __name__ == "__main__":
    sys.exit(main())
