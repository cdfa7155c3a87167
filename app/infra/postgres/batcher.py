"""Queries of one kind that arrive at the same time share a statement."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from contextvars import copy_context
from datetime import timedelta
from typing import Generic, TypeVar

from app.domain.outcome import StorageUnavailable
from app.infra.postgres.failure import RETRY_AFTER, storage_failures

K = TypeVar("K")
V = TypeVar("V")


class _Query(Generic[V]):
    """The callers that wait for one key, and when the first of them gives up."""

    __slots__ = ("callers", "deadline")

    def __init__(self, deadline: float, caller: "asyncio.Future[V]") -> None:
        self.deadline = deadline
        self.callers = [caller]


class Batcher(Generic[K, V]):
    """
    Collects queries while earlier ones are in progress, and runs them together.

    A query never waits to fill a batch: under low load every query runs alone, and the higher the
    load, the more queries share a statement (like group commit in PostgreSQL). A query is sent
    after it was submitted, so its result is as current as that of a statement of its own.

    `run` returns one result for each key, in the order of the keys. A result that is an exception
    is raised to the callers of its key; an exception that `run` raises, to all callers of the
    batch. At most `concurrency` batches are in progress, each with at most `max_size` keys.
    A query that has waited for `patience` fails with `StorageUnavailable`, and so do all queries
    of its batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[K]], Awaitable[Sequence[V | Exception]]],
        *,
        patience: timedelta,
        concurrency: int = 2,
        max_size: int = 100,
    ) -> None:
        self._run = run
        self._patience_s = patience.total_seconds()
        self._concurrency = concurrency
        self._max_size = max_size
        # In the order of arrival.
        self._waiting: dict[K, _Query[V]] = {}
        self._context = copy_context()
        self._expiry: asyncio.TimerHandle | None = None
        self._starting = False
        # Strong references: those of the event loop are weak.
        self._workers: set[asyncio.Task[None]] = set()

    def submit(self, key: K) -> "asyncio.Future[V]":
        """Submit a query; equal keys share one. Cancelling the future affects no other caller."""
        loop = asyncio.get_running_loop()
        caller: asyncio.Future[V] = loop.create_future()
        if not self._waiting:
            self._context = copy_context()
        query = self._waiting.get(key)
        if query is None:
            self._waiting[key] = _Query(loop.time() + self._patience_s, caller)
        else:
            query.callers.append(caller)
        if not self._starting:
            self._proceed(loop)
        return caller

    def _proceed(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start a batch for the waiting queries, or see that they expire in time."""
        if self._waiting and not self._start(loop) and self._expiry is None:
            self._expiry = loop.call_at(self._oldest.deadline, self._expire, loop)

    @property
    def _oldest(self) -> _Query[V]:
        return next(iter(self._waiting.values()))

    def _start(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Start a batch if there is room for one; return whether one is starting."""
        if self._starting:
            return True
        if len(self._workers) >= self._concurrency:
            return False
        self._starting = True
        # The task takes its keys when it runs: after all that is readable now has been read. It
        # runs in the context of the query that has waited longest, to whose trace it belongs.
        worker = loop.create_task(self._work(), name="batch", context=self._context)
        self._workers.add(worker)
        worker.add_done_callback(self._worker_done)
        return True

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._expiry = None
        while self._waiting and self._oldest.deadline <= loop.time():
            for caller in _pending([self._waiting.pop(next(iter(self._waiting)))]):
                caller.set_exception(
                    StorageUnavailable("The database takes too long", retry_after=RETRY_AFTER)
                )
        self._proceed(loop)

    def _worker_done(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if not worker.cancelled():
            self._proceed(worker.get_loop())

    async def _work(self) -> None:
        self._starting = False
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        batch = self._take()
        self._proceed(asyncio.get_running_loop())
        if batch:
            await self._complete(batch)

    def _take(self) -> dict[K, _Query[V]]:
        if len(self._waiting) <= self._max_size:
            taken, self._waiting = self._waiting, {}
            return taken
        return {key: self._waiting.pop(key) for key in list(self._waiting)[: self._max_size]}

    async def _complete(self, batch: dict[K, _Query[V]]) -> None:
        queries = batch.values()
        deadline = next(iter(queries)).deadline
        try:
            with storage_failures():
                async with asyncio.timeout_at(deadline):
                    results = await self._run(list(batch))
            answered = list(zip(queries, results, strict=True))
        except BaseException as error:
            for caller in _pending(queries):
                if isinstance(error, Exception):
                    caller.set_exception(error)
                else:
                    caller.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for query, result in answered:
                for caller in query.callers:
                    if caller.done():
                        continue
                    if isinstance(result, Exception):
                        caller.set_exception(result)
                    else:
                        caller.set_result(result)

    async def aclose(self) -> None:
        """Cancel what is in progress."""
        for worker in list(self._workers):
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker


def _pending(queries: Iterable[_Query[V]]) -> Iterator["asyncio.Future[V]"]:
    """Yield the callers that have not been answered or cancelled."""
    return (caller for query in queries for caller in query.callers if not caller.done())
