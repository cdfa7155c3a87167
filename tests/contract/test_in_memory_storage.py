"""What the double promises besides the ports: it detects misuse that fails on PostgreSQL."""

import asyncio

import pytest

from app.domain.customer import CustomerId
from app.domain.outcome import StorageUnavailable
from tests import make
from tests.contract.favorites import add, stored_customer
from tests.contract.step import do, see
from tests.double.favorite_writes import InMemoryFavoriteWrites
from tests.double.storage import InMemoryStorage


@pytest.fixture
def storage() -> InMemoryStorage:
    return InMemoryStorage()


class TestInMemoryStorage:
    async def test_can_be_unavailable(self, storage: InMemoryStorage) -> None:
        customer = make.customer()
        await do(storage, lambda work: work.customers.add(customer))
        storage.available = False
        with pytest.raises(StorageUnavailable):
            await see(storage, lambda work: work.customers.get(customer.id))
        storage.available = True
        assert await see(storage, lambda work: work.customers.get(customer.id)) == customer

    async def test_shows_what_was_committed(self, storage: InMemoryStorage) -> None:
        customer = make.customer()
        async with storage() as work:
            await work.customers.add(customer)
            assert not storage.tables.customers
            await work.commit()
        assert storage.tables.customers == {customer.id: customer}
        storage.available = False
        with pytest.raises(StorageUnavailable):
            assert storage.tables.customers

    async def test_can_become_unavailable_before_the_commit(
        self, storage: InMemoryStorage
    ) -> None:
        customer = make.customer()
        async with storage() as work:
            await work.customers.add(customer)
            storage.available = False
            with pytest.raises(StorageUnavailable):
                await work.commit()
        storage.available = True
        assert await see(storage, lambda work: work.customers.get(customer.id)) is None

    async def test_hands_out_the_jobs_that_wait(self, storage: InMemoryStorage) -> None:
        writes, product_id = InMemoryFavoriteWrites(storage), make.product_id()
        for _ in range(2):  # once it was taken, it may be enqueued again
            customer = await stored_customer(storage)
            await add(
                writes,
                make.favorite(customer_id=customer.id, product_id=product_id, when_favorited=None),
            )
            assert storage.jobs == [product_id]
            assert storage.take_jobs() == [product_id]
            assert storage.jobs == []

    async def test_refuses_a_unit_of_work_that_was_not_entered(
        self, storage: InMemoryStorage
    ) -> None:
        with pytest.raises(RuntimeError):
            await storage().customers.get(make.customer_id())

    async def test_refuses_a_unit_of_work_that_was_left(self, storage: InMemoryStorage) -> None:
        async with storage() as work:
            pass
        with pytest.raises(RuntimeError):
            await work.customers.get(make.customer_id())

    async def test_refuses_to_share_a_unit_of_work_between_tasks(
        self, storage: InMemoryStorage
    ) -> None:
        async with storage() as work:
            results = await asyncio.gather(
                work.customers.get(make.customer_id()),
                work.customers.get(make.customer_id()),
                return_exceptions=True,
            )
        assert [type(result) for result in results] == [RuntimeError, RuntimeError]

    async def test_refuses_to_wait_for_another_unit_of_the_same_task(
        self, storage: InMemoryStorage
    ) -> None:
        customer = make.customer()
        await do(storage, lambda work: work.customers.add(customer))
        async with storage() as outer:
            await outer.customers.lock(customer.id)
            with pytest.raises(RuntimeError, match="Deadlock"):
                await do(storage, lambda inner: inner.customers.lock(customer.id))

    async def test_refuses_a_deadlock_of_two_tasks(self, storage: InMemoryStorage) -> None:
        one, other = make.customer(), make.customer()
        async with storage() as work:
            await work.customers.add(one)
            await work.customers.add(other)
            await work.commit()

        async def lock(*ordered: CustomerId) -> None:
            async with storage() as work:
                for customer_id in ordered:
                    await work.customers.lock(customer_id)
                    await asyncio.sleep(0)  # the other one locks its first meanwhile

        results = await asyncio.gather(
            lock(one.id, other.id), lock(other.id, one.id), return_exceptions=True
        )
        assert sorted(type(result).__name__ for result in results) == ["NoneType", "RuntimeError"]

    async def test_leaves_no_lock_behind_a_task_that_was_cancelled(
        self, storage: InMemoryStorage
    ) -> None:
        customer = make.customer()
        await do(storage, lambda work: work.customers.add(customer))
        async with storage() as holding:
            await holding.customers.lock(customer.id)
            waiting = asyncio.create_task(
                do(storage, lambda work: work.customers.lock(customer.id))
            )
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await do(storage, lambda work: work.customers.lock(customer.id)) == customer
