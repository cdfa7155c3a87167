"""What every local run of the service needs: a clean environment, processes, and a console."""

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.settings import Settings
from development.child import Child

ROOT = Path(__file__).resolve().parent.parent
MIGRATE_S = 60.0


class ServiceError(Exception):
    """The service does not start or does not recover; the text says why."""


def say(text: str) -> None:
    """Write a line to the terminal at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def service_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with exactly these settings of the service."""
    known = {name.upper() for name in Settings.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name.upper() not in known}
    return {**inherited, **settings, "PYTHONPATH": str(ROOT)}


@contextmanager
def running(environment: Mapping[str, str], directory: Path, *arguments: str) -> Generator[Child]:
    """Run a Python program as long as the context lasts; its output is appended to `log`."""
    with (directory / "log").open("ab") as log:
        child = Child(
            [sys.executable, *arguments], environment=environment, output=log, directory=directory
        )
        try:
            yield child
        finally:
            child.stop()


def migrate(environment: Mapping[str, str], directory: Path) -> None:
    """
    Migrate the database of an environment.

    :raises ServiceError: if that fails; the text is the log
    """
    with running(environment, directory, "-m", "app", "migrate") as migration:
        if migration.wait(MIGRATE_S):
            raise ServiceError((directory / "log").read_text(encoding="utf-8"))
