"""Hashing off the event loop and out of its process, with a bounded queue before it."""

import asyncio
import itertools
import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import app
from app.domain.customer import Password, PasswordHash
from app.domain.outcome import HashingBusy
from app.infra.security.argon import Argon2Parameters

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(seconds=1)
QUEUE_PER_THREAD = 16
TRIES = 2
"""So often a task is given to a process; if each of them ends over it, it is given up."""

IDLE_S = 2.0
"""So long after the last password memory is given back."""

END_S = 5.0
"""So long the process has to finish and to end when it is told to, before it is killed."""

HUNG_S = 60.0
"""So long a task may take; the process is killed then, for it hangs."""

_ROOT = Path(app.__file__).resolve().parent.parent


def usable_cores() -> int:
    """Return how many cores this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hashing_cores(*, processes: int = 1) -> int:
    """Return how many cores each of several processes may hash on, at least 1."""
    return max(1, usable_cores() // processes)


@dataclass(eq=False, slots=True)
class _Call:
    """A task that was given to the process, and who waits for its outcome."""

    line: bytes
    outcome: asyncio.Future[Any]
    tries: int = 0


class HashingExecutor:
    """
    Hashes in a process of its own, as many passwords at a time as it has threads.

    At most `queue` more wait for their turn, in the order in which they came; whoever comes then
    is refused at once, because a queue that only grows serves nobody in time. A caller who is
    cancelled gives up the place in the queue; what has begun keeps it until it is done, so that
    memory stays bounded by the number of threads.

    The process is started when it is needed first, or by `start`. If it dies, another one takes
    its place and its tasks.
    """

    def __init__(self, *, threads: int | None = None, queue: int | None = None) -> None:
        self._threads = hashing_cores() if threads is None else threads
        self._capacity = self._threads + (
            QUEUE_PER_THREAD * self._threads if queue is None else queue
        )
        self._slots = asyncio.Semaphore(self._threads)
        self._admitted = 0
        self._closed = False
        self._numbers = itertools.count()
        self._calls: dict[int, _Call] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._attendant: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None

    @property
    def queue_depth(self) -> int:
        """How many calls wait for a thread."""
        return max(0, self._admitted - self._threads)

    def start(self) -> None:
        """Start the process, so that the first password need not wait for it."""
        if self._attendant is None or self._attendant.done():
            self._attendant = asyncio.get_running_loop().create_task(
                self._attend(), name="hashing"
            )

    async def hash(self, parameters: Argon2Parameters, password: Password) -> PasswordHash:
        """
        Hash a password with a new salt.

        :raises HashingBusy: if too many wait already, or hashing ends or cannot begin
        """
        outcome = await self._run(
            {"task": "hash", "parameters": asdict(parameters), "password": password.value}
        )
        return PasswordHash(outcome)

    async def matches(
        self, parameters: Argon2Parameters, password: Password, hashed: PasswordHash | None
    ) -> bool | None:
        """
        Compare a password with a hash, as `Argon2Parameters.matches` does.

        :raises HashingBusy: if too many wait already, or hashing ends or cannot begin
        """
        outcome: bool | None = await self._run(
            {
                "task": "compare",
                "parameters": asdict(parameters),
                "password": password.value,
                "hashed": hashed,
            }
        )
        return outcome

    async def _run(self, task: Mapping[str, object]) -> Any:
        if self._closed or self._admitted >= self._capacity:
            raise _busy()
        self._admitted += 1
        try:
            await self._slots.acquire()
        except BaseException:
            self._admitted -= 1
            raise
        outcome = self._give(task)
        try:
            async with asyncio.timeout(HUNG_S):
                # Whoever leaves now leaves the work behind, and the place is its until it is done.
                return await asyncio.shield(outcome)
        except TimeoutError:
            if self._process is not None:
                self._process.kill()
            raise _busy() from None

    def _give(self, task: Mapping[str, object]) -> asyncio.Future[Any]:
        number = next(self._numbers)
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        outcome.add_done_callback(self._leave)
        call = self._calls[number] = _Call(_line(task, number=number), outcome)
        if self._process is None:
            self.start()
        else:
            _send(self._process, call)
        return outcome

    def _leave(self, _: asyncio.Future[Any]) -> None:
        self._admitted -= 1
        self._slots.release()
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._rest)

    def _rest(self) -> None:
        if self._process is not None and self._process.stdin is not None and not self._admitted:
            self._process.stdin.write(_line({"task": "rest"}, number=next(self._numbers)))

    async def _attend(self) -> None:
        """Have a process until it ends, and then another as long as there is work."""
        while True:
            try:
                await self._attend_one()
            except OSError:
                logger.exception("The process that hashes does not start")
                self._refuse(tried=0)
            else:
                self._refuse(tried=TRIES)
            if not self._calls:
                return

    async def _attend_one(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "app.infra.security.hashing_process"),
            str(self._threads),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # No settings, no secrets.
            env={"PYTHONPATH": str(_ROOT)},
            # What a terminal says to the server is not for it, and its cores are shared apart.
            start_new_session=True,
        )
        try:
            self._process = process
            for call in self._calls.values():
                _send(process, call)
            async for line in cast("asyncio.StreamReader", process.stdout):
                self._settle(**json.loads(line))
        finally:
            self._process = None
            status = await _end(process)
        if not self._closed:
            logger.error("The process that hashes has ended", extra={"exit_status": status})

    def _settle(self, *, number: int, outcome: Any = None, error: str | None = None) -> None:
        call = self._calls.pop(number, None)
        if call is None:
            return
        if error is None:
            call.outcome.set_result(outcome)
        else:
            call.outcome.set_exception(RuntimeError(f"Hashing failed: {error}"))

    def _refuse(self, *, tried: int) -> None:
        for number, call in list(self._calls.items()):
            if call.tries >= tried:
                del self._calls[number]
                call.outcome.set_exception(_busy())

    async def aclose(self) -> None:
        """Refuse new work, finish what was admitted and end the process, within seconds."""
        if self._closed:
            return
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                # In the order of arrival: when all places are ours, nobody else is left.
                for _ in range(self._threads):
                    await self._slots.acquire()
        if self._idle is not None:
            self._idle.cancel()
        if self._attendant is not None:
            self._attendant.cancel()
            with suppress(asyncio.CancelledError):
                await self._attendant
        self._refuse(tried=0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def _busy() -> HashingBusy:
    return HashingBusy("Too many passwords wait to be hashed", retry_after=RETRY_AFTER)


def _line(task: Mapping[str, object], *, number: int) -> bytes:
    return json.dumps({"number": number, **task}).encode() + b"\n"


def _send(process: asyncio.subprocess.Process, call: _Call) -> None:
    call.tries += 1
    if process.stdin is not None:
        # Never more than there are threads: nothing to wait for.
        process.stdin.write(call.line)


async def _end(process: asyncio.subprocess.Process) -> int:
    """End a process that has nothing to do, and return its exit status."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(END_S):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()
