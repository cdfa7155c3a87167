"""The way to Redis, for whoever can do without it for a while."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

T = TypeVar("T")

PAUSE = timedelta(seconds=1)
CONNECTIONS = 64

EXTENSIONS = 4
LATE = 0.2
"""Which part of our patience we may be late ourselves."""


class RedisAway(Exception):
    """Redis does not answer, or has not done so just now; `spared` if it was not asked."""

    def __init__(self, *, spared: bool) -> None:
        super().__init__("Redis is away")
        self.spared = spared


class RedisLink:
    """
    Connections to Redis, and what is known of whether it answers.

    Nobody waits longer than `patience`. Once Redis has failed it is spared, and the requests with
    it: one in `pause` asks again. The first failure, with its reason, is told to `lost`, and the
    first answer after it to `back`.
    """

    def __init__(
        self,
        url: str,
        *,
        patience: timedelta,
        lost: Callable[[str], None],
        back: Callable[[], None],
        pause: timedelta = PAUSE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare connections; nothing connects yet."""
        # Whatever the URL may say about these: we decide.
        ours: dict[str, Any] = {
            "max_connections": CONNECTIONS,
            "decode_responses": False,
            # A connection costs no more round trips than it has to.
            "protocol": 2,
            "driver_info": None,
            # All waiting ends with our patience, and needs no clocks of its own.
            "timeout": None,
            "socket_connect_timeout": None,
            "socket_timeout": None,
            "retry": Retry(NoBackoff(), 0),
            # With them, a connection that holds an answer to somebody else would not be noticed.
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        self.pool = BlockingConnectionPool(**{**parse_url(url), **ours})
        self._patience_s = patience.total_seconds()
        self._pause_s = pause.total_seconds()
        self._lost = lost
        self._back = back
        self._monotonic = monotonic
        self._away_until: float | None = None

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """
        Ask Redis something.

        :raises RedisAway: if it does not answer in time, or is spared
        """
        if self._away_until is not None:
            if self._monotonic() < self._away_until:
                raise RedisAway(spared=True)
            # This request finds out for all.
            self._away_until = self._later()
        try:
            async with _patience(self._patience_s):
                answer = await question()
        except (RedisError, OSError, TimeoutError) as error:
            if self._away_until is None:
                self._lost(type(error).__name__)
            self._away_until = self._later()
            raise RedisAway(spared=False) from error
        if self._away_until is not None:
            self._back()
            self._away_until = None
        return answer

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self.pool.aclose()

    def _later(self) -> float:
        return self._monotonic() + self._pause_s


@asynccontextmanager
async def _patience(seconds: float) -> AsyncGenerator[None]:
    """
    Let what is inside take so many seconds; like `asyncio.timeout`, but fair.

    If this process itself was so busy that it comes late to the end of that time, the answer may
    have been there for long and only not been read. Then it gets the time again, and so on for
    `EXTENSIONS` at the most: a crowd of requests must not look like a Redis that is away.

    :raises TimeoutError: if the time is over
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def begin(extensions: int) -> asyncio.TimerHandle:
        return loop.call_later(seconds, end, loop.time() + seconds, extensions)

    def end(due: float, extensions: int) -> None:
        nonlocal timer
        if extensions > 0 and loop.time() - due > seconds * LATE:
            timer = begin(extensions - 1)
        else:
            limit.reschedule(due)

    async with asyncio.timeout(None) as limit:
        timer = begin(EXTENSIONS)
        try:
            yield
        finally:
            timer.cancel()
