"""Threads for work that would hold up the event loop, with a bounded queue before them."""

import asyncio
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar

from app.domain.outcome import HashingBusy

T = TypeVar("T")

RETRY_AFTER = timedelta(seconds=1)
QUEUE_PER_THREAD = 16


IDLE_S = 2.0
"""So long after the last password memory is given back."""


_M_ARENA_MAX = -8


def _keep_memory_in_one_place() -> None:
    """Have what threads allocate in one arena: of others glibc gives nothing back (mallopt(3))."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _give_back_memory() -> None:
    """
    Return to the system what hashing took, some 20 MiB a thread (malloc_trim(3)).

    glibc keeps what is freed for the next time, which is right while passwords come and wrong
    after that; other libraries have no such functions.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def usable_cores() -> int:
    """Return how many cores this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hashing_cores(*, processes: int = 1) -> int:
    """
    Return how many cores each of several processes may hash on, at least 1.

    One core is left to everything else: with hashing on all of them, those who do not sign in wait
    for those who do.
    """
    return max(1, (usable_cores() - 1) // processes)


class HashingExecutor:
    """
    Runs functions in threads of its own, as many at a time as there are threads.

    At most `queue` more wait for their turn, in the order in which they came; whoever comes then
    is refused at once, because a queue that only grows serves nobody in time. A caller who is
    cancelled gives up the place in the queue; what has begun to run keeps it until it is done,
    so that memory stays bounded by the number of threads.
    """

    def __init__(self, *, threads: int | None = None, queue: int | None = None) -> None:
        self._threads = hashing_cores() if threads is None else threads
        self._capacity = self._threads + (
            QUEUE_PER_THREAD * self._threads if queue is None else queue
        )
        _keep_memory_in_one_place()
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="hashing")
        self._admitted = 0
        self._closed = False
        self._idle: asyncio.TimerHandle | None = None
        # Places are given up by the threads as well as by the event loop.
        self._lock = Lock()

    @property
    def queue_depth(self) -> int:
        """How many calls wait for a thread."""
        return max(0, self._admitted - self._threads)

    async def run(self, work: Callable[[], T]) -> T:
        """
        Return what the work returns, or raise what it raises.

        :raises HashingBusy: if too many wait already, or the executor was closed
        """
        with self._lock:
            if self._closed or self._admitted >= self._capacity:
                raise HashingBusy("Too many passwords wait to be hashed", retry_after=RETRY_AFTER)
            self._admitted += 1
            # Under the lock: closing must not come between the check and this.
            future = self._executor.submit(work)
        # Called also when a queued call is cancelled, and then at once.
        future.add_done_callback(self._leave)
        try:
            return await asyncio.wrap_future(future)
        finally:
            self._rest_later()

    def _rest_later(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._rest)

    def _rest(self) -> None:
        with self._lock:
            if not self._closed and self._admitted == 0:
                self._executor.submit(_give_back_memory)

    def _leave(self, _: Future[T]) -> None:
        with self._lock:
            self._admitted -= 1

    async def aclose(self) -> None:
        """Refuse new work, finish what was admitted and end the threads."""
        with self._lock:
            self._closed = True
        if self._idle is not None:
            self._idle.cancel()
        # Off the loop: those who wait for their results have to run meanwhile.
        await asyncio.to_thread(self._executor.shutdown)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
