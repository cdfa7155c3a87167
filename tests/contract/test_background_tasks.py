import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import TypeAlias

import pytest

from app.application.ports import BackgroundTasks
from app.infra.task_manager import TaskManager
from tests.double.tasks import DeferredTasks

request_id: ContextVar[str] = ContextVar("request_id", default="none")

Settle: TypeAlias = Callable[[], Awaitable[None]]
"""Waits until the started work has ended."""


@pytest.fixture(params=["deferred", "manager"])
async def tasks(request: pytest.FixtureRequest) -> AsyncIterator[BackgroundTasks]:
    if request.param == "deferred":
        yield DeferredTasks()
        return
    async with TaskManager(limit=100, grace=timedelta(seconds=10)) as manager:
        yield manager


@pytest.fixture
def settle(tasks: BackgroundTasks) -> Settle:
    async def turns() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    return tasks.run if isinstance(tasks, DeferredTasks) else turns


class Work:
    """Work that blocks until `may_end` is set, and counts its runs."""

    def __init__(self, *, result: str = "done", error: Exception | None = None) -> None:
        self.begun = 0
        self.ended = 0
        self.seen_id = ""
        self.may_end = asyncio.Event()
        self._result = result
        self._error = error

    async def __call__(self) -> str:
        self.begun += 1
        self.seen_id = request_id.get()
        await self.may_end.wait()
        self.ended += 1
        if self._error is not None:
            raise self._error
        return self._result

    def free(self) -> "Work":
        """Let it end without blocking."""
        self.may_end.set()
        return self


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class TestStart:
    async def test_runs_once(self, tasks: BackgroundTasks, settle: Settle) -> None:
        work, second = Work().free(), Work().free()

        assert tasks.start("a", work)
        assert not tasks.start("a", second)
        await settle()

        assert (work.ended, second.begun) == (1, 0)

    async def test_does_not_run_before_start_returns(self, tasks: BackgroundTasks) -> None:
        work = Work().free()
        tasks.start("a", work)
        assert work.begun == 0

    async def test_can_be_started_again_after_its_end(
        self, tasks: BackgroundTasks, settle: Settle
    ) -> None:
        work = Work().free()
        for _ in range(2):
            assert tasks.start("a", work)
            await settle()
        assert work.ended == 2

    async def test_does_not_block_other_keys(self, tasks: BackgroundTasks, settle: Settle) -> None:
        work = Work().free()
        assert tasks.start("a", work)
        assert tasks.start("b", work)
        await settle()
        assert work.ended == 2

    async def test_shares_its_result_with_callers_that_join(
        self, tasks: BackgroundTasks, settle: Settle
    ) -> None:
        work, second = Work(result="first").free(), Work(result="second").free()
        tasks.start("a", work)

        assert await tasks.join("a", second) == "first"
        await settle()

        assert (work.begun, second.begun) == (1, 0)

    async def test_does_not_inherit_the_context_of_the_request(
        self, tasks: BackgroundTasks, settle: Settle
    ) -> None:
        work = Work().free()
        token = request_id.set("r-1")
        tasks.start("a", work)
        request_id.reset(token)
        await settle()
        assert work.seen_id == "none"


class TestJoin:
    async def test_returns_the_result_to_all_callers(self, tasks: BackgroundTasks) -> None:
        work = Work()
        waits = [asyncio.ensure_future(tasks.join("a", work)) for _ in range(10)]
        await _turns()
        work.free()

        assert await asyncio.gather(*waits) == ["done"] * 10
        assert work.begun == 1

    async def test_prevents_starting_the_same_key(self, tasks: BackgroundTasks) -> None:
        work = Work()
        wait = asyncio.ensure_future(tasks.join("a", work))
        await _turns()

        assert not tasks.start("a", work)

        work.free()
        assert await wait == "done"

    async def test_continues_when_a_caller_is_canceled(self, tasks: BackgroundTasks) -> None:
        work = Work()
        first = asyncio.ensure_future(tasks.join("a", work))
        second = asyncio.ensure_future(tasks.join("a", work))
        await _turns()

        first.cancel()
        await _turns()
        assert first.cancelled()
        work.free()

        assert await second == "done"
        assert work.begun == 1

    async def test_continues_when_all_callers_are_canceled(self, tasks: BackgroundTasks) -> None:
        work = Work()
        wait = asyncio.ensure_future(tasks.join("a", work))
        await _turns()

        wait.cancel()
        await _turns()
        work.free()
        await _turns()

        assert work.ended == 1

    async def test_runs_again_after_its_end(self, tasks: BackgroundTasks) -> None:
        work = Work().free()
        for _ in range(2):
            assert await tasks.join("a", work) == "done"
            await _turns()
        assert work.ended == 2

    async def test_inherits_the_context_of_the_request(self, tasks: BackgroundTasks) -> None:
        work = Work().free()
        token = request_id.set("r-1")
        assert await tasks.join("a", work) == "done"
        request_id.reset(token)
        assert work.seen_id == "r-1"

    async def test_raises_its_exception_to_all_callers(self, tasks: BackgroundTasks) -> None:
        work = Work(error=LookupError("gone"))
        waits = [asyncio.ensure_future(tasks.join("a", work)) for _ in range(3)]
        await _turns()
        work.free()

        failures = await asyncio.gather(*waits, return_exceptions=True)

        assert {type(failure) for failure in failures} == {LookupError}
