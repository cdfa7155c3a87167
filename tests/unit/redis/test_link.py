"""What counts as a Redis that does not answer: its silence, not our being busy."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import pytest
from typing_extensions import override

from app.infra.redis.link import RedisAway, RedisLink

T = TypeVar("T")


class BusyLoop(asyncio.SelectorEventLoop):
    """An event loop that can be busy without taking time."""

    busy_s = 0.0

    @override
    def time(self) -> float:
        return super().time() + self.busy_s


def ask(
    question: Callable[[BusyLoop], Awaitable[T]], *, patience: timedelta = timedelta(seconds=10)
) -> T:
    """Ask once, in a loop of its own; no Redis is needed for that."""
    loop = BusyLoop()

    async def run() -> T:
        link = RedisLink(
            "redis://unused.test/0", patience=patience, lost=lambda _: None, back=lambda: None
        )
        return await link.ask(lambda: question(loop))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(run())


class TestPatience:
    def test_is_not_lost_over_our_own_work(self) -> None:
        async def answered_while_we_were_busy(loop: BusyLoop) -> str:
            loop.busy_s += 3600
            for _ in range(3):
                await asyncio.sleep(0)
            return "answer"

        assert ask(answered_while_we_were_busy) == "answer"

    def test_ends_though_we_are_always_busy(self) -> None:
        turns = 0

        async def never_answered_while_we_are_busy(loop: BusyLoop) -> None:
            nonlocal turns
            while True:
                turns += 1
                loop.busy_s += 3600
                await asyncio.sleep(0)

        with pytest.raises(RedisAway):
            ask(never_answered_while_we_are_busy)
        assert turns < 50

    def test_ends_when_nothing_comes(self) -> None:
        async def never_answered(_: BusyLoop) -> None:
            await asyncio.Event().wait()

        with pytest.raises(RedisAway):
            ask(never_answered, patience=timedelta(milliseconds=1))


class TestOptions:
    def test_are_ours_whatever_the_url_says(self) -> None:
        link = RedisLink(
            "redis://unused.test/3?decode_responses=True&socket_timeout=60&max_connections=1",
            patience=timedelta(seconds=1),
            lost=lambda _: None,
            back=lambda: None,
        )
        options = link.pool.connection_kwargs
        assert options["db"] == 3
        assert (options["decode_responses"], options["socket_timeout"]) == (False, None)
        assert link.pool.max_connections > 1
