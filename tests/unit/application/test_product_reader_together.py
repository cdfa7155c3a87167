"""Many readers of one unknown product, in one process and in several."""

import asyncio

import pytest

from app.domain.outcome import CatalogUnavailable, ProductNotFound
from app.domain.product import ServedFrom
from tests import make
from tests.unit.application.product_world import (
    FIVE,
    POLICY,
    Process,
    World,
    begin,
    turns,
    until,
)

PRODUCT = make.product(id=5)


class TestReadersOfOneProcess:
    async def test_share_one_call(self) -> None:
        world = World(PRODUCT)
        world.catalog.hold()
        process = world.process()
        readers = [begin(process.reader.read(FIVE)) for _ in range(200)]
        await world.catalog.asked.wait()
        await turns()

        world.catalog.release()
        readings = await asyncio.gather(*readers)

        assert world.catalog.calls == 1
        assert {reading.cached.product for reading in readings} == {PRODUCT}
        assert {reading.served_from for reading in readings} == {ServedFrom.MISS}
        assert sum(not reading.collapsed for reading in readings) == 1
        assert process.observer.counts["collapsed"] == 199

    async def test_share_a_failure_with_separate_exceptions(self) -> None:
        world = World(PRODUCT)
        world.catalog.hold()
        world.catalog.down = True
        process = world.process()
        readers = [begin(process.reader.read(FIVE)) for _ in range(200)]
        await world.catalog.asked.wait()

        world.catalog.release()
        failures = await asyncio.gather(*readers, return_exceptions=True)

        assert world.catalog.calls == 1
        assert {type(failure) for failure in failures} == {CatalogUnavailable}
        assert len(set(map(id, failures))) == 200

    async def test_share_the_response_that_there_is_no_such_product(self) -> None:
        world = World()
        world.catalog.hold()
        process = world.process()
        readers = [begin(process.reader.read(FIVE)) for _ in range(10)]
        await world.catalog.asked.wait()

        world.catalog.release()
        failures = await asyncio.gather(*readers, return_exceptions=True)

        assert {type(failure) for failure in failures} == {ProductNotFound}

    async def test_are_served_although_the_first_of_them_disconnected(self) -> None:
        world = World(PRODUCT)
        world.catalog.hold()
        process = world.process()
        first, *others = [begin(process.reader.read(FIVE)) for _ in range(10)]
        await world.catalog.asked.wait()

        first.cancel()
        await turns()
        assert first.cancelled()
        world.catalog.release()
        readings = await asyncio.gather(*others)

        assert {reading.cached.product for reading in readings} == {PRODUCT}
        assert world.catalog.calls == 1

    async def test_leave_the_response_in_storage_although_all_disconnected(self) -> None:
        world = World(PRODUCT)
        world.catalog.hold()
        process = world.process()
        readers = [begin(process.reader.read(FIVE)) for _ in range(10)]
        await world.catalog.asked.wait()
        for reader in readers:
            reader.cancel()
        await turns()

        world.catalog.release()
        await process.tasks.run()

        assert (await process.reader.read(FIVE)).served_from is ServedFrom.HIT
        assert world.catalog.calls == 1

    async def test_leave_no_task_behind_after_a_thousand_disconnected(self) -> None:
        world = World(PRODUCT)
        world.catalog.hold()
        process = world.process()
        for _ in range(1000):
            reader = begin(process.reader.read(FIVE))
            await turns(5)
            reader.cancel()

        world.catalog.release()

        assert (await process.reader.read(FIVE)).cached.product == PRODUCT
        assert world.catalog.calls == 1

    async def test_of_different_products_get_their_own(self) -> None:
        others = [PRODUCT, make.product(), make.product()]
        reader = World(*others).process().reader
        readings = await asyncio.gather(*(reader.read(product.id) for product in others))
        assert [reading.cached.product for reading in readings] == others

    async def test_of_different_products_do_not_wait_for_each_other(self) -> None:
        world = World(PRODUCT)
        process = world.process()
        world.catalog.hold()
        waiting = begin(process.reader.read(make.product_id()))
        await world.catalog.asked.wait()
        await world.known(PRODUCT)

        assert (await process.reader.read(FIVE)).served_from is ServedFrom.HIT

        world.catalog.release()
        with pytest.raises(ProductNotFound):
            await waiting


async def _asking(world: World, process: Process) -> "asyncio.Task[object]":
    """Return a reader of this process whose call is in progress."""
    calls = world.catalog.calls
    world.catalog.hold()
    task: asyncio.Task[object] = begin(process.reader.read(FIVE))
    await until(lambda: world.catalog.calls > calls)
    return task


class TestReadersOfSeveralProcesses:
    async def test_make_one_call(self) -> None:
        world = World(PRODUCT)
        world.catalog.hold()
        processes = [world.process(), world.process()]
        readers = [begin(process.reader.read(FIVE)) for _ in range(100) for process in processes]
        await world.catalog.asked.wait()
        await turns()

        world.catalog.release()
        readings = await asyncio.gather(*readers)

        assert world.catalog.calls == 1
        assert {reading.cached.product for reading in readings} == {PRODUCT}
        assert sum(not reading.collapsed for reading in readings) == 1

    async def test_wait_with_pauses_that_grow(self) -> None:
        world = World(PRODUCT)
        asking = await _asking(world, world.process())
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 6:
                world.catalog.release()
            await turns()

        await world.process(sleep=sleep).reader.read(FIVE)
        await asking

        for pause, most in zip(pauses, (0.025, 0.05, 0.1, 0.2, 0.2, 0.2), strict=True):
            assert most / 2 <= pause <= most

    async def test_fail_at_once_if_the_holder_of_the_lease_fails(self) -> None:
        world = World(PRODUCT)
        asking = await _asking(world, world.process())
        waiting = begin(world.process().reader.read(FIVE))
        await turns()

        world.catalog.down = True
        world.catalog.release()

        with pytest.raises(CatalogUnavailable):
            await waiting
        with pytest.raises(CatalogUnavailable):
            await asking
        assert world.catalog.calls == 1
        assert world.clock() < make.NOW + POLICY.lease

    async def test_find_the_stored_absence(self) -> None:
        world = World()
        asking = await _asking(world, world.process())
        waiting = begin(world.process().reader.read(FIVE))
        await turns()

        world.catalog.release()

        with pytest.raises(ProductNotFound):
            await waiting
        with pytest.raises(ProductNotFound):
            await asking
        assert world.catalog.calls == 1

    async def test_take_over_when_the_lease_ends(self) -> None:
        world = World(PRODUCT)
        await world.leased(FIVE, until=world.clock() + POLICY.lease)

        reading = await world.process().reader.read(FIVE)

        assert reading.cached.product == PRODUCT
        assert not reading.collapsed
        assert world.clock() - make.NOW < POLICY.lease + make.SECOND

    async def test_give_up_when_two_leases_have_ended(self) -> None:
        world = World(PRODUCT)
        slept = 0

        async def another_process_takes_the_lease(_: float) -> None:
            nonlocal slept
            slept += 1
            world.clock.advance(POLICY.lease)
            await world.leased(FIVE, until=world.clock() + POLICY.lease)

        await world.leased(FIVE, until=world.clock() + POLICY.lease)
        process = world.process(sleep=another_process_takes_the_lease)
        with pytest.raises(CatalogUnavailable) as failure:
            await process.reader.read(FIVE)
        assert slept == 2
        assert failure.value.retry_after == POLICY.lease

    async def test_give_up_after_two_leases(self) -> None:
        world = World(PRODUCT)

        async def others_take_over_and_die(seconds: float) -> None:
            await world.clock.sleep(seconds)
            world.clock.advance(POLICY.lease)
            await world.leased(FIVE, until=world.clock() + POLICY.lease)

        await world.leased(FIVE, until=world.clock() + POLICY.lease)
        with pytest.raises(CatalogUnavailable):
            await world.process(sleep=others_take_over_and_die).reader.read(FIVE)
        assert world.catalog.calls == 0

    async def test_ignore_a_response_to_an_older_request(self) -> None:
        world = World(make.product(id=5, title="Old"))
        asking = await _asking(world, world.process())
        world.clock.advance(POLICY.lease)
        newer = make.product(id=5, title="New")
        await world.known(newer)

        world.catalog.release()

        await asking
        assert (await world.process().reader.read(FIVE)).cached.product == newer
