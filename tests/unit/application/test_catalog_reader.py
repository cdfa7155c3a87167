"""Each cell of the table in `app.application.catalog.product_reader`, for lists."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from app.domain.outcome import CatalogUnavailable, StorageUnavailable
from app.domain.product import CachedProduct, ProductQuery, RefreshState, ServedFrom
from tests import make
from tests.unit.application.product_world import (
    EXPIRED,
    FIVE,
    FRESH,
    POLICY,
    STALE,
    World,
    begin,
    turns,
)

OLD = tuple(make.product(id=n, price="10.00") for n in range(1, 6))
NEW = tuple(replace(product, price=Decimal("12.00")) for product in OLD)
ALL = ProductQuery()
NOTHING_MATCHES = ProductQuery(category="no such category")


class TestListingAFreshCatalog:
    async def test_serves_the_copies_without_a_call(self) -> None:
        world = World(*NEW)
        await world.listed(*OLD, age=FRESH)
        process = world.process()

        reading = await process.catalog_reader.list_page(ALL)

        assert tuple(item.product for item in reading.page.items) == OLD
        assert (reading.served_from, reading.stale) == (ServedFrom.HIT, False)
        assert reading.age == FRESH
        assert process.tasks.kept == []

    async def test_has_age_zero_at_first(self) -> None:
        world = World(*NEW)
        await world.listed(*OLD)

        reading = await world.process().catalog_reader.list_page(ALL)

        assert (reading.served_from, reading.age) == (ServedFrom.HIT, 0 * make.SECOND)

    async def test_serves_an_empty_page_if_nothing_matches(self) -> None:
        world = World(*NEW)
        await world.listed(*OLD)

        reading = await world.process().catalog_reader.list_page(NOTHING_MATCHES)

        assert reading.page.items == []


class TestListingAStaleCatalog:
    async def test_serves_the_copies_and_refreshes_them_in_the_background(self) -> None:
        world = World(*NEW)
        await world.listed(*OLD, age=STALE)
        processes = [world.process(), world.process()]

        for process in 10 * processes:
            reading = await process.catalog_reader.list_page(ALL)
            assert tuple(item.product for item in reading.page.items) == OLD
            assert reading.served_from is ServedFrom.STALE_WHILE_REVALIDATE
            assert reading.stale
        for process in processes:
            await process.tasks.run()

        assert world.catalog.calls == world.catalog.listed == 1
        reading = await processes[0].catalog_reader.list_page(ALL)
        assert tuple(item.product for item in reading.page.items) == NEW
        assert reading.served_from is ServedFrom.HIT

    async def test_makes_one_call_per_backoff_in_an_outage(self) -> None:
        world = World()
        await world.listed(*OLD, age=STALE)
        process = world.process()
        world.catalog.down = True

        for _ in range(100):
            await process.catalog_reader.list_page(ALL)
            await process.tasks.run()
            world.clock.advance(POLICY.backoff / 10)

        assert world.catalog.calls == 10


class TestListingAnExpiredCatalog:
    async def test_fetches_first(self) -> None:
        world = World(*NEW)
        await world.listed(*OLD, age=EXPIRED)

        reading = await world.process().catalog_reader.list_page(ALL)

        assert tuple(item.product for item in reading.page.items) == NEW
        assert (reading.served_from, reading.stale) == (ServedFrom.REVALIDATED, False)
        assert reading.age == 0 * make.SECOND

    async def test_serves_the_copies_if_that_fails_or_failed_recently(self) -> None:
        world = World()
        await world.listed(*OLD, age=EXPIRED)
        world.catalog.down = True
        process = world.process()

        for query in (ALL, ALL, NOTHING_MATCHES):
            reading = await process.catalog_reader.list_page(query)
            assert (reading.served_from, reading.stale) == (
                ServedFrom.STALE_IF_ERROR,
                True,
            )
            assert reading.age == EXPIRED
        assert world.catalog.calls == 1

        world.clock.advance(POLICY.backoff)
        world.catalog.hold()
        await process.catalog_reader.list_page(ALL)
        assert process.tasks.kept == ["catalog"]


class TestListingACatalogThatWasNeverFetched:
    async def test_makes_one_call_for_all_readers(self) -> None:
        world = World(*NEW)
        world.catalog.hold()
        processes = [world.process(), world.process()]
        readers = [begin(p.catalog_reader.list_page(ALL)) for p in processes for _ in range(50)]
        await world.catalog.asked.wait()
        await turns()

        world.catalog.release()
        readings = await asyncio.gather(*readers)

        assert world.catalog.calls == 1
        for reading in readings:
            assert tuple(item.product for item in reading.page.items) == NEW
        assert {reading.served_from for reading in readings} == {ServedFrom.MISS}
        assert sum(not reading.collapsed for reading in readings) == 1

    async def test_fails_if_no_product_is_known(self) -> None:
        world = World()
        world.catalog.down = True
        process = world.process()

        for _ in range(3):
            with pytest.raises(CatalogUnavailable) as failure:
                await process.catalog_reader.list_page(ALL)
            assert failure.value.retry_after == POLICY.backoff
        assert world.catalog.calls == 1
        assert process.observer.counts["refused"] == 3

    async def test_serves_the_known_products_if_that_fails(self) -> None:
        world = World()
        await world.known(OLD[0])
        world.catalog.down = True
        process = world.process()

        reading = await process.catalog_reader.list_page(ALL)
        assert [item.product for item in reading.page.items] == [OLD[0]]
        assert (reading.served_from, reading.age) == (ServedFrom.STALE_IF_ERROR, None)
        assert (await process.catalog_reader.list_page(NOTHING_MATCHES)).page.items == []


class TestRefreshingSoon:
    async def test_fetches_a_few_products_one_by_one(self) -> None:
        world = World(*NEW)
        await world.known(*OLD, age=STALE)
        process = world.process()

        process.reader.refresh_soon(await _copies(world, 1, 2, 3))
        await process.tasks.run()

        assert sorted(world.catalog.found) == [1, 2, 3]
        assert world.catalog.listed == 0

    async def test_fetches_many_products_with_one_call(self) -> None:
        world = World(*NEW)
        await world.known(*OLD, age=EXPIRED)
        processes = [world.process(), world.process()]
        copies = await _copies(world, 1, 2, 3, 4)

        for process in processes:
            process.reader.refresh_soon(copies)
        for process in processes:
            await process.tasks.run()

        assert (world.catalog.found, world.catalog.listed) == ([], 1)
        assert (await world.state()).fetched_at == world.clock()

    async def test_takes_the_lease_of_each_product_that_is_due(self) -> None:
        world = World(*NEW)
        await world.known(*OLD, age=STALE)
        world.catalog.hold()
        process, other = world.process(), world.process()
        process.reader.refresh_soon(await _copies(world, 1, 2, 3, 4))
        running = begin(process.tasks.run())
        await world.catalog.asked.wait()

        other.reader.refresh_soon(await _copies(world, 1, 2, 3, 4))
        await other.reader.read(FIVE)

        assert other.tasks.kept == ["product 5"]
        world.catalog.release()
        await running

    async def test_ignores_products_that_are_fresh_removed_leased_or_blocked(self) -> None:
        process = World(*NEW).process()
        now = make.NOW + STALE
        process.reader.refresh_soon(
            make.cached_product(
                id=number, fetched_at=fetched_at, refresh=refresh, removed_at=removed
            )
            for number, (fetched_at, refresh, removed) in enumerate(
                [
                    (now, RefreshState(), None),
                    (make.NOW - STALE, RefreshState(), now),
                    (make.NOW - STALE, RefreshState(leased_until=now), None),
                    (make.NOW - STALE, RefreshState(blocked_until=now), None),
                ],
                start=1,
            )
        )
        assert process.tasks.kept == []

    async def test_makes_one_call_per_backoff_in_an_outage(self) -> None:
        world = World()
        await world.known(*OLD, age=STALE)
        world.catalog.down = True
        process = world.process()

        for _ in range(100):
            process.reader.refresh_soon(await _copies(world, 1, 2, 3, 4, 5))
            await process.tasks.run()
            world.clock.advance(POLICY.backoff / 10)

        assert world.catalog.calls == 10

    async def test_puts_off_products_that_the_list_left_out(self) -> None:
        world = World(*NEW[1:])
        await world.known(*OLD, age=STALE)
        process = world.process()

        for _ in range(10):
            process.reader.refresh_soon(await _copies(world, 1, 2, 3, 4))
            await process.tasks.run()

        assert world.catalog.calls == 1
        [left_out] = await _copies(world, 1)
        assert left_out.missing_since == world.clock()
        assert not left_out.removed


class TestRefreshingAll:
    async def test_fetches_although_the_copies_are_fresh(self) -> None:
        world = World(*NEW)
        await world.listed(*OLD, age=make.SECOND)

        refresh = await world.process().catalog_reader.refresh_all()

        assert refresh.fetched_at == world.clock()
        assert [copy.product for copy in await _copies(world, 1, 5)] == [NEW[0], NEW[4]]

    async def test_removes_products_that_a_second_list_leaves_out(self) -> None:
        world = World(*NEW[1:])
        await world.listed(*OLD, age=STALE)
        process = world.process()

        assert (await process.catalog_reader.refresh_all()).removed == frozenset()
        world.clock.advance(make.SECOND)
        assert (await process.catalog_reader.refresh_all()).removed == {1}

    async def test_restores_products_that_a_later_list_contains(self) -> None:
        world = World(*NEW[1:])
        await world.listed(*OLD, age=STALE)
        process = world.process()
        for _ in range(2):
            await process.catalog_reader.refresh_all()
            world.clock.advance(make.SECOND)
        world.catalog.put(NEW[0])

        await process.catalog_reader.refresh_all()

        assert (await process.reader.read(NEW[0].id)).cached.product == NEW[0]

    async def test_fails_if_the_catalog_is_unavailable(self) -> None:
        world = World()
        world.catalog.down = True
        process = world.process()

        for _ in range(2):
            with pytest.raises(CatalogUnavailable):
                await process.catalog_reader.refresh_all()
        assert world.catalog.calls == 1

    async def test_fails_if_the_response_cannot_be_stored(self) -> None:
        world = World(*NEW)
        world.catalog.hold()
        refreshing = begin(world.process().catalog_reader.refresh_all())
        await world.catalog.asked.wait()
        world.storage.available = False
        world.catalog.release()

        with pytest.raises(StorageUnavailable):
            await refreshing


async def _copies(world: World, *ids: int) -> list[CachedProduct]:
    rows = [await world.row(product.id) for product in OLD if product.id in ids]
    return [row for row in rows if isinstance(row, CachedProduct)]
