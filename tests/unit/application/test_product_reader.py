"""Each cell of the table in `app.application.catalog.product_reader`, for one product."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from app.domain.outcome import CatalogUnavailable, ProductNotFound, StorageUnavailable
from app.domain.product import CachedProduct, ProductReading, ServedFrom, UnknownProduct
from tests import make
from tests.unit.application.product_world import (
    EXPIRED,
    FIVE,
    FRESH,
    POLICY,
    STALE,
    World,
    begin,
)

OLD = make.product(id=5, price="10.00")
NEW = replace(OLD, price=Decimal("12.00"))


class TestReadingAFreshProduct:
    async def test_serves_the_copy_without_a_call(self) -> None:
        world = World(NEW)
        await world.known(OLD, age=FRESH)
        process = world.process()

        reading = await process.reader.read(FIVE)

        assert reading.cached.product == OLD
        assert (reading.served_from, reading.stale) == (ServedFrom.HIT, False)
        assert process.tasks.kept == []
        assert world.catalog.calls == 0
        assert process.observer.counts == {"hit": 1, "collapsed": 0}


class TestReadingAStaleProduct:
    async def test_serves_the_copy_and_refreshes_it_in_the_background(self) -> None:
        world = World(NEW)
        await world.known(OLD, age=STALE)
        process = world.process()

        reading = await process.reader.read(FIVE)

        assert reading.cached.product == OLD
        assert (reading.served_from, reading.stale) == (
            ServedFrom.STALE_WHILE_REVALIDATE,
            True,
        )
        assert world.catalog.calls == 0
        await process.tasks.run()
        reading = await process.reader.read(FIVE)
        assert reading.cached == make.cached_product(product=NEW)
        assert reading.served_from is ServedFrom.HIT
        assert world.catalog.found == [FIVE]

    async def test_makes_one_call_for_many_readers(self) -> None:
        world = World(NEW)
        await world.known(OLD, age=STALE)
        processes = [world.process(), world.process()]

        for process in 100 * processes:
            assert (await process.reader.read(FIVE)).cached.product == OLD
        for process in processes:
            await process.tasks.run()

        assert world.catalog.found == [FIVE]

    async def test_starts_no_refresh_while_another_process_holds_the_lease(self) -> None:
        world = World(NEW)
        await world.known(OLD, age=STALE)
        await world.leased(FIVE, until=world.clock() + POLICY.lease)
        process = world.process()

        assert (await process.reader.read(FIVE)).stale
        assert process.tasks.kept == []

        world.clock.advance(POLICY.lease)
        await process.reader.read(FIVE)
        assert process.tasks.kept == ["product 5"]

    async def test_makes_one_call_per_backoff_in_an_outage(self) -> None:
        world = World(OLD)
        await world.known(OLD, age=STALE)
        world.catalog.down = True
        processes = [world.process(), world.process()]

        for _ in range(1000):
            for process in processes:
                assert (await process.reader.read(FIVE)).cached.product == OLD
                await process.tasks.run()
            world.clock.advance(POLICY.backoff / 100)

        assert world.catalog.calls == 1000 / 100
        assert sum(p.observer.counts["product failed"] for p in processes) == 10

    async def test_serves_the_copy_if_too_many_tasks_are_waiting(self) -> None:
        world = World(NEW)
        await world.known(OLD, age=STALE)
        process = world.process()
        process.tasks.full = True

        assert (await process.reader.read(FIVE)).cached.product == OLD


class TestReadingAnExpiredProduct:
    async def test_fetches_first(self) -> None:
        world = World(NEW)
        await world.known(OLD, age=EXPIRED)
        process = world.process()

        reading = await process.reader.read(FIVE)

        assert reading.cached == make.cached_product(product=NEW)
        assert (reading.served_from, reading.stale) == (ServedFrom.REVALIDATED, False)
        assert not reading.collapsed

    async def test_serves_the_copy_if_that_fails(self) -> None:
        world = World()
        await world.known(OLD, age=EXPIRED)
        world.catalog.down = True

        reading = await world.process().reader.read(FIVE)

        assert reading.cached.product == OLD
        assert (reading.served_from, reading.stale) == (
            ServedFrom.STALE_IF_ERROR,
            True,
        )

    async def test_does_not_wait_again_after_a_recent_failure(self) -> None:
        world = World()
        await world.known(OLD, age=EXPIRED)
        world.catalog.down = True
        process = world.process()
        await process.reader.read(FIVE)
        world.catalog.hold()

        for _ in range(10):
            reading = await process.reader.read(FIVE)
            assert reading.cached.product == OLD
            assert reading.served_from is ServedFrom.STALE_IF_ERROR
        assert process.tasks.kept == []

        world.clock.advance(POLICY.backoff)
        assert (await process.reader.read(FIVE)).served_from is ServedFrom.STALE_IF_ERROR
        assert process.tasks.kept == ["product 5"]

    async def test_does_not_wait_for_the_next_attempt_with_a_short_soft_ttl(self) -> None:
        world = World()
        await world.known(OLD, age=EXPIRED)
        world.catalog.down = True
        process = world.process()
        reader = replace(process.reader, policy=replace(POLICY, soft_ttl=make.SECOND))
        await reader.read(FIVE)

        world.clock.advance(POLICY.backoff + 2 * make.SECOND)
        assert (await reader.read(FIVE)).served_from is ServedFrom.STALE_IF_ERROR
        assert process.tasks.kept == ["product 5"]
        assert process.observer.counts["product failed"] == 1

    async def test_forgets_a_failure_after_the_soft_ttl(self) -> None:
        world = World()
        await world.known(OLD, age=EXPIRED)
        world.catalog.down = True
        process = world.process()
        await process.reader.read(FIVE)

        world.catalog.down = False
        world.catalog.put(NEW)
        world.clock.advance(POLICY.backoff + STALE)

        assert (await process.reader.read(FIVE)).cached.product == NEW

    async def test_serves_the_copy_if_too_many_tasks_run(self) -> None:
        world = World(NEW)
        await world.known(OLD, age=EXPIRED)
        process = world.process()
        process.tasks.full = True

        assert (await process.reader.read(FIVE)).served_from is ServedFrom.STALE_IF_ERROR

    async def test_shares_the_fetch_with_concurrent_reads(self) -> None:
        world = World(NEW)
        await world.known(OLD, age=EXPIRED)
        process = world.process()
        readings = await asyncio.gather(*(process.reader.read(FIVE) for _ in range(3)))
        assert {reading.served_from for reading in readings} == {ServedFrom.REVALIDATED}
        assert [reading.collapsed for reading in readings] == [False, True, True]
        assert process.observer.counts == {"revalidated": 3, "collapsed": 2, "product ok": 1}


class TestReadingAnUnknownProduct:
    async def test_asks(self) -> None:
        world = World(NEW)
        process = world.process()

        reading = await process.reader.read(FIVE)

        assert reading.cached == await world.row(FIVE) == make.cached_product(product=NEW)
        assert (reading.served_from, reading.stale) == (ServedFrom.MISS, False)
        assert not reading.collapsed
        assert process.observer.counts == {"miss": 1, "collapsed": 0, "product ok": 1}

    async def test_caches_that_there_is_no_such_product(self) -> None:
        world = World()
        process = world.process()
        for remembered in (False, True, True):
            with pytest.raises(ProductNotFound, match="product 5") as failure:
                await process.reader.read(FIVE)
            assert failure.value.remembered is remembered
        assert world.catalog.calls == 1
        assert process.observer.counts == {
            "miss": 1,
            "negative-hit": 2,
            "collapsed": 0,
            "product ok": 1,
        }

        world.catalog.put(NEW)
        world.clock.advance(POLICY.negative_ttl)
        assert (await process.reader.read(FIVE)).cached.product == NEW

    async def test_fails_at_once_while_a_failure_is_recent(self) -> None:
        world = World(NEW)
        world.catalog.down = True
        process = world.process()
        with pytest.raises(CatalogUnavailable) as first:
            await process.reader.read(FIVE)
        assert first.value.retry_after == POLICY.backoff
        assert str(first.value) == "The catalog is down"

        world.clock.advance(10 * make.SECOND)
        other = world.process()
        # No task is needed for this.
        other.tasks.full = True
        with pytest.raises(CatalogUnavailable) as second:
            await other.reader.read(FIVE)
        assert other.observer.counts == {"refused": 1}
        assert second.value.retry_after == POLICY.backoff - 10 * make.SECOND
        assert world.catalog.calls == 1

        world.catalog.down = False
        world.clock.advance(POLICY.backoff)
        assert (await process.reader.read(FIVE)).served_from is ServedFrom.MISS
        assert process.observer.counts["refused"] == 1

    @pytest.mark.parametrize(
        ("wish", "pause"),
        [
            (timedelta(0), POLICY.backoff),
            (2 * make.MINUTE, 2 * make.MINUTE),
            (365 * make.DAY, 5 * make.MINUTE),
        ],
    )
    async def test_keeps_the_pause_that_the_catalog_asks_for_up_to_a_maximum(
        self, wish: timedelta, pause: timedelta
    ) -> None:
        world = World(NEW)
        world.catalog.down = True
        world.catalog.retry_after = wish

        with pytest.raises(CatalogUnavailable) as failure:
            await world.process().reader.read(FIVE)

        assert failure.value.retry_after == pause
        row = await world.row(FIVE)
        assert isinstance(row, UnknownProduct)
        assert row.refresh.blocked_until == world.clock() + pause

    async def test_fails_if_too_many_tasks_run(self) -> None:
        process = World(NEW).process()
        process.tasks.full = True

        with pytest.raises(CatalogUnavailable) as failure:
            await process.reader.read(FIVE)
        assert failure.value.retry_after == make.SECOND
        assert str(failure.value) == "Too many refreshes at once"


class TestAKnownProductThatTheCatalogDenies:
    async def test_is_still_served_after_one_denial(self) -> None:
        world = World()
        await world.known(OLD, age=EXPIRED)
        process = world.process()

        reading = await process.reader.read(FIVE)

        assert reading.cached.product == OLD
        assert reading.stale
        row = await world.row(FIVE)
        assert isinstance(row, CachedProduct)
        assert row.missing_since == world.clock()

    async def test_is_not_fetched_again_at_once(self) -> None:
        world = World()
        await world.known(OLD, age=STALE)
        process = world.process()

        for _ in range(10):
            await process.reader.read(FIVE)
            await process.tasks.run()

        assert world.catalog.calls == 1

    async def test_is_available_again_if_the_next_response_contains_it(self) -> None:
        world = World()
        await world.known(OLD, age=STALE)
        process = world.process()
        await process.reader.read(FIVE)
        await process.tasks.run()

        world.catalog.put(NEW)
        world.clock.advance(POLICY.backoff)
        await process.reader.read(FIVE)
        await process.tasks.run()

        assert await world.row(FIVE) == make.cached_product(product=NEW, fetched_at=world.clock())

    async def test_is_removed_by_a_second_denial_and_keeps_its_last_copy(self) -> None:
        world = World()
        await world.known(OLD, age=STALE)
        process = world.process()
        for _ in range(2):
            await process.reader.read(FIVE)
            await process.tasks.run()
            world.clock.advance(POLICY.backoff)

        with pytest.raises(ProductNotFound, match="product 5") as failure:
            await process.reader.read(FIVE)

        assert failure.value.remembered
        row = await world.row(FIVE)
        assert isinstance(row, CachedProduct)
        assert (row.removed, row.product) == (True, OLD)
        assert world.catalog.calls == 2

    async def test_is_not_found_by_the_read_that_causes_the_second_denial(self) -> None:
        world = World()
        await world.known(OLD, age=EXPIRED)
        process = world.process()
        await process.reader.read(FIVE)
        world.clock.advance(POLICY.backoff + STALE)

        with pytest.raises(ProductNotFound, match="product 5") as failure:
            await process.reader.read(FIVE)
        assert not failure.value.remembered


async def _read_while_storage_fails(world: World) -> ProductReading:
    world.catalog.hold()
    reading = begin(world.process().reader.read(FIVE))
    await world.catalog.asked.wait()
    world.storage.available = False
    world.catalog.release()
    return await reading


class TestReadingWhileStorageFails:
    async def test_serves_a_response_that_cannot_be_stored(self) -> None:
        world = World(NEW)

        reading = await _read_while_storage_fails(world)

        assert reading.cached == make.cached_product(product=NEW)
        world.storage.available = True
        assert isinstance(await world.row(FIVE), UnknownProduct)

    async def test_reports_an_absence_that_cannot_be_stored(self) -> None:
        with pytest.raises(ProductNotFound):
            await _read_while_storage_fails(World())

    async def test_reports_the_failure_of_the_catalog_if_that_fails_too(self) -> None:
        world = World()
        world.catalog.down = True

        with pytest.raises(CatalogUnavailable):
            await _read_while_storage_fails(world)

    async def test_fails_if_the_row_cannot_be_read(self) -> None:
        world = World(NEW)
        world.storage.available = False

        with pytest.raises(StorageUnavailable):
            await world.process().reader.read(FIVE)
        assert world.catalog.calls == 0


class TestValidatingAProduct:
    async def test_calls_the_catalog_whatever_is_cached(self) -> None:
        world = World()
        process = world.process()
        with pytest.raises(ProductNotFound):
            await process.reader.read(FIVE)
        world.catalog.put(NEW)
        world.clock.advance(make.SECOND)

        assert await process.reader.validate(FIVE) == NEW
        assert (await process.reader.read(FIVE)).served_from is ServedFrom.HIT

    async def test_returns_none_for_an_unknown_product(self) -> None:
        assert await World().process().reader.validate(FIVE) is None

    async def test_prefers_a_copy_to_one_denial(self) -> None:
        world = World()
        await world.known(OLD, age=STALE)

        assert await world.process().reader.validate(FIVE) == OLD

    async def test_fails_if_the_catalog_is_unavailable(self) -> None:
        world = World()
        world.catalog.down = True
        process = world.process()

        with pytest.raises(CatalogUnavailable):
            await process.reader.validate(FIVE)
        with pytest.raises(CatalogUnavailable):
            await process.reader.validate(FIVE)
        assert world.catalog.calls == 2
