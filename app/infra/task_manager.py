"""Background work with an owner."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, cast

import structlog
from typing_extensions import override

from app.application.ports import BackgroundTasks
from app.application.tracer import NULL_TRACER, Tracer

T = TypeVar("T")

TO_CLEAN_UP = timedelta(seconds=2)
"""What canceled work is given; work that refuses to end must not keep the process."""

logger = structlog.get_logger(__name__)


class TaskManager(BackgroundTasks):
    """
    Runs at most `limit` works at once, and on leaving gives them a `grace` before it cancels them.

    Enter it before work is given to it, and leave it before the clients that the work uses.
    `tracer` is told of work that nobody waits for, as a trace of its own.
    """

    def __init__(self, *, limit: int, grace: timedelta, tracer: Tracer = NULL_TRACER) -> None:
        self._limit = limit
        self._grace = grace
        self._tracer = tracer
        self._closing = False
        self._refusing = False
        # Strong references: the event loop's own are weak.
        self._running: dict[str, asyncio.Task[object]] = {}

    @override
    def start(self, key: str, work: Callable[[], Awaitable[object]]) -> bool:
        if key in self._running:
            return False
        # A fresh context: what goes on after the answer must not carry the request's id.
        traced = partial(self._traced, key, work, self._tracer.carried())
        return self._begin(key, traced, Context()) is not None

    @override
    async def join(self, key: str, work: Callable[[], Awaitable[T]]) -> T | None:
        # The caller waits for it, so the work carries the id of the request that began it.
        task = self._running.get(key) or self._begin(key, work, copy_context())
        if task is None:
            return None
        # Unlike `await task`, this does not cancel the task when the caller is canceled.
        await asyncio.wait([task])
        return None if task.cancelled() else cast("T", task.result())

    async def _traced(
        self, key: str, work: Callable[[], Awaitable[object]], because_of: str | None
    ) -> object:
        with self._tracer.span("background", attributes={"task": key}, because_of=because_of):
            return await work()

    def _begin(
        self, key: str, work: Callable[[], Awaitable[object]], context: Context
    ) -> asyncio.Task[object] | None:
        if self._closing or len(self._running) >= self._limit:
            self._refused(key)
            return None
        self._refusing = False
        task = asyncio.get_running_loop().create_task(_run(work), name=key, context=context)
        self._running[key] = task
        task.add_done_callback(partial(self._ended, key))
        return task

    def _refused(self, key: str) -> None:
        if not self._refusing:  # once until there is room again: a full house is not a full log
            self._refusing = True
            reason = "closing" if self._closing else "limit"
            logger.warning("background_task_refused", task=key, reason=reason)

    def _ended(self, key: str, task: asyncio.Task[object]) -> None:
        del self._running[key]
        if task.cancelled():
            logger.warning("background_task_canceled", task=key)
        elif (error := task.exception()) is not None:
            logger.error("background_task_failed", task=key, exc_info=error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing = True
        try:
            await self._drain(within=self._grace)
        finally:
            for task in self._running.values():
                task.cancel()
            await self._drain(within=TO_CLEAN_UP)

    async def _drain(self, *, within: timedelta) -> None:
        if self._running:
            await asyncio.wait(self._running.values(), timeout=within.total_seconds())


async def _run(work: Callable[[], Awaitable[object]]) -> object:
    return await work()
