"""How the writes to favorites behave while another transaction has locked a list."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.customer import CustomerId
from app.domain.favorite import Favorite
from app.domain.outcome import StorageUnavailable
from app.domain.product import ProductId
from app.domain.repository import UnitOfWorkFactory
from app.domain.writes import AddOutcome, FavoriteWrites, RemoveOutcome
from app.infra.postgres.favorite_writes import LOCK_WAITS_MAX, PostgresFavoriteWrites
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.statement_pool import StatementPool
from tests import make
from tests.database import PATIENT, postgres_pool
from tests.make import LIMITS, NOW

BRIEFLY = timedelta(milliseconds=200)
PRODUCT = ProductId(5)

WAITING_CALLS: dict[str, Callable[[FavoriteWrites, CustomerId], Awaitable[object]]] = {
    "add": lambda w, id_: w.add(make.favorite(customer_id=id_), limits=LIMITS),
    "remove": lambda w, id_: w.remove(id_, PRODUCT, now=NOW),
    "restore": lambda w, id_: w.restore(id_, PRODUCT, removed_since=NOW, limits=LIMITS),
    "change": lambda w, id_: w.change(id_, add={}, remove=[PRODUCT], now=NOW, limits=LIMITS),
    "enter_catalog_changes": lambda w, id_: w.enter_catalog_changes(id_),
}


@asynccontextmanager
async def writes_on(
    pool: StatementPool, *, patience: timedelta = PATIENT
) -> AsyncGenerator[FavoriteWrites]:
    writes = PostgresFavoriteWrites(pool, ProductRowCache(pool.fetch), patience=patience)
    yield writes
    await writes.aclose()


@pytest_asyncio.fixture
async def pool(database_url: str, postgres_engine: AsyncEngine) -> AsyncGenerator[StatementPool]:
    # One connection more than calls that wait, and one for a shared call.
    async with postgres_pool(database_url, size=LOCK_WAITS_MAX + 1) as pool:
        yield pool


async def stored_customer(uow: UnitOfWorkFactory) -> CustomerId:
    customer = make.customer()
    async with uow() as work:
        await work.customers.add(customer)
        await work.commit()
    return customer.id


@asynccontextmanager
async def locked_list(engine: AsyncEngine, customer_id: CustomerId) -> AsyncGenerator[None]:
    """Lock a list, which is created if there is none, until the end of the block."""
    async with engine.begin() as connection:
        await connection.execute(
            text("SELECT lock_favorite_lists(ARRAY[CAST(:id AS uuid)], true)"), {"id": customer_id}
        )
        yield


@pytest.mark.parametrize("exists", [False, True])
class TestLockedLists:
    async def owner(
        self, uow: UnitOfWorkFactory, writes: FavoriteWrites, *, exists: bool
    ) -> CustomerId:
        """Store a customer, with a favorite or without a list."""
        customer_id = await stored_customer(uow)
        if exists:
            favorite = make.favorite(customer_id=customer_id, product_id=PRODUCT)
            await writes.add(favorite, limits=LIMITS)
        return customer_id

    async def test_do_not_delay_calls_for_other_customers(
        self,
        postgres_uow: UnitOfWorkFactory,
        postgres_engine: AsyncEngine,
        pool: StatementPool,
        exists: bool,
    ) -> None:
        async with writes_on(pool) as writes:
            busy = await self.owner(postgres_uow, writes, exists=exists)
            free = await self.owner(postgres_uow, writes, exists=exists)
            async with locked_list(postgres_engine, busy):
                waiting = [
                    asyncio.create_task(writes.add(make.favorite(customer_id=busy), limits=LIMITS))
                    for _ in range(3 * LOCK_WAITS_MAX)
                ]
                for _ in range(3):
                    favorite = make.favorite(customer_id=free)
                    result = await writes.add(favorite, limits=LIMITS)
                    assert result.outcome is AddOutcome.ADDED
                    outcome = await writes.remove(free, favorite.product_id, now=NOW)
                    assert outcome is RemoveOutcome.REMOVED
                assert not any(task.done() for task in waiting)
            results = await asyncio.gather(*waiting)
            assert {result.outcome for result in results} == {AddOutcome.ADDED}
        async with postgres_uow() as work:
            assert await work.popularity.reconcile() == 0

    async def test_are_an_outage_if_they_stay_locked(
        self,
        postgres_uow: UnitOfWorkFactory,
        postgres_engine: AsyncEngine,
        pool: StatementPool,
        exists: bool,
    ) -> None:
        async with writes_on(pool) as patient, writes_on(pool, patience=BRIEFLY) as writes:
            customer_id = await self.owner(postgres_uow, patient, exists=exists)
            calls = {
                name: call
                for name, call in WAITING_CALLS.items()
                # Without favorites there is nothing to remove, and so nothing to lock.
                if exists or name != "remove"
            }
            async with locked_list(postgres_engine, customer_id):
                for call in calls.values():
                    with pytest.raises(StorageUnavailable):
                        await call(writes, customer_id)
            for call in calls.values():
                await call(writes, customer_id)

    async def test_are_not_waited_for_without_anything_to_change(
        self,
        postgres_uow: UnitOfWorkFactory,
        postgres_engine: AsyncEngine,
        pool: StatementPool,
        exists: bool,
    ) -> None:
        async with writes_on(pool) as writes:
            customer_id = await self.owner(postgres_uow, writes, exists=exists)
            new: Favorite = make.favorite(customer_id=customer_id)
            stored = make.favorite(customer_id=customer_id, product_id=PRODUCT)
            async with locked_list(postgres_engine, customer_id):
                rehearsed = await writes.change(
                    customer_id,
                    add={new.product_id: new, PRODUCT: stored},
                    now=NOW,
                    limits=LIMITS,
                    dry_run=True,
                )
                removed = await writes.remove(customer_id, new.product_id, now=NOW)
                if exists:
                    present = await writes.add(stored, limits=LIMITS)
                    assert present.outcome is AddOutcome.PRESENT
        assert rehearsed == {
            new.product_id: AddOutcome.ADDED,
            PRODUCT: AddOutcome.PRESENT if exists else AddOutcome.ADDED,
        }
        assert removed is RemoveOutcome.ABSENT


class TestReleaseBefore:
    async def test_adds_favorites_at_the_same_time(
        self, postgres_uow: UnitOfWorkFactory, pool: StatementPool
    ) -> None:
        customer_ids = [await stored_customer(postgres_uow) for _ in range(6)]
        product_ids = [make.product_id() for _ in range(5)]

        async def add_as_before(product_id: ProductId) -> int:
            """Add a favorite of each customer by the function of revision 0006."""
            n = len(customer_ids)
            rows = await pool.fetch(
                "SELECT added FROM add_favorites("
                "$1, $2, NULL, $3, $4::text[]::xid[], $5, $6, $7, $8, $9, $10, 100)",
                customer_ids,
                [None] * n,
                [product_id] * n,
                [None] * n,
                [NOW] * n,
                ["A ring"] * n,
                [make.product().price] * n,
                ["ring.jpg"] * n,
                [None] * n,
                [None] * n,
            )
            return sum(added for (added,) in rows)

        async with writes_on(pool) as writes:
            # The function of before leaves out customers without a list.
            for customer_id in customer_ids:
                await writes.enter_catalog_changes(customer_id)

            async def add_all(product_id: ProductId) -> int:
                results = await asyncio.gather(
                    *(
                        writes.add(
                            make.favorite(customer_id=customer_id, product_id=product_id),
                            limits=LIMITS,
                        )
                        for customer_id in customer_ids
                    )
                )
                return sum(result.outcome is AddOutcome.ADDED for result in results)

            added = await asyncio.gather(
                *(
                    add(product_id)
                    for product_id in (*product_ids, *product_ids[::-1])
                    for add in (add_as_before, add_all)
                )
            )
        assert sum(added) == len(customer_ids) * len(product_ids)
        rows = await pool.fetch("SELECT version, size FROM favorite_lists")
        assert [tuple(row) for row in rows] == [(5, 5)] * len(customer_ids)
        async with postgres_uow() as work:
            assert await work.popularity.reconcile() == 0
