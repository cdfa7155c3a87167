"""Background tasks of one process."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, cast

import structlog
from opentelemetry.trace import Link, Tracer
from typing_extensions import override

from app.application.ports import BackgroundTasks
from app.infra.observability.tracing.spans import NO_TRACER, links_to, start_span

T = TypeVar("T")

CANCEL_TIMEOUT = timedelta(seconds=2)
"""How long to wait for canceled tasks; one that does not end must not keep the process alive."""

logger = structlog.get_logger(__name__)


class TaskManager(BackgroundTasks):
    """
    Runs at most `limit` tasks at once; on leaving waits `grace` for them and cancels the rest.

    Enter it before the first task starts, and leave it before the clients that tasks use. A task
    that no caller waits for is recorded as a trace of its own.
    """

    def __init__(self, *, limit: int, grace: timedelta, tracer: Tracer = NO_TRACER) -> None:
        self._limit = limit
        self._grace = grace
        self._tracer = tracer
        self._closing = False
        self._refusing = False
        # The event loop holds only weak references to tasks.
        self._running: dict[str, asyncio.Task[object]] = {}

    @override
    def start(self, key: str, work: Callable[[], Awaitable[object]]) -> bool:
        if key in self._running:
            return False
        # An empty context: the task outlives the request and must not log the request's id.
        traced = partial(self._run_traced, key, work, links_to())
        return self._create_task(key, traced, Context()) is not None

    @override
    async def join(self, key: str, work: Callable[[], Awaitable[T]]) -> T | None:
        # The caller waits, so the task keeps the context of the request that started it.
        task = self._running.get(key) or self._create_task(key, work, copy_context())
        if task is None:
            return None
        # Unlike `await task`, this does not cancel the task when the caller is canceled.
        await asyncio.wait([task])
        return None if task.cancelled() else cast("T", task.result())

    async def _run_traced(
        self, key: str, work: Callable[[], Awaitable[object]], links: Sequence[Link]
    ) -> object:
        with start_span(self._tracer, "background", attributes={"task": key}, links=links):
            return await work()

    def _create_task(
        self, key: str, work: Callable[[], Awaitable[object]], context: Context
    ) -> asyncio.Task[object] | None:
        if self._closing or len(self._running) >= self._limit:
            self._log_refusal(key)
            return None
        self._refusing = False
        task = asyncio.get_running_loop().create_task(_run(work), name=key, context=context)
        self._running[key] = task
        task.add_done_callback(partial(self._ended, key))
        return task

    def _log_refusal(self, key: str) -> None:
        # Log the first refusal of a period only: the limit is reached under load.
        if not self._refusing:
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
            await self._wait_for_tasks(limit=self._grace)
        finally:
            for task in self._running.values():
                task.cancel()
            await self._wait_for_tasks(limit=CANCEL_TIMEOUT)

    async def _wait_for_tasks(self, *, limit: timedelta) -> None:
        if self._running:
            await asyncio.wait(self._running.values(), timeout=limit.total_seconds())


async def _run(work: Callable[[], Awaitable[object]]) -> object:
    return await work()
