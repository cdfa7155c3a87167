"""Starting and stopping the hashing process."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

import app

STOP_TIMEOUT_S = 5.0
"""How long an idle process may take to end before it is killed."""

_ROOT = str(Path(app.__file__).resolve().parent.parent)
_INTERPRETER_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONHOME")
"""Variables that the interpreter may need to start."""

_HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Argon2 accesses its memory randomly: with small pages, a tenth of the time is spent on address
translation. glibc reads this variable when a process starts (2.35 or later)."""


class ChildProcess:
    """A running `app.infra.hashing.process`; lines of JSON go in by `send` and out by `output`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
    ) -> None:
        self._process = process
        self._stdin = stdin
        self.output = stdout

    @classmethod
    async def start(cls, threads: int) -> Self:
        """
        Start a process.

        :raises OSError: if that fails
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-B", "-P", "-m", "app.infra.hashing.process"),
            str(threads),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=_environment(),
            # Its own session: terminal signals do not reach it, and the kernel's autogroups
            # schedule it separately from the server.
            start_new_session=True,
        )
        if process.stdin is None or process.stdout is None:
            raise OSError("The process has no pipes")
        return cls(process, process.stdin, process.stdout)

    def send(self, line: bytes) -> None:
        """Send a line; it is lost if the process has ended."""
        # Not drained: the executor sends only a few lines per thread.
        if not self._stdin.is_closing():
            self._stdin.write(line)

    def kill(self) -> None:
        """Kill the process."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self) -> int:
        """Close its stdin, wait until it ends or kill it, and return its exit status."""
        self._stdin.close()
        ending = asyncio.ensure_future(self._process.wait())
        # Not asyncio.timeout: in a canceled task, early releases of Python 3.11 mistake its
        # time-out for that cancellation.
        await asyncio.wait([ending], timeout=STOP_TIMEOUT_S)
        if not ending.done():
            self.kill()
        return await ending


def _environment() -> dict[str, str]:
    """Return an environment without settings and secrets, but with this process's import path."""
    kept = {name: os.environ[name] for name in _INTERPRETER_VARIABLES if name in os.environ}
    path = dict.fromkeys((_ROOT, *filter(None, sys.path)))
    return {**kept, **_HUGE_PAGES, "PYTHONPATH": os.pathsep.join(path)}
