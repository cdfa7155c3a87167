"""The hot tier when Redis holds invalid values, hangs, is full, empty or down."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
import structlog
from redis.asyncio import Redis

from app.application.catalog.hot_products import HotLookup
from app.domain.product import CachedProduct, ProductId
from app.infra.redis.hot_products import KEY, RedisHotProducts
from tests import make
from tests.double.clock import ManualClock, Seconds
from tests.make import HOUR, NOW, SECOND
from tests.redis_server import RedisServer

TTL = timedelta(seconds=30)
LONG = timedelta(seconds=10)  # so that no test fails on a busy machine
FIVE = ProductId(5)
COPY = make.cached_product(id=FIVE)
HIT, MISS, ERROR, SPARED = HotLookup
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ticks(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@dataclass(kw_only=True)
class World:
    """A Redis server, a client to inspect it, and processes that use it."""

    redis: RedisServer
    raw: "Redis"
    stack: AsyncExitStack
    clock: ManualClock = field(default_factory=ManualClock)
    seconds: Seconds = field(default_factory=Seconds)
    lookups: list[HotLookup] = field(default_factory=list)

    async def tier(self, *, time_limit: timedelta = LONG) -> RedisHotProducts:
        """Create the hot tier of one process."""
        return await self.stack.enter_async_context(
            RedisHotProducts(
                self.redis.url,
                ttl=TTL,
                clock=self.clock,
                observe=self.lookups.append,
                timeout=time_limit,
                monotonic=self.seconds,
            )
        )

    async def keep(self, tier: RedisHotProducts, copy: CachedProduct = COPY) -> None:
        """Keep a copy for the longest possible time."""
        await tier.keep(copy, until=self.clock() + HOUR)


@pytest_asyncio.fixture
async def world(redis: RedisServer) -> AsyncGenerator[World]:
    async with AsyncExitStack() as stack:
        raw = await stack.enter_async_context(Redis.from_url(redis.url))
        yield World(redis=redis, raw=raw, stack=stack)


HEAD = b"%d:%d:" % (ticks(NOW), ticks(NOW + SECOND))
Change = Callable[[bytes], bytes]
POISON: dict[str, Change] = {
    "empty": lambda _: b"",
    "garbage": lambda _: b"\xff\x00garbage",
    "numbers": lambda _: b"1:2:3",
    "no numbers": lambda value: b"x:y:" + value.split(b":", 2)[2],
    "numbers that are too long": lambda value: b"9" * 5000 + b":" + value,
    "times out of range": lambda value: b"%d:%d:%b" % (10**17, 10**18, value.split(b":", 2)[2]),
    "null": lambda _: HEAD + b"null",
    "truncated JSON": lambda value: value[:-20],
    "another product": lambda value: value.replace(b'"id":5', b'"id":6'),
    "no title": lambda value: value.replace(b'"title"', b'"name"'),
    "a title that is a number": lambda value: value.replace(b'"title":"', b'"title":1,"x":"'),
    "a negative price": lambda value: value.replace(b'"695.00"', b'"-1.00"'),
    "a price of NaN": lambda value: value.replace(b'"695.00"', b'"NaN"'),
    "a price with three decimal places": lambda value: value.replace(b'"695.00"', b'"695.005"'),
    "a rate above 5": lambda value: value.replace(b'"4.6"', b'"5.1"'),
    "an unknown member": lambda value: value[:-1] + b',"discount":1}',
    "a copy from the future": lambda value: (
        b"%d:%b" % (ticks(NOW + HOUR), value.split(b":", 1)[1])
    ),
    "a copy that expires too late": lambda value: (
        b"%d:%d:%b" % (ticks(NOW), ticks(NOW + HOUR), value.split(b":", 2)[2])
    ),
    "an expired copy": lambda value: (
        b"%d:%d:%b" % (ticks(NOW - HOUR), ticks(NOW), value.split(b":", 2)[2])
    ),
    "too large": lambda value: value[:-1] + b" " * 10_000_000 + b"}",
}


class TestValue:
    @pytest.mark.parametrize("poison", [pytest.param(p, id=name) for name, p in POISON.items()])
    async def test_is_a_miss_if_it_is_invalid(self, world: World, poison: Change) -> None:
        tier = await world.tier()
        await world.keep(tier)
        value = await world.raw.get(KEY.format(FIVE))
        assert isinstance(value, bytes)
        poisoned = poison(value)
        assert poisoned != value
        await world.raw.set(KEY.format(FIVE), poisoned)

        assert await tier.get(FIVE) is None

        # A valid copy replaces it.
        await world.keep(tier)
        assert await tier.get(FIVE) == COPY
        assert world.lookups == [MISS, HIT]

    async def test_is_a_miss_if_it_is_not_a_string(self, world: World) -> None:
        await world.raw.lpush(KEY.format(FIVE), "a", "list")
        tier = await world.tier()
        assert await tier.get(FIVE) is None
        await world.keep(tier)
        assert await tier.get(FIVE) == COPY

    async def test_has_a_namespace_and_expires(self, world: World) -> None:
        tier = await world.tier()
        await world.keep(tier)
        await tier.outdate([ProductId(6)], before=NOW)
        keys = await world.raw.keys()
        assert sorted(keys) == [b"favorites:product:1:5", b"favorites:product:1:6"]
        for key in keys:
            assert 0 < await world.raw.pttl(key) <= TTL / timedelta(milliseconds=1)

    async def test_has_a_limited_size(self, world: World) -> None:
        tier = await world.tier()
        large = make.product(id=FIVE, description="x" * 100_000)
        await world.keep(tier, make.cached_product(product=large))
        assert await tier.get(FIVE) is None
        assert await world.raw.keys() == []


class TestRedis:
    async def test_may_be_flushed_including_its_scripts(self, world: World) -> None:
        tier = await world.tier()
        await world.keep(tier)
        await world.raw.flushall()
        await world.raw.script_flush()
        assert await tier.get(FIVE) is None
        await world.keep(tier)
        assert await tier.get(FIVE) == COPY
        assert world.lookups == [MISS, HIT]

    async def test_may_be_restarted(self, world: World) -> None:
        tier = await world.tier()
        await world.keep(tier)
        world.redis.stop()
        world.redis.start()
        assert await tier.get(FIVE) is None
        # If the lost connection was not noticed before the call, that call failed.
        world.seconds.now += 1
        await world.keep(tier)
        assert await tier.get(FIVE) == COPY

    async def test_may_be_full_and_is_still_read(self, world: World) -> None:
        tier = await world.tier()
        await world.keep(tier)
        await world.raw.config_set("maxmemory", "1")
        await world.keep(tier, make.cached_product(id=6))
        assert await tier.get(ProductId(6)) is None
        assert await tier.get(FIVE) == COPY
        assert world.lookups == [ERROR, MISS, HIT]

    async def test_is_called_once_per_interval_while_it_is_down(self, world: World) -> None:
        tier = await world.tier()
        await world.keep(tier)
        world.redis.stop()
        with structlog.testing.capture_logs() as logs:
            assert [await tier.get(FIVE) for _ in range(3)] == [None] * 3
            world.seconds.now += 1
            assert [await tier.get(FIVE) for _ in range(3)] == [None] * 3
            world.redis.start()
            # No call reaches it before the interval has passed.
            await world.keep(tier)
            await tier.outdate([FIVE], before=NOW)
            assert await world.raw.keys() == []
            world.seconds.now += 1
            await world.keep(tier)
            assert await tier.get(FIVE) == COPY
        assert world.lookups == [ERROR, SPARED, SPARED] * 2 + [HIT]
        assert [(line["event"], line["log_level"]) for line in logs] == [
            ("hot_products_redis_lost", "warning"),
            ("hot_products_redis_back", "info"),
        ]
        assert logs[0]["reason"] == "ConnectionError"

    async def test_is_not_waited_for_while_it_hangs(self, world: World) -> None:
        first = await world.tier()
        copies = [make.cached_product(id=number) for number in range(1, 101)]
        for copy in copies:
            await world.keep(first, copy)
        tier = await world.tier(time_limit=timedelta(seconds=1))
        assert await tier.get(FIVE) == copies[4]
        world.redis.freeze()
        calls = [tier.get(copy.product.id) for copy in copies]
        assert await asyncio.gather(*calls) == [None] * len(copies)
        world.redis.thaw()
        world.seconds.now += 1
        # A late response is not attributed to another call.
        for copy in copies:
            assert await tier.get(copy.product.id) == copy

    async def test_may_start_after_the_service(self, world: World) -> None:
        world.redis.stop()
        tier = await world.tier()
        assert await tier.get(FIVE) is None
        world.redis.start()
        world.seconds.now += 1
        await world.keep(tier)
        assert await tier.get(FIVE) == COPY
