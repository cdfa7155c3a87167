"""Programs of the service, restarted when they end, as compose does."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # comes with the wheel of PostgreSQL, has no types

from development.child import Child


class ChaosError(Exception):
    """The service does not start or does not recover; the text says which part."""


@dataclass(kw_only=True)
class Program:
    """A program of the service, possibly with several processes."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    processes: int = 1
    failures: list[str] = field(default_factory=list)
    _child: Child | None = None
    _expected: bool = False

    @property
    def pid(self) -> int:
        """The first process, the parent of the others."""
        if self._child is None:
            raise ChaosError(f"{self.name} was not started")
        return self._child.pid

    def start(self) -> None:
        """Start the program; its output is appended to its log file."""
        self._expected = False
        with self.log.open("ab") as output:
            self._child = Child(
                [sys.executable, *self.arguments],
                environment=self.environment,
                output=output,
                # Not the checkout, which may have a developer's `.env`.
                directory=self.log.parent,
            )

    def wait(self, timeout_s: float) -> int:
        """Wait until the program ends, and return its exit status."""
        return self._child.wait(timeout_s) if self._child else 0

    def restart_if_ended(self) -> None:
        """Start the program again if it has ended, which is a failure unless `kill` ended it."""
        if self._child is None or (status := self._child.exit_status) is None:
            return
        if not self._expected:
            self.failures.append(f"{self.name} ended by itself with status {status}")
        self._child.stop()
        self.start()

    def kill(self, *, alone: bool = False) -> None:
        """Kill all processes, or the first `alone`."""
        self._expected = True
        (os.kill if alone else os.killpg)(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop the program as compose does; another exit status than 0 is a failure."""
        if self._child is None:
            return
        if status := self._child.stop(signal.SIGTERM, grace_s=30):
            self.failures.append(f"{self.name} ended with status {status} when it was stopped")
        self._child = None

    def dispose(self) -> None:
        """Kill the program if it still runs."""
        if self._child is not None:
            self._child.stop(grace_s=0)

    def workers(self) -> list[Any]:
        """Return the processes that serve requests or run jobs."""
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.pid)
            if self.processes == 1:
                return [parent]
            return [each for each in parent.children() if _is_worker(each)]
        return []


def _is_worker(process: Any) -> bool:
    # The resource tracker of multiprocessing is another child.
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return "spawn_main" in " ".join(process.cmdline())
    return False
