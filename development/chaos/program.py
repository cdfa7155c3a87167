"""Programs of the service that are killed, and started again as compose does."""

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
    """The service does not come up, or does not come back; the text says which part."""


@dataclass(kw_only=True)
class Program:
    """A program of the service that is started again whenever it ends, as compose does."""

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
        """The process that was started, whose children are the others."""
        if self._child is None:
            raise ChaosError(f"{self.name} was not started")
        return self._child.pid

    def start(self) -> None:
        """Start it; what it says goes to its file, behind what it said before."""
        self._expected = False
        with self.log.open("ab") as output:
            self._child = Child(
                [sys.executable, *self.arguments],
                environment=self.environment,
                output=output,
                # Not the checkout, whose `.env` is a person's.
                directory=self.log.parent,
            )

    def wait(self, timeout_s: float) -> int:
        """Wait until it ends by itself, and return its status."""
        return self._child.wait(timeout_s) if self._child else 0

    def keep(self) -> None:
        """Start it again if it has ended; a failure, unless it was killed on purpose."""
        if self._child is None or (status := self._child.exit_status) is None:
            return
        if not self._expected:
            self.failures.append(f"{self.name} ended by itself with status {status}")
        self._child.stop()
        self.start()

    def kill(self, *, alone: bool = False) -> None:
        """Kill it with all of its processes, or `alone` without its children."""
        self._expected = True
        (os.kill if alone else os.killpg)(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, as compose does; it has to end well."""
        if self._child is None:
            return
        if status := self._child.stop(signal.SIGTERM, grace_s=30):
            self.failures.append(f"{self.name} was asked to stop, and ended with status {status}")
        self._child = None

    def dispose(self) -> None:
        """End it, however."""
        if self._child is not None:
            self._child.stop(grace_s=0)

    def workers(self) -> list[Any]:
        """Return its processes that do the work: for a server of several, its children."""
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.pid)
            if self.processes == 1:
                return [parent]
            return [each for each in parent.children() if _is_worker(each)]
        return []


def _is_worker(process: Any) -> bool:
    # Beside them runs the resource tracker of multiprocessing.
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return "spawn_main" in " ".join(process.cmdline())
    return False
