"""Reading with a hot tier: the results are the same."""

from dataclasses import replace
from decimal import Decimal

import pytest

from app.domain.outcome import ProductNotFound
from app.domain.product import ServedFrom
from tests import make
from tests.double.hot_products import HOT_TTL, InMemoryHotProducts
from tests.unit.application.product_world import EXPIRED, FIVE, FRESH, STALE, World

OLD = make.product(id=5, price="10.00")
NEW = replace(OLD, price=Decimal("12.00"))
OTHER = make.product(id=6)


@pytest.fixture
def world() -> World:
    """Return a world whose processes share a hot tier, and whose catalog has the newer product."""
    world = World(NEW)
    world.hot = InMemoryHotProducts(world.clock)
    return world


class TestReadingWithAHotTier:
    async def test_needs_no_storage_for_a_product_that_was_just_read(self, world: World) -> None:
        await world.known(OLD, age=make.SECOND)
        one, other = world.process(), world.process()
        await one.reader.read(FIVE)
        world.storage.available = False

        reading = await other.reader.read(FIVE)

        assert reading.cached == await world.hot.get(FIVE)
        assert reading.cached.product == OLD
        assert reading.cached.age(world.clock()) == make.SECOND
        assert (reading.served_from, reading.stale) == (ServedFrom.HIT, False)
        assert other.observer.counts == {"hit": 1, "collapsed": 0}

    async def test_reads_storage_again_after_the_ttl(self, world: World) -> None:
        await world.known(OLD)
        process = world.process()
        await process.reader.read(FIVE)
        # Changed without telling the hot tier.
        await world.known(NEW)
        assert (await process.reader.read(FIVE)).cached.product == OLD
        world.clock.advance(HOT_TTL)
        assert (await process.reader.read(FIVE)).cached.product == NEW

    async def test_does_not_serve_a_copy_that_is_not_fresh(self, world: World) -> None:
        await world.known(OLD, age=FRESH - make.SECOND)
        process = world.process()
        await process.reader.read(FIVE)
        world.clock.advance(2 * make.SECOND)
        reading = await process.reader.read(FIVE)
        assert reading.served_from is ServedFrom.STALE_WHILE_REVALIDATE
        assert process.tasks.kept == ["product 5"]

    async def test_does_not_serve_a_copy_that_the_tier_kept_too_long(self, world: World) -> None:
        await world.known(OLD, age=STALE)
        await world.hot.keep(
            make.cached_product(product=OLD, fetched_at=world.clock() - STALE),
            until=world.clock() + make.MINUTE,
        )
        reading = await world.process().reader.read(FIVE)
        assert reading.served_from is ServedFrom.STALE_WHILE_REVALIDATE

    async def test_sees_a_refresh_of_another_process_at_once(self, world: World) -> None:
        await world.known(OLD)
        one, other = world.process(), world.process()
        await one.reader.read(FIVE)
        world.clock.advance(make.SECOND)
        await other.reader.validate(FIVE)
        world.storage.available = False
        reading = await one.reader.read(FIVE)
        assert (reading.cached.product, reading.served_from) == (NEW, ServedFrom.HIT)

    async def test_sees_a_refresh_of_the_whole_catalog_at_once(self, world: World) -> None:
        await world.known(OLD)
        one, other = world.process(), world.process()
        await one.reader.read(FIVE)
        world.clock.advance(make.SECOND)
        await other.catalog_reader.refresh_all()
        assert (await one.reader.read(FIVE)).cached.product == NEW
        world.storage.available = False
        assert (await one.reader.read(FIVE)).cached.product == NEW

    @pytest.mark.parametrize("whole", [False, True], ids=["product", "catalog"])
    async def test_sees_a_removal_at_once(self, world: World, *, whole: bool) -> None:
        await world.known(OLD)
        world.catalog.remove(FIVE)
        world.catalog.put(OTHER)
        process = world.process()
        for _ in range(2):
            # One denial changes nothing.
            assert (await process.reader.read(FIVE)).cached.product == OLD
            world.clock.advance(make.SECOND)
            await (
                process.catalog_reader.refresh_all() if whole else process.reader.validate(FIVE)
            )
        with pytest.raises(ProductNotFound):
            await process.reader.read(FIVE)

    async def test_keeps_what_it_fetched(self, world: World) -> None:
        process = world.process()
        assert (await process.reader.read(FIVE)).served_from is ServedFrom.MISS
        world.storage.available = False
        assert (await process.reader.read(FIVE)).served_from is ServedFrom.HIT

    async def test_keeps_no_expired_copy(self, world: World) -> None:
        await world.known(OLD, age=EXPIRED)
        world.catalog.down = True
        process = world.process()
        await process.reader.read(FIVE)
        assert await world.hot.get(FIVE) is None

    async def test_misses_a_refresh_for_at_most_the_ttl(self, world: World) -> None:
        await world.known(OLD)
        hot = InMemoryHotProducts(world.clock)
        world.hot = hot
        one, other = world.process(), world.process()
        await one.reader.read(FIVE)
        world.clock.advance(make.SECOND)
        hot.away = True
        await other.reader.validate(FIVE)
        hot.away = False
        assert (await one.reader.read(FIVE)).cached.product == OLD
        world.clock.advance(HOT_TTL - make.SECOND)
        assert (await one.reader.read(FIVE)).cached.product == NEW

    async def test_reads_storage_while_the_tier_is_unavailable(self, world: World) -> None:
        await world.known(OLD)
        hot = InMemoryHotProducts(world.clock)
        hot.away = True
        world.hot = hot
        process = world.process()
        for _ in range(2):
            reading = await process.reader.read(FIVE)
            assert (reading.cached.product, reading.served_from) == (OLD, ServedFrom.HIT)
