import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import permutations

import pytest
import pytest_asyncio

from app.application.catalog.hot_products import HotLookup, HotProducts
from app.domain.product import MAX_PRODUCT_ID, CachedProduct, Product, ProductId, RefreshState
from app.infra.redis.hot_products import RedisHotProducts
from tests import make
from tests.double.clock import ManualClock
from tests.double.hot_products import HOT_TTL, InMemoryHotProducts
from tests.make import HOUR, NOW, SECOND
from tests.redis_server import RedisServer

FIVE = ProductId(5)
LATER = NOW + HOUR
TICK = timedelta(microseconds=1)
LONG = timedelta(seconds=10)  # so that no test fails on a busy machine


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Two processes that share a hot tier, and a manual clock."""

    one: HotProducts
    other: HotProducts
    clock: ManualClock

    async def got(self, product_id: ProductId = FIVE) -> CachedProduct | None:
        """Return what both processes get."""
        one = await self.one.get(product_id)
        assert await self.other.get(product_id) == one
        return one


@pytest_asyncio.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def processes(request: pytest.FixtureRequest) -> AsyncGenerator[Processes]:
    """Run each test with the double and with Redis: both must keep the same promises."""
    clock = ManualClock()
    if request.param == "memory":
        shared = InMemoryHotProducts(clock)
        yield Processes(one=shared, other=shared, clock=clock)
        return
    redis: RedisServer = request.getfixturevalue("redis")
    lookups: list[HotLookup] = []
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(
                RedisHotProducts(
                    redis.url, ttl=HOT_TTL, clock=clock, observe=lookups.append, timeout=LONG
                )
            )
            for _ in range(2)
        ]
        yield Processes(one=one, other=other, clock=clock)
    assert not {HotLookup.ERROR, HotLookup.SPARED} & set(lookups)


def copy(
    title: str = "Chain Bracelet", *, id: int = FIVE, fetched_at: datetime = NOW
) -> CachedProduct:
    return make.cached_product(product=make.product(id=id, title=title), fetched_at=fetched_at)


OLD, NEW = copy("old", fetched_at=NOW - SECOND), copy("new", fetched_at=NOW)


class TestHotProducts:
    @pytest.mark.parametrize(
        "product",
        [
            make.product(id=5),
            make.product(id=MAX_PRODUCT_ID, rating=None, description="", price="0.00"),
            make.product(id=1, price="9999999999.99", rating=make.rating("0.00", 0)),
            make.product(id=2, title='Sé"\\\n\t\u2028 👜 :1:2:', description="x" * 10_000),
        ],
        ids=lambda product: str(product.id),
    )
    async def test_return_what_was_kept(self, processes: Processes, product: Product) -> None:
        given = make.cached_product(product=product, fetched_at=NOW - TICK)
        await processes.one.keep(given, until=LATER)
        got = await processes.got(product.id)
        assert got == given
        # Equal decimals can have different representations.
        assert got is not None
        assert repr(got) == repr(given)

    async def test_return_only_the_product_and_its_time(self, processes: Processes) -> None:
        given = replace(NEW, refresh=RefreshState(leased_until=LATER), missing_since=NOW - SECOND)
        await processes.one.keep(given, until=LATER)
        assert await processes.got() == NEW

    async def test_return_none_for_another_product(self, processes: Processes) -> None:
        await processes.one.keep(copy(id=6), until=LATER)
        assert await processes.got() is None

    async def test_return_the_newer_of_two_copies(self, processes: Processes) -> None:
        await processes.one.keep(OLD, until=LATER)
        await processes.other.keep(NEW, until=LATER)
        assert await processes.got() == NEW

    async def test_do_not_replace_a_copy_with_an_older_one(self, processes: Processes) -> None:
        await processes.one.keep(NEW, until=LATER)
        await processes.other.keep(replace(OLD, fetched_at=NOW - TICK), until=LATER)
        assert await processes.got() == NEW

    async def test_do_not_return_an_outdated_copy(self, processes: Processes) -> None:
        await processes.one.keep(OLD, until=LATER)
        await processes.other.outdate([FIVE], before=OLD.fetched_at + TICK)
        assert await processes.got() is None

    async def test_do_not_keep_an_outdated_copy(self, processes: Processes) -> None:
        await processes.one.outdate([FIVE], before=NOW)
        await processes.other.keep(OLD, until=LATER)
        assert await processes.got() is None

    async def test_apply_the_latest_of_two_markers(self, processes: Processes) -> None:
        await processes.one.outdate([FIVE], before=NOW)
        await processes.one.outdate([FIVE], before=NOW - HOUR)
        await processes.one.keep(OLD, until=LATER)
        assert await processes.got() is None

    async def test_keep_a_copy_that_is_not_outdated(self, processes: Processes) -> None:
        await processes.one.outdate([FIVE], before=NOW)
        await processes.one.keep(NEW, until=LATER)
        assert await processes.got() == NEW
        await processes.other.outdate([FIVE], before=NOW)
        assert await processes.got() == NEW

    async def test_outdate_only_the_given_products(self, processes: Processes) -> None:
        ids = [ProductId(number) for number in range(1, 201)]
        kept = ProductId(1000)
        for product_id in (*ids[:3], kept):
            await processes.one.keep(copy(id=product_id), until=LATER)
        await processes.one.outdate(ids, before=NOW + SECOND)
        assert [await processes.got(product_id) for product_id in ids[:3]] == [None] * 3
        assert await processes.got(kept) == copy(id=kept)
        await processes.one.outdate([], before=NOW + SECOND)

    async def test_drop_a_copy_at_its_expiry(self, processes: Processes) -> None:
        await processes.one.keep(NEW, until=NOW + 3 * SECOND)
        processes.clock.advance(3 * SECOND - TICK)
        assert await processes.got() == NEW
        processes.clock.advance(TICK)
        assert await processes.got() is None

    async def test_drop_every_copy_after_the_ttl(self, processes: Processes) -> None:
        await processes.one.keep(NEW, until=LATER)
        processes.clock.advance(HOT_TTL - TICK)
        assert await processes.got() == NEW
        processes.clock.advance(TICK)
        assert await processes.got() is None

    @pytest.mark.parametrize("too_late", [timedelta(0), HOUR])
    async def test_do_not_keep_an_expired_copy(
        self, processes: Processes, too_late: timedelta
    ) -> None:
        await processes.one.keep(NEW, until=NOW - too_late)
        assert await processes.got() is None

    async def test_keep_an_old_copy_after_a_newer_one_expired(self, processes: Processes) -> None:
        await processes.one.keep(NEW, until=NOW + SECOND)
        processes.clock.advance(SECOND)
        await processes.one.keep(OLD, until=LATER)
        assert await processes.got() == OLD

    async def test_do_not_depend_on_the_order(self, processes: Processes) -> None:
        async def happen(step: str, product_id: int) -> None:
            moment = NOW + int(step[1:]) * SECOND
            if step.startswith("c"):
                await processes.one.keep(copy(step, id=product_id, fetched_at=moment), until=LATER)
            else:
                await processes.other.outdate([ProductId(product_id)], before=moment)

        for number, steps in enumerate(permutations(["c1", "c2", "m2", "c3", "m1"]), start=1):
            for step in steps:
                await happen(step, number)
            got = await processes.got(ProductId(number))
            assert got is not None, steps
            assert got.product.title == "c3", steps

    async def test_return_the_newest_of_concurrent_copies(self, processes: Processes) -> None:
        copies: Sequence[CachedProduct] = [
            copy(str(number), fetched_at=NOW + number * TICK) for number in range(40)
        ]
        await asyncio.gather(
            *(
                process.keep(each, until=LATER)
                for each in copies
                for process in (processes.one, processes.other)
            )
        )
        assert await processes.got() == copies[-1]
