"""A bulkhead: limits how many calls a slow catalog can block, and how many can wait."""

import asyncio
from types import TracebackType

from app.infra.fakestore.failure import BulkheadFull


class Bulkhead:
    """
    Limit concurrent calls, first come, first served.

    Entering raises `BulkheadFull` at once if the queue is full, or after waiting for
    `queue_timeout_s`.
    """

    def __init__(self, *, slots: int, max_queued: int, queue_timeout_s: float) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._max_queued = max_queued
        self._queue_timeout_s = queue_timeout_s
        self._queued = 0

    async def __aenter__(self) -> None:
        if self._slots.locked() and self._queued >= self._max_queued:
            raise BulkheadFull("the queue is full")
        self._queued += 1
        try:
            async with asyncio.timeout(self._queue_timeout_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise BulkheadFull("no slot became free in time") from error
        finally:
            self._queued -= 1

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._slots.release()
