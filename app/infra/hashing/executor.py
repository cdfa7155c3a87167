"""Hashing off the event loop and out of its process, with a bounded queue before it."""

import asyncio
import itertools
import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from contextvars import Context
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import app
from app.domain.customer import Password, PasswordHash
from app.domain.outcome import HashingBusy
from app.infra.hashing.argon2 import Argon2Parameters

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(seconds=1)
QUEUE_PER_THREAD = 16
GIVEN_PER_THREAD = 2
"""So many tasks the process is given for each thread: the one it does, and the one it does next
without waiting until we have noticed that the first is done."""

TRIES = 2
"""So often a task is given to a process; if each of them ends over it, it is given up."""

IDLE_S = 2.0
"""So long after the last password memory is given back."""

END_S = 5.0
"""So long the process has to finish and to end when it is told to, before it is killed."""

HUNG_S = 60.0
"""So long a task may take; the process is killed then, for it hangs."""

_ROOT = str(Path(app.__file__).resolve().parent.parent)
_OF_THE_INTERPRETER = ("LD_LIBRARY_PATH", "PYTHONHOME")
"""Variables without which it may not start."""

_ASKING_FOR_HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""What hashing takes is read all over, in no order: with small pages a tenth of the time goes into
finding them. glibc reads this when a process starts (2.35 or later); nobody else minds it."""


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
    cancelled gives up the place in the queue; what the process has been given keeps it until it
    is done.

    The process is started when it is needed first, or by `start`. If it dies, another one takes
    its place and its tasks.
    """

    def __init__(self, *, threads: int | None = None, queue: int | None = None) -> None:
        self._threads = hashing_cores() if threads is None else threads
        self._capacity = self._threads + (
            QUEUE_PER_THREAD * self._threads if queue is None else queue
        )
        self._given = GIVEN_PER_THREAD * self._threads
        self._slots = asyncio.Semaphore(self._given)
        self._admitted = 0
        self._closed = False
        self._ended = False
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
            # A fresh context: it must not carry the id of the request that happened to be first.
            self._attendant = asyncio.get_running_loop().create_task(
                self._attend(), name="hashing", context=Context()
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
        # Whoever leaves now leaves the work behind, and the place is its until it is done.
        return await asyncio.shield(self._give(task))

    def _give(self, task: Mapping[str, object]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        outcome: asyncio.Future[Any] = loop.create_future()
        patience = loop.call_later(HUNG_S, self._give_up, number)
        outcome.add_done_callback(lambda _: self._leave(patience))
        call = self._calls[number] = _Call(_line(task, number=number), outcome)
        if self._process is not None:
            _send(self._process, call)
        elif self._ended:
            self._refuse(tried=0)
        else:
            self.start()
        return outcome

    def _give_up(self, number: int) -> None:
        """Kill the process for a task that hangs; what else it was doing is done by another."""
        call = self._calls.pop(number, None)
        if call is None:
            return
        call.outcome.set_exception(_busy())
        if self._process is not None:
            _kill(self._process)

    def _leave(self, patience: asyncio.TimerHandle) -> None:
        patience.cancel()
        self._admitted -= 1
        self._slots.release()
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._rest)

    def _rest(self) -> None:
        if self._process is not None and not self._admitted:
            _write(self._process, _line({"task": "rest"}, number=next(self._numbers)))

    async def _attend(self) -> None:
        """Have a process until it ends, and then another as long as there is work."""
        try:
            while True:
                await self._attend_one()
                self._refuse(tried=TRIES)
                if not self._calls:
                    return
        except OSError:
            logger.exception("hashing_process_not_started")
        finally:
            # However it ends, nobody is left waiting.
            self._refuse(tried=0)

    async def _attend_one(self) -> None:
        starting = asyncio.ensure_future(_started(self._threads))
        try:
            # Not given up half-way: what has been started has to be ended.
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _end(await starting)
            raise
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
            logger.warning("hashing_process_lost", extra={"exit_status": status})

    def _settle(self, *, number: int, outcome: Any = None, error: str | None = None) -> None:
        call = self._calls.pop(number, None)
        if call is None:
            return
        match error:
            case None:
                call.outcome.set_result(outcome)
            case "MemoryError":
                logger.warning("hashing_out_of_memory")
                call.outcome.set_exception(_busy())
            case _:
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
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    # In the order of arrival: when all places are ours, nobody else is left.
                    for _ in range(self._given):
                        await self._slots.acquire()
        finally:
            self._ended = True
            if self._idle is not None:
                self._idle.cancel()
            if self._attendant is not None:
                self._attendant.cancel()
                await asyncio.wait([self._attendant])
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


def _environment() -> dict[str, str]:
    """Return what is needed to find what is found here: no settings, no secrets."""
    kept = {name: os.environ[name] for name in _OF_THE_INTERPRETER if name in os.environ}
    path = dict.fromkeys((_ROOT, *filter(None, sys.path)))
    return {**kept, **_ASKING_FOR_HUGE_PAGES, "PYTHONPATH": os.pathsep.join(path)}


async def _started(threads: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-B", "-P", "-m", "app.infra.hashing.process"),
        str(threads),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=_environment(),
        # What a terminal says to the server is not for it, and its cores are shared apart.
        start_new_session=True,
    )


def _send(process: asyncio.subprocess.Process, call: _Call) -> None:
    call.tries += 1
    _write(process, call.line)


def _write(process: asyncio.subprocess.Process, line: bytes) -> None:
    # Never more than a few lines for each thread: nothing to wait for. What the process does not
    # get any more, because it has ended, is given to the next one.
    if process.stdin is not None and not process.stdin.is_closing():
        process.stdin.write(line)


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()


async def _end(process: asyncio.subprocess.Process) -> int:
    """End a process that has nothing to do, and return its exit status."""
    if process.stdin is not None:
        process.stdin.close()
    ending = asyncio.ensure_future(process.wait())
    # Not by `timeout`: in a task that is being canceled the first versions of Python 3.11 take its
    # end for that.
    await asyncio.wait([ending], timeout=END_S)
    if not ending.done():
        _kill(process)
    return await ending
