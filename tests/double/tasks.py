"""Background tasks that the test runs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

from typing_extensions import override

from app.application.ports import BackgroundTasks

T = TypeVar("T")


class DeferredTasks(BackgroundTasks):
    """
    Keeps started work until the test runs it.

    Work that a caller joins starts at once. With `full`, no work is accepted.
    """

    def __init__(self) -> None:
        self.full = False
        self._kept: dict[str, Callable[[], Awaitable[object]]] = {}
        self._running: dict[str, asyncio.Task[object]] = {}

    @property
    def kept(self) -> Sequence[str]:
        """The keys of the work that has not run yet, in the order in which it was started."""
        return list(self._kept)

    @override
    def start(self, key: str, work: Callable[[], Awaitable[object]]) -> bool:
        if self.full or key in self._kept or key in self._running:
            return False
        self._kept[key] = work
        return True

    @override
    async def join(self, key: str, work: Callable[[], Awaitable[T]]) -> T | None:
        task = self._running.get(key)
        if task is None:
            if self.full and key not in self._kept:
                return None
            task = self._begin(key, self._kept.pop(key, work))
        await asyncio.wait([task])
        return None if task.cancelled() else cast("T", task.result())

    async def run(self) -> None:
        """Run the kept work, including the work that it starts, and raise its exceptions."""
        while self._kept or self._running:
            for key, work in list(self._kept.items()):
                del self._kept[key]
                _ = self._begin(key, work)
            await asyncio.gather(*self._running.values())

    def _begin(self, key: str, work: Callable[[], Awaitable[object]]) -> "asyncio.Task[object]":
        task = asyncio.ensure_future(_run(work))
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key))
        return task


async def _run(work: Callable[[], Awaitable[object]]) -> object:
    return await work()
