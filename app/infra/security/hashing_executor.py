"""Threads for work that would hold up the event loop, with a bounded queue before them."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar

from app.domain.outcome import HashingBusy

T = TypeVar("T")

RETRY_AFTER = timedelta(seconds=1)
QUEUE_PER_THREAD = 16


def usable_cores() -> int:
    """Return how many cores this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class HashingExecutor:
    """
    Runs functions in threads of its own, as many at a time as there are threads.

    At most `queue` more wait for their turn, in the order in which they came; whoever comes then
    is refused at once, because a queue that only grows serves nobody in time. A caller who is
    cancelled gives up the place in the queue; what has begun to run keeps it until it is done,
    so that memory stays bounded by the number of threads.
    """

    def __init__(self, *, threads: int | None = None, queue: int | None = None) -> None:
        self._threads = usable_cores() if threads is None else threads
        self._capacity = self._threads + (
            QUEUE_PER_THREAD * self._threads if queue is None else queue
        )
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="hashing")
        self._admitted = 0
        self._closed = False
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
        return await asyncio.wrap_future(future)

    def _leave(self, _: Future[T]) -> None:
        with self._lock:
            self._admitted -= 1

    async def aclose(self) -> None:
        """Refuse new work, finish what was admitted and end the threads."""
        with self._lock:
            self._closed = True
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
