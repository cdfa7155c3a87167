"""The hot tier when its Redis holds what it should not, hangs, is full, emptied or gone."""

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
PATIENT = timedelta(seconds=10)  # no test may fail because the machine is busy
FIVE = ProductId(5)
COPY = make.cached_product(id=FIVE)
HIT, MISS, ERROR, SPARED = HotLookup
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ticks(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@dataclass(kw_only=True)
class World:
    """A Redis, what is in it, and processes that use it."""

    redis: RedisServer
    raw: "Redis"
    stack: AsyncExitStack
    clock: ManualClock = field(default_factory=ManualClock)
    seconds: Seconds = field(default_factory=Seconds)
    lookups: list[HotLookup] = field(default_factory=list)

    async def tier(self, *, patience: timedelta = PATIENT) -> RedisHotProducts:
        """Start a process."""
        return await self.stack.enter_async_context(
            RedisHotProducts(
                self.redis.url,
                ttl=TTL,
                clock=self.clock,
                observe=self.lookups.append,
                patience=patience,
                monotonic=self.seconds,
            )
        )

    async def keep(self, tier: RedisHotProducts, copy: CachedProduct = COPY) -> None:
        """Let a process keep a copy for as long as it may."""
        await tier.keep(copy, until=self.clock() + HOUR)


@pytest_asyncio.fixture
async def world(redis: RedisServer) -> AsyncGenerator[World]:
    async with AsyncExitStack() as stack:
        raw = await stack.enter_async_context(Redis.from_url(redis.url))
        yield World(redis=redis, raw=raw, stack=stack)


HEAD = b"%d:%d:" % (ticks(NOW), ticks(NOW + SECOND))
Change = Callable[[bytes], bytes]
POISON: dict[str, Change] = {
    "nothing": lambda _: b"",
    "garbage": lambda _: b"\xff\x00garbage",
    "numbers": lambda _: b"1:2:3",
    "no numbers": lambda value: b"x:y:" + value.split(b":", 2)[2],
    "numbers too long": lambda value: b"9" * 5000 + b":" + value,
    "moments beyond the calendar": lambda value: (
        b"%d:%d:%b" % (10**17, 10**18, value.split(b":", 2)[2])
    ),
    "no product": lambda _: HEAD + b"null",
    "half of one": lambda value: value[:-20],
    "another product": lambda value: value.replace(b'"id":5', b'"id":6'),
    "no title": lambda value: value.replace(b'"title"', b'"name"'),
    "a title that is a number": lambda value: value.replace(b'"title":"', b'"title":1,"x":"'),
    "a negative price": lambda value: value.replace(b'"695.00"', b'"-1.00"'),
    "no finite price": lambda value: value.replace(b'"695.00"', b'"NaN"'),
    "a price by halves of a cent": lambda value: value.replace(b'"695.00"', b'"695.005"'),
    "a rate beyond the best": lambda value: value.replace(b'"4.6"', b'"5.1"'),
    "what we know nothing of": lambda value: value[:-1] + b',"discount":1}',
    "a copy from the future": lambda value: (
        b"%d:%b" % (ticks(NOW + HOUR), value.split(b":", 1)[1])
    ),
    "a copy for ever": lambda value: (
        b"%d:%d:%b" % (ticks(NOW), ticks(NOW + HOUR), value.split(b":", 2)[2])
    ),
    "a copy whose time is over": lambda value: (
        b"%d:%d:%b" % (ticks(NOW - HOUR), ticks(NOW), value.split(b":", 2)[2])
    ),
    "too much": lambda value: value[:-1] + b" " * 10_000_000 + b"}",
}


class TestWhatIsHeld:
    @pytest.mark.parametrize("poison", [pytest.param(p, id=name) for name, p in POISON.items()])
    async def test_is_a_miss_unless_it_is_a_copy_of_ours(
        self, world: World, poison: Change
    ) -> None:
        tier = await world.tier()
        await world.keep(tier)
        value = await world.raw.get(KEY.format(FIVE))
        assert isinstance(value, bytes)
        poisoned = poison(value)
        assert poisoned != value
        await world.raw.set(KEY.format(FIVE), poisoned)

        assert await tier.get(FIVE) is None

        # And it makes room for a copy.
        await world.keep(tier)
        assert await tier.get(FIVE) == COPY
        assert world.lookups == [MISS, HIT]

    async def test_is_a_miss_if_it_is_no_text_at_all(self, world: World) -> None:
        await world.raw.lpush(KEY.format(FIVE), "a", "list")
        tier = await world.tier()
        assert await tier.get(FIVE) is None
        await world.keep(tier)
        assert await tier.get(FIVE) == COPY

    async def test_is_ours_by_name_and_does_not_stay(self, world: World) -> None:
        tier = await world.tier()
        await world.keep(tier)
        await tier.outdate([ProductId(6)], before=NOW)
        keys = await world.raw.keys()
        assert sorted(keys) == [b"favorites:product:1:5", b"favorites:product:1:6"]
        for key in keys:
            assert 0 < await world.raw.pttl(key) <= TTL / timedelta(milliseconds=1)

    async def test_has_a_bounded_size(self, world: World) -> None:
        tier = await world.tier()
        large = make.product(id=FIVE, description="x" * 100_000)
        await world.keep(tier, make.cached_product(product=large))
        assert await tier.get(FIVE) is None
        assert await world.raw.keys() == []


class TestRedis:
    async def test_may_forget_everything_its_scripts_included(self, world: World) -> None:
        tier = await world.tier()
        await world.keep(tier)
        await world.raw.flushall()
        await world.raw.script_flush()
        assert await tier.get(FIVE) is None
        await world.keep(tier)
        assert await tier.get(FIVE) == COPY
        assert world.lookups == [MISS, HIT]

    async def test_may_be_replaced(self, world: World) -> None:
        tier = await world.tier()
        await world.keep(tier)
        world.redis.stop()
        world.redis.start()
        assert await tier.get(FIVE) is None
        # If we have not heard of it before we asked, it counts as a failure.
        world.seconds.now += 1
        await world.keep(tier)
        assert await tier.get(FIVE) == COPY

    async def test_may_be_full_and_is_read_all_the_same(self, world: World) -> None:
        tier = await world.tier()
        await world.keep(tier)
        await world.raw.config_set("maxmemory", "1")
        await world.keep(tier, make.cached_product(id=6))
        assert await tier.get(ProductId(6)) is None
        assert await tier.get(FIVE) == COPY
        assert world.lookups == [ERROR, MISS, HIT]

    async def test_is_asked_by_one_now_and_then_while_it_is_gone(self, world: World) -> None:
        tier = await world.tier()
        await world.keep(tier)
        world.redis.stop()
        with structlog.testing.capture_logs() as logs:
            assert [await tier.get(FIVE) for _ in range(3)] == [None] * 3
            world.seconds.now += 1
            assert [await tier.get(FIVE) for _ in range(3)] == [None] * 3
            world.redis.start()
            # It is not asked again before its time, nor told anything.
            await world.keep(tier)
            await tier.outdate([FIVE], before=NOW)
            assert await world.raw.keys() == []
            world.seconds.now += 1
            await world.keep(tier)
            assert await tier.get(FIVE) == COPY
        assert world.lookups == [ERROR, SPARED, SPARED] * 2 + [HIT]
        assert [line["event"] for line in logs] == [
            "hot_products_redis_lost",
            "hot_products_redis_back",
        ]

    async def test_is_not_waited_for_while_it_hangs(self, world: World) -> None:
        patient = await world.tier()
        copies = [make.cached_product(id=number) for number in range(1, 101)]
        for copy in copies:
            await world.keep(patient, copy)
        tier = await world.tier(patience=timedelta(seconds=1))
        assert await tier.get(FIVE) == copies[4]
        world.redis.freeze()
        asked = [tier.get(copy.product.id) for copy in copies]
        assert await asyncio.gather(*asked) == [None] * len(copies)
        world.redis.thaw()
        world.seconds.now += 1
        # What it answers late goes to nobody else.
        for copy in copies:
            assert await tier.get(copy.product.id) == copy

    async def test_may_come_later_than_we(self, world: World) -> None:
        world.redis.stop()
        tier = await world.tier()
        assert await tier.get(FIVE) is None
        world.redis.start()
        world.seconds.now += 1
        await world.keep(tier)
        assert await tier.get(FIVE) == COPY
