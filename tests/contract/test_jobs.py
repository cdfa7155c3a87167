"""The jobs that ask for the products of pending favorites."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest
from sqlalchemy import text

from app.domain.customer import Customer
from app.domain.favorite import Favorite
from app.domain.product import ProductId
from app.domain.repository import UnitOfWorkFactory
from app.domain.writes import AddOutcome, FavoriteLimits, FavoriteWrites, RestoreOutcome
from tests import make
from tests.contract.conftest import WaitingJobs
from tests.contract.favorites import add, add_rejected, added, stored_customer
from tests.double.storage import InMemoryStorage
from tests.make import LIMITS, NOW

TakeJobs: TypeAlias = Callable[[], Awaitable[None]]


@pytest.fixture
def take_jobs(uow: UnitOfWorkFactory, request: pytest.FixtureRequest) -> TakeJobs:
    """Return what takes all jobs off the queue, as a worker does."""

    async def take() -> None:
        if isinstance(uow, InMemoryStorage):
            uow.take_jobs()
            return
        async with request.getfixturevalue("postgres_engine").begin() as connection:
            await connection.execute(
                text("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE status = 'todo'")
            )

    return take


def pending(customer: Customer, product_id: ProductId | None = None) -> Favorite:
    return make.favorite(
        customer_id=customer.id, product_id=product_id or make.product_id(), when_favorited=None
    )


class TestJobs:
    async def test_are_enqueued_with_a_favorite_that_waits_for_the_catalog(
        self, uow: UnitOfWorkFactory, favorite_writes: FavoriteWrites, waiting_jobs: WaitingJobs
    ) -> None:
        customer = await stored_customer(uow)
        first, second = pending(customer), pending(customer)
        await add(favorite_writes, first, make.favorite(customer_id=customer.id), second)
        assert await waiting_jobs() == [first.product_id, second.product_id]

    async def test_are_not_enqueued_without_one(
        self, uow: UnitOfWorkFactory, favorite_writes: FavoriteWrites, waiting_jobs: WaitingJobs
    ) -> None:
        customer = await stored_customer(uow)
        confirmed = make.favorite(customer_id=customer.id)
        await add(favorite_writes, confirmed)
        none = FavoriteLimits(total=9, pending=0)
        for favorite, outcome in (
            (make.favorite(when_favorited=None), AddOutcome.NO_CUSTOMER),
            (pending(customer, confirmed.product_id), AddOutcome.PRESENT),
            (pending(customer), AddOutcome.TOO_MANY_PENDING),
        ):
            assert (await favorite_writes.add(favorite, limits=none)).outcome is outcome
        assert await waiting_jobs() == []

    async def test_are_enqueued_once_while_they_wait(
        self, uow: UnitOfWorkFactory, favorite_writes: FavoriteWrites, waiting_jobs: WaitingJobs
    ) -> None:
        product_id = make.product_id()
        for _ in range(2):
            favorite = pending(await stored_customer(uow), product_id)
            assert await favorite_writes.add(favorite, limits=LIMITS) == added(favorite)
        assert await waiting_jobs() == [product_id]

    async def test_are_enqueued_once_by_customers_side_by_side(
        self, uow: UnitOfWorkFactory, favorite_writes: FavoriteWrites, waiting_jobs: WaitingJobs
    ) -> None:
        product_ids = [make.product_id() for _ in range(3)]
        favorites = [
            pending(customer, product_id)
            for customer in [await stored_customer(uow) for _ in range(4)]
            for product_id in product_ids
        ]
        results = await asyncio.gather(
            *(favorite_writes.add(favorite, limits=LIMITS) for favorite in favorites)
        )
        assert results == [added(favorite) for favorite in favorites]
        assert sorted(await waiting_jobs()) == product_ids

    async def test_are_enqueued_in_a_batch_once_for_each_product(
        self, uow: UnitOfWorkFactory, favorite_writes: FavoriteWrites, waiting_jobs: WaitingJobs
    ) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        product_ids = [make.product_id() for _ in range(3)]
        await add(favorite_writes, pending(other, product_ids[1]))
        outcomes = await favorite_writes.change(
            one.id,
            add={product_id: pending(one, product_id) for product_id in product_ids[::-1]},
            now=NOW,
            limits=LIMITS,
        )
        assert outcomes == dict.fromkeys(product_ids, AddOutcome.ADDED)
        assert await waiting_jobs() == [product_ids[1], product_ids[0], product_ids[2]]

    async def test_are_enqueued_again_with_a_restored_favorite_that_waits(
        self,
        uow: UnitOfWorkFactory,
        favorite_writes: FavoriteWrites,
        waiting_jobs: WaitingJobs,
        take_jobs: TakeJobs,
    ) -> None:
        customer = await stored_customer(uow)
        rejected = await add_rejected(uow, favorite_writes, customer.id)
        confirmed, waits = make.favorite(customer_id=customer.id), pending(customer)
        await add(favorite_writes, confirmed, waits)
        await take_jobs()
        for _ in range(2):  # the second time its job is queued already
            for favorite in (rejected, confirmed, waits):
                await favorite_writes.remove(customer.id, favorite.product_id, now=NOW)
                assert (
                    await favorite_writes.restore(
                        customer.id, favorite.product_id, removed_since=NOW, limits=LIMITS
                    )
                    is RestoreOutcome.RESTORED
                )
            assert await waiting_jobs() == [waits.product_id]

    async def test_are_enqueued_again_once_they_were_taken(
        self,
        uow: UnitOfWorkFactory,
        favorite_writes: FavoriteWrites,
        waiting_jobs: WaitingJobs,
        take_jobs: TakeJobs,
    ) -> None:
        product_id = make.product_id()
        for _ in range(2):
            await add(favorite_writes, pending(await stored_customer(uow), product_id))
            assert await waiting_jobs() == [product_id]
            await take_jobs()
