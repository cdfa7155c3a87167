"""The time limit of calls: a busy event loop does not count as an unavailable Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import pytest
from typing_extensions import override

from app.infra.redis.guard import RedisGuard, RedisUnavailable

T = TypeVar("T")


class BusyLoop(asyncio.SelectorEventLoop):
    """An event loop that can pretend to be busy."""

    busy_s = 0.0

    @override
    def time(self) -> float:
        return super().time() + self.busy_s


def call(
    function: Callable[[BusyLoop], Awaitable[T]], *, timeout: timedelta = timedelta(seconds=10)
) -> T:
    """Make one guarded call in a loop of its own; it needs no Redis."""
    loop = BusyLoop()

    async def run() -> T:
        guard = RedisGuard(
            "redis://unused.test/0",
            timeout=timeout,
            on_lost=lambda _: None,
            on_recovered=lambda: None,
        )
        return await guard.call(lambda: function(loop))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(run())


class TestTimeout:
    def test_is_extended_while_this_process_is_busy(self) -> None:
        async def respond_while_busy(loop: BusyLoop) -> str:
            loop.busy_s += 3600
            for _ in range(3):
                await asyncio.sleep(0)
            return "response"

        assert call(respond_while_busy) == "response"

    def test_is_extended_only_a_few_times(self) -> None:
        turns = 0

        async def never_respond_while_busy(loop: BusyLoop) -> None:
            nonlocal turns
            while True:
                turns += 1
                loop.busy_s += 3600
                await asyncio.sleep(0)

        with pytest.raises(RedisUnavailable):
            call(never_respond_while_busy)
        assert turns < 50

    def test_ends_a_call_without_a_response(self) -> None:
        async def never_respond(_: BusyLoop) -> None:
            await asyncio.Event().wait()

        with pytest.raises(RedisUnavailable):
            call(never_respond, timeout=timedelta(milliseconds=1))


class TestOptions:
    def test_override_those_of_the_url(self) -> None:
        guard = RedisGuard(
            "redis://unused.test/3?decode_responses=True&socket_timeout=60&max_connections=1",
            timeout=timedelta(seconds=1),
            on_lost=lambda _: None,
            on_recovered=lambda: None,
        )
        options = guard.pool.connection_kwargs
        assert options["db"] == 3
        assert (options["decode_responses"], options["socket_timeout"]) == (False, None)
        assert guard.pool.max_connections > 1
