import asyncio
import gc
from collections.abc import Iterator, MutableMapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

import pytest
import structlog

from app.infra.task_manager import TaskManager
from tests.recorder import SpanRecorder, parent_id

LONG = timedelta(seconds=10)
NO_TIME = timedelta(0)

Logs: TypeAlias = Sequence[MutableMapping[str, Any]]


@pytest.fixture
def logs() -> Iterator[Logs]:
    with structlog.testing.capture_logs() as entries:
        yield entries


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Gate:
    """Work that blocks until `open` is set, and records how it ended."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.ended = ""

    async def __call__(self) -> str:
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.ended = "canceled"
            raise
        self.ended = "done"
        return self.ended


class TestTaskManager:
    async def test_keeps_a_reference_to_its_tasks(self) -> None:
        gate = Gate()
        async with TaskManager(limit=1, grace=LONG) as tasks:
            tasks.start("a", gate)
            await _turns()
            gc.collect()
            gate.open.set()
        assert gate.ended == "done"

    async def test_refuses_work_beyond_its_limit_and_logs_it_once(self, logs: Logs) -> None:
        gate = Gate()
        async with TaskManager(limit=2, grace=LONG) as tasks:
            assert tasks.start("a", gate)
            assert tasks.start("b", gate)
            assert not tasks.start("c", gate)
            assert await tasks.join("d", gate) is None
            assert logs == [
                {
                    "event": "background_task_refused",
                    "task": "c",
                    "reason": "limit",
                    "log_level": "warning",
                }
            ]
            gate.open.set()
            await _turns()
            assert tasks.start("c", gate)

    async def test_lets_callers_join_a_running_task_at_the_limit(self) -> None:
        gate = Gate()
        async with TaskManager(limit=1, grace=LONG) as tasks:
            tasks.start("a", gate)
            wait = asyncio.ensure_future(tasks.join("a", gate))
            await _turns()
            gate.open.set()
            assert await wait == "done"

    async def test_logs_a_failure_and_continues(self, logs: Logs) -> None:
        async def fail() -> None:
            raise LookupError("gone")

        async with TaskManager(limit=1, grace=LONG) as tasks:
            tasks.start("a", fail)
            await _turns()
            assert tasks.start("a", fail)
        assert [entry["event"] for entry in logs] == 2 * ["background_task_failed"]
        assert isinstance(logs[0]["exc_info"], LookupError)

    async def test_logs_a_failure_after_all_callers_were_canceled(self, logs: Logs) -> None:
        gate = Gate()

        async def fail() -> None:
            await gate()
            raise LookupError("gone")

        async with TaskManager(limit=1, grace=LONG) as tasks:
            wait = asyncio.ensure_future(tasks.join("a", fail))
            await _turns()
            wait.cancel()
            gate.open.set()
        assert [entry["event"] for entry in logs] == ["background_task_failed"]


class TestLeavingATaskManager:
    async def test_waits_for_tasks_within_the_grace_period(self) -> None:
        gate = Gate()
        async with TaskManager(limit=1, grace=LONG) as tasks:
            tasks.start("a", gate)
            asyncio.get_running_loop().call_soon(gate.open.set)
        assert gate.ended == "done"

    async def test_cancels_tasks_after_the_grace_period(self, logs: Logs) -> None:
        gate = Gate()
        async with TaskManager(limit=1, grace=NO_TIME) as tasks:
            tasks.start("a", gate)
            wait = asyncio.ensure_future(tasks.join("a", gate))
            await _turns()
        assert gate.ended == "canceled"
        assert [entry["event"] for entry in logs] == ["background_task_canceled"]
        assert await wait is None, "the caller is not canceled with the task"

    async def test_refuses_new_tasks_meanwhile(self) -> None:
        refused: list[object] = []

        async with TaskManager(limit=10, grace=LONG) as tasks:

            async def start_more() -> None:
                refused.append(tasks.start("b", Gate()))
                refused.append(await tasks.join("c", Gate()))

            tasks.start("a", start_more)
        assert refused == [False, None]
        assert not tasks.start("d", Gate())

    async def test_cancels_all_tasks_when_it_is_canceled_itself(self) -> None:
        gate = Gate()
        entered = asyncio.Event()

        async def own() -> None:
            async with TaskManager(limit=1, grace=LONG) as tasks:
                tasks.start("a", gate)
                entered.set()

        owner = asyncio.ensure_future(own())
        await entered.wait()
        await _turns()
        owner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await owner
        assert gate.ended == "canceled"

    async def test_does_not_wait_without_tasks(self) -> None:
        async with TaskManager(limit=1, grace=LONG):
            pass


class TestTraces:
    async def test_of_a_started_task_are_linked_to_the_request(self) -> None:
        recorder = SpanRecorder()

        async def work() -> None:
            with recorder.tracer.start_as_current_span("part"):
                pass

        async with TaskManager(limit=1, grace=LONG, tracer=recorder.tracer) as tasks:
            with recorder.tracer.start_as_current_span("request"):
                assert tasks.start("product:5", work)
        background, request = recorder.only("background"), recorder.only("request")
        assert parent_id(recorder.only("part")) == background.context.span_id
        assert parent_id(background) is None
        assert [link.context.span_id for link in background.links] == [request.context.span_id]
        assert dict(background.attributes or {}) == {"task": "product:5"}

    async def test_of_a_joined_task_continue_the_request(self) -> None:
        recorder = SpanRecorder()

        async def work() -> bool:
            with recorder.tracer.start_as_current_span("part"):
                return True

        async with TaskManager(limit=1, grace=LONG, tracer=recorder.tracer) as tasks:
            with recorder.tracer.start_as_current_span("request"):
                assert await tasks.join("product:5", work)
        assert parent_id(recorder.only("part")) == recorder.only("request").context.span_id
