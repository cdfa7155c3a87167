"""A rate limiter that all processes share through Redis."""

import math
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import structlog
from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from typing_extensions import override

from app.domain.throttle import ThrottleRule
from app.infra.http.rate_limit.limiter import Admission, RateLimiter
from app.infra.http.rate_limit.process_limiter import ProcessLimiter
from app.infra.redis.guard import RETRY_INTERVAL, RedisGuard, RedisUnavailable

TIMEOUT = timedelta(milliseconds=100)

logger = structlog.get_logger(__name__)


class RedisLimiter(RateLimiter):
    """
    Count in Redis; while Redis is slow or unavailable, in this process.

    A request waits for Redis no longer than `timeout`. After a failure one request in each
    `retry_interval` tries Redis again; the others are counted by each process separately. Losing
    and recovering Redis is logged once each.

    Times are those of the processes, so their clocks should agree to about a second.
    """

    def __init__(
        self,
        url: str,
        rule: ThrottleRule,
        *,
        timeout: timedelta = TIMEOUT,
        retry_interval: timedelta = RETRY_INTERVAL,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the limiter without connecting."""
        self.rule = rule
        self._guard = RedisGuard(
            url,
            timeout=timeout,
            retry_interval=retry_interval,
            on_lost=_log_lost,
            on_recovered=_log_recovered,
            monotonic=monotonic,
        )
        storage = RedisStorage(
            "async+redis://",  # unused: the pool has the address
            implementation="redispy",
            key_prefix="favorites",
            connection_pool=self._guard.pool,  # type: ignore[arg-type]  # passed on to redis-py
        )
        self._window = MovingWindowRateLimiter(storage)
        self._item = RateLimitItemPerSecond(rule.limit, math.ceil(rule.window.total_seconds()))
        self._fallback = ProcessLimiter(rule)

    @override
    async def admit(self, key: str) -> Admission:
        try:
            return await self._guard.call(partial(self._admit, key))
        except RedisUnavailable:
            return await self._fallback.admit(key)

    async def _admit(self, key: str) -> Admission:
        accepted = await self._window.hit(self._item, key)
        stats = await self._window.get_window_stats(self._item, key)
        return Admission(
            accepted=accepted,
            # A place that became free between the two calls did not help this request.
            remaining=max(0, stats.remaining) if accepted else 0,
            reset=timedelta(seconds=max(0.0, stats.reset_time - time.time())),
        )

    @override
    async def aclose(self) -> None:
        await self._guard.aclose()


def _log_lost(reason: str) -> None:
    logger.warning("rate_limit_redis_lost", reason=reason)


def _log_recovered() -> None:
    logger.info("rate_limit_redis_back")
