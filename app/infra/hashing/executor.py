"""Asynchronous hashing in another process, with a bounded queue."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from app.domain.customer import Password, PasswordHash
from app.infra.hashing.argon2 import Argon2Parameters
from app.infra.hashing.cores import hashing_cores
from app.infra.hashing.supervisor import HashingSupervisor, hashing_busy

QUEUE_PER_THREAD = 16
TASKS_PER_THREAD = 2
"""One task that a thread works on, and one that it can start without waiting for this process."""

DRAIN_TIMEOUT_S = 5.0
"""How long closing waits for the admitted tasks."""


class HashingExecutor:
    """
    Hash up to `threads` passwords at once in a process of low priority.

    At most `queue` more wait, first come, first served. Beyond that, calls are refused at once:
    with an unbounded queue every caller would wait too long. A canceled caller leaves the queue; a
    task that was already sent to the process keeps its place until it is done.

    The process starts with the first task, or with `start`.
    """

    def __init__(self, *, threads: int | None = None, queue: int | None = None) -> None:
        self._threads = hashing_cores() if threads is None else threads
        self._capacity = self._threads + (
            QUEUE_PER_THREAD * self._threads if queue is None else queue
        )
        self._max_sent = TASKS_PER_THREAD * self._threads
        self._slots = asyncio.Semaphore(self._max_sent)
        self._admitted = 0
        self._closed = False
        self._supervisor = HashingSupervisor(threads=self._threads)

    @property
    def queue_depth(self) -> int:
        """The number of calls that wait for a thread."""
        return max(0, self._admitted - self._threads)

    def start(self) -> None:
        """Start the process, so that the first password need not wait for it."""
        self._supervisor.start()

    async def hash(self, parameters: Argon2Parameters, password: Password) -> PasswordHash:
        """
        Hash a password with a new salt.

        :raises HashingBusy: if the queue is full, or no process is available
        """
        hashed: str = await self._run(
            {"task": "hash", "parameters": asdict(parameters), "password": password.value}
        )
        return PasswordHash(hashed)

    async def matches(
        self, parameters: Argon2Parameters, password: Password, hashed: PasswordHash | None
    ) -> bool | None:
        """
        Compare a password with a hash, like `Argon2Parameters.matches`.

        :raises HashingBusy: if the queue is full, or no process is available
        """
        matches: bool | None = await self._run(
            {
                "task": "compare",
                "parameters": asdict(parameters),
                "password": password.value,
                "hashed": hashed,
            }
        )
        return matches

    async def _run(self, task: Mapping[str, object]) -> Any:
        if self._closed or self._admitted >= self._capacity:
            raise hashing_busy()
        self._admitted += 1
        try:
            await self._slots.acquire()
        except BaseException:
            self._admitted -= 1
            raise
        result = self._supervisor.submit(task)
        result.add_done_callback(self._release)
        # Shielded: the process cannot cancel a task, so its slot stays in use until it is done.
        return await asyncio.shield(result)

    def _release(self, _result: asyncio.Future[Any]) -> None:
        self._admitted -= 1
        self._slots.release()

    async def aclose(self) -> None:
        """Refuse new calls, finish the admitted ones within seconds, and stop the process."""
        if self._closed:
            return
        self._closed = True
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_TIMEOUT_S):
                    # The semaphore is fair: with all its slots acquired, no task is left.
                    for _ in range(self._max_sent):
                        await self._slots.acquire()
        finally:
            await self._supervisor.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
