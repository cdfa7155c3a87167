"""Guarded calls to Redis, for features that also work without it."""

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

RETRY_INTERVAL = timedelta(seconds=1)
CONNECTIONS = 64

MAX_EXTENSIONS = 4
MAX_LAG = 0.2
"""The share of a time-out by which the event loop may lag before the time-out is extended."""


class RedisUnavailable(Exception):
    """Redis does not respond; `skipped` if it was not called because an earlier call failed."""

    def __init__(self, *, skipped: bool) -> None:
        super().__init__("Redis is unavailable")
        self.skipped = skipped


class RedisGuard:
    """
    A connection pool with a time limit for each call and a pause after a failure.

    After a failure, calls are skipped except for one in each `retry_interval`. `on_lost` gets the
    reason of the first failure; `on_recovered` is called at the first success after it.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: timedelta,
        on_lost: Callable[[str], None],
        on_recovered: Callable[[], None],
        retry_interval: timedelta = RETRY_INTERVAL,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the pool without connecting."""
        # These override the options in the URL.
        options: dict[str, Any] = {
            "max_connections": CONNECTIONS,
            "decode_responses": False,
            # No HELLO and no CLIENT SETINFO: they add round trips to each new connection.
            "protocol": 2,
            "driver_info": None,
            # `call` limits the whole call; the client needs no timers of its own.
            "timeout": None,
            "socket_connect_timeout": None,
            "socket_timeout": None,
            "retry": Retry(NoBackoff(), 0),
            # With these notifications the client does not detect a connection with an unread
            # response to an earlier call.
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        self.pool = BlockingConnectionPool(**{**parse_url(url), **options})
        self._timeout_s = timeout.total_seconds()
        self._retry_interval_s = retry_interval.total_seconds()
        self._on_lost = on_lost
        self._on_recovered = on_recovered
        self._monotonic = monotonic
        self._retry_at: float | None = None

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """
        Call Redis within the time limit.

        :raises RedisUnavailable: if it does not respond in time, or the call is skipped
        """
        if self._retry_at is not None:
            if self._monotonic() < self._retry_at:
                raise RedisUnavailable(skipped=True)
            # Only this call probes; the others are skipped meanwhile.
            self._retry_at = self._next_retry()
        try:
            async with _lag_tolerant_timeout(self._timeout_s):
                result = await function()
        except (RedisError, OSError, TimeoutError) as error:
            if self._retry_at is None:
                self._on_lost(type(error).__name__)
            self._retry_at = self._next_retry()
            raise RedisUnavailable(skipped=False) from error
        if self._retry_at is not None:
            self._on_recovered()
            self._retry_at = None
        return result

    async def aclose(self) -> None:
        """Close the connections."""
        await self.pool.aclose()

    def _next_retry(self) -> float:
        return self._monotonic() + self._retry_interval_s


@asynccontextmanager
async def _lag_tolerant_timeout(seconds: float) -> AsyncGenerator[None]:
    """
    Limit the time of the block like `asyncio.timeout`, but tolerate a busy event loop.

    If this process was so busy that the time-out fires late, the response may have arrived without
    having been read. The time-out then starts again, at most `MAX_EXTENSIONS` times: a load peak
    must not look like an unavailable Redis.

    :raises TimeoutError: if the time is over
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def start(extensions: int) -> asyncio.TimerHandle:
        return loop.call_later(seconds, expire, loop.time() + seconds, extensions)

    def expire(due: float, extensions: int) -> None:
        nonlocal timer
        if extensions > 0 and loop.time() - due > seconds * MAX_LAG:
            timer = start(extensions - 1)
        else:
            limit.reschedule(due)

    async with asyncio.timeout(None) as limit:
        timer = start(MAX_EXTENSIONS)
        try:
            yield
        finally:
            timer.cancel()
