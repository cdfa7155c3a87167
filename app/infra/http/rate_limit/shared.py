"""Counting for all processes together."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import structlog
from limits.aio.storage import RedisStorage
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from typing_extensions import override

from app.domain.throttle import ThrottleRule
from app.infra.http.rate_limit.limiter import Admission, RateLimiter, WindowLimiter
from app.infra.http.rate_limit.memory import ProcessLimiter

PATIENCE = timedelta(milliseconds=100)
PAUSE = timedelta(seconds=1)
CONNECTIONS = 16

logger = structlog.get_logger(__name__)


class RedisLimiter(RateLimiter):
    """
    Counts in Redis; while that is slow or gone, in this process.

    A request waits for Redis no longer than `patience`. Once Redis has failed it is spared, and
    the requests with it: one request in `pause` asks again, the others are counted here meanwhile,
    each process for itself. A change is logged once.

    Times are those of the processes, so their clocks should agree to a second or so.
    """

    def __init__(
        self,
        url: str,
        rule: ThrottleRule,
        *,
        patience: timedelta = PATIENCE,
        pause: timedelta = PAUSE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rule = rule
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=patience.total_seconds(),
            socket_connect_timeout=patience.total_seconds(),
            socket_timeout=patience.total_seconds(),
            retry=Retry(NoBackoff(), 0),
        )
        storage = RedisStorage(
            "async+redis://",  # the pool knows where
            implementation="redispy",
            key_prefix="favorites",
            connection_pool=self._pool,  # type: ignore[arg-type]  # passed on to redis-py
        )
        self._shared = WindowLimiter(storage, rule)
        self._own = ProcessLimiter(rule)
        self._patience = patience
        self._pause = pause
        self._monotonic = monotonic
        self._away_until: float | None = None

    @override
    async def admit(self, key: str) -> Admission:
        if self._away_until is not None:
            if self._monotonic() < self._away_until:
                return await self._own.admit(key)
            # This request finds out for all.
            self._away_until = self._later()
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                admission = await self._shared.admit(key)
        except (RedisError, OSError, TimeoutError) as error:
            if self._away_until is None:
                logger.warning("rate_limit_redis_lost", reason=type(error).__name__)
            self._away_until = self._later()
            return await self._own.admit(key)
        if self._away_until is not None:
            logger.info("rate_limit_redis_back")
            self._away_until = None
        return admission

    @override
    async def aclose(self) -> None:
        await self._pool.aclose()

    def _later(self) -> float:
        return self._monotonic() + self._pause.total_seconds()
