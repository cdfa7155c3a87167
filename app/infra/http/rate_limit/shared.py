"""Counting for all processes together."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import structlog
from limits.aio.storage import RedisStorage
from typing_extensions import override

from app.domain.throttle import ThrottleRule
from app.infra.http.rate_limit.limiter import Admission, RateLimiter, WindowLimiter
from app.infra.http.rate_limit.memory import ProcessLimiter
from app.infra.redis.link import PAUSE, RedisAway, RedisLink

PATIENCE = timedelta(milliseconds=100)

logger = structlog.get_logger(__name__)


class RedisLimiter(RateLimiter):
    """
    Counts in Redis; while that is slow or gone, in this process.

    A request waits for Redis no longer than `patience`. Once Redis has failed, one request in
    `pause` asks again, the others are counted here meanwhile, each process for itself. A change is
    logged once.

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
        self._redis = RedisLink(
            url, patience=patience, pause=pause, lost=_lost, back=_back, monotonic=monotonic
        )
        storage = RedisStorage(
            "async+redis://",  # the pool knows where
            implementation="redispy",
            key_prefix="favorites",
            connection_pool=self._redis.pool,  # type: ignore[arg-type]  # passed on to redis-py
        )
        self._shared = WindowLimiter(storage, rule)
        self._own = ProcessLimiter(rule)

    @override
    async def admit(self, key: str) -> Admission:
        try:
            return await self._redis.ask(partial(self._shared.admit, key))
        except RedisAway:
            return await self._own.admit(key)

    @override
    async def aclose(self) -> None:
        await self._redis.aclose()


def _lost(reason: str) -> None:
    logger.warning("rate_limit_redis_lost", reason=reason)


def _back() -> None:
    logger.info("rate_limit_redis_back")
