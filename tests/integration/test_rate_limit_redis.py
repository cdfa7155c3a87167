"""Rate limits that several processes share in a real Redis."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from app.domain.throttle import ThrottleRule
from app.infra.http.rate_limit.redis_limiter import RedisLimiter
from tests.double.clock import Seconds
from tests.redis_server import RedisServer

RULE = ThrottleRule(limit=5, window=timedelta(hours=1))
LONG = timedelta(seconds=10)  # so that no test fails on a busy machine


@asynccontextmanager
async def limiter(
    redis: RedisServer, *, monotonic: Seconds | None = None, time_limit: timedelta = LONG
) -> AsyncGenerator[RedisLimiter]:
    created = RedisLimiter(redis.url, RULE, timeout=time_limit, monotonic=monotonic or Seconds())
    try:
        yield created
    finally:
        await created.aclose()


async def accepted(limiter: RedisLimiter, key: str, count: int) -> int:
    return sum([(await limiter.admit(key)).accepted for _ in range(count)])


class TestRedisLimiter:
    async def test_shares_counts_with_other_processes(self, redis: RedisServer) -> None:
        async with limiter(redis) as one, limiter(redis) as other:
            assert await accepted(one, "ip:1", 3) == 3
            third = await other.admit("ip:1")
            assert (third.accepted, third.remaining) == (True, 1)
            assert await accepted(other, "ip:1", 3) == 1
            refused = await one.admit("ip:1")
            assert (refused.accepted, refused.remaining) == (False, 0)
            assert timedelta(0) < refused.reset <= RULE.window
            assert await accepted(one, "ip:2", 3) == 3

    async def test_is_exact_under_concurrency(self, redis: RedisServer) -> None:
        async with limiter(redis) as one, limiter(redis) as other:
            admissions = await asyncio.gather(
                *(each.admit("ip:1") for _ in range(20) for each in (one, other))
            )
        assert sum(admission.accepted for admission in admissions) == RULE.limit

    async def test_counts_separately_while_redis_is_down(self, redis: RedisServer) -> None:
        seconds = Seconds()
        async with limiter(redis, monotonic=seconds) as one:
            await accepted(one, "ip:1", 5)
            redis.stop()
            with structlog.testing.capture_logs() as logs:
                assert await accepted(one, "ip:1", 8) == RULE.limit
                seconds.now += 1
                assert await accepted(one, "ip:1", 1) == 0
                redis.start()
                # Redis is not called before the retry interval has passed.
                assert await accepted(one, "ip:1", 1) == 0
                seconds.now += 1
                assert await accepted(one, "ip:1", 8) == RULE.limit
        assert [(line["event"], line["log_level"]) for line in logs] == [
            ("rate_limit_redis_lost", "warning"),
            ("rate_limit_redis_back", "info"),
        ]
        assert logs[0]["reason"] == "ConnectionError"

    async def test_does_not_wait_for_a_hanging_redis(self, redis: RedisServer) -> None:
        seconds = Seconds()
        time_limit = timedelta(seconds=1)
        async with limiter(redis, monotonic=seconds, time_limit=time_limit) as one:
            await accepted(one, "ip:1", 5)
            redis.freeze()
            admissions = await asyncio.gather(*(one.admit("ip:1") for _ in range(200)))
            assert sum(admission.accepted for admission in admissions) == RULE.limit
            redis.thaw()
            seconds.now += 1
            # The earlier counts are still there.
            assert await accepted(one, "ip:1", 1) == 0
            assert await accepted(one, "ip:2", 8) == RULE.limit

    async def test_starts_without_redis(self, redis: RedisServer) -> None:
        redis.stop()
        async with limiter(redis) as one:
            assert await accepted(one, "ip:1", 8) == RULE.limit
