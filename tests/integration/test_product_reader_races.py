"""Several processes, each with connections of its own, race for one catalog on PostgreSQL."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.outcome import CatalogUnavailable, ProductNotFound
from app.domain.product import CachedProduct, ProductId, ProductQuery, ServedFrom
from app.domain.repository import UnitOfWorkFactory
from app.infra.postgres.engine import sessions_of
from app.infra.postgres.queries import PostgresQueries
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from app.infra.task_manager import TaskManager
from tests import make
from tests.database import PATIENT, patient_engine, postgres_pool
from tests.double.catalog import StubCatalog
from tests.double.clock import ManualClock
from tests.readers import Readers, readers

pytestmark = pytest.mark.postgres

POLICY = make.CACHE_POLICY
STALE = POLICY.soft_ttl + make.SECOND
EXPIRED = POLICY.hard_ttl + make.SECOND
PRODUCTS = tuple(make.product(id=number) for number in range(1, 21))
FIVE = ProductId(5)


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Processes that share a database and a catalog; time stands still unless it is advanced."""

    readers: Sequence[Readers]
    catalog: StubCatalog
    clock: ManualClock
    uow: UnitOfWorkFactory

    async def known(self, *, age: timedelta) -> None:
        """Store copies of all products that have an age."""
        async with self.uow() as work:
            asked_at = self.clock() - age
            await work.products.store(PRODUCTS, asked_at=asked_at)
            await work.products.note_complete_list([p.id for p in PRODUCTS], asked_at=asked_at)
            await work.commit()

    async def row(self, product_id: ProductId) -> object:
        """Return what the database holds."""
        async with self.uow() as work:
            return await work.products.get(product_id)

    async def at_rest(self) -> None:
        """Wait until no background task is left."""
        while any(task.get_name().startswith(("product ", "catalog")) for task in _others()):
            await asyncio.wait(_others(), return_when=asyncio.FIRST_COMPLETED)


def _others() -> set["asyncio.Task[object]"]:
    return asyncio.all_tasks() - {t for t in [asyncio.current_task()] if t}


@pytest_asyncio.fixture
async def processes(
    postgres_engine: AsyncEngine, postgres_uow: UnitOfWorkFactory, database_url: str
) -> AsyncGenerator[Processes]:
    catalog, clock = StubCatalog(*PRODUCTS), ManualClock()
    async with AsyncExitStack() as stack:
        built = []
        for _ in range(2):
            engine = patient_engine(database_url, pool_size=5)
            stack.push_async_callback(engine.dispose)
            tasks = TaskManager(limit=64, grace=timedelta(seconds=10))
            pool = await stack.enter_async_context(postgres_pool(database_url, size=2))
            queries = PostgresQueries(pool, ProductRowCache(pool.fetch), patience=PATIENT)
            stack.push_async_callback(queries.aclose)
            built.append(
                readers(
                    uow=partial(PostgresUnitOfWork, sessions_of(engine), budget=PATIENT),
                    queries=queries,
                    catalog=catalog,
                    tasks=await stack.enter_async_context(tasks),
                    clock=clock,
                )
            )
        yield Processes(readers=built, catalog=catalog, clock=clock, uow=postgres_uow)


class TestRacesOfReaders:
    @pytest.mark.parametrize("age", [None, EXPIRED], ids=["cold", "expired"])
    async def test_for_a_product_that_has_to_be_fetched_make_one_call(
        self, processes: Processes, age: timedelta | None
    ) -> None:
        if age is not None:
            await processes.known(age=age)
        processes.catalog.hold()
        reads = [
            asyncio.ensure_future(reader.products.read(FIVE))
            for _ in range(100)
            for reader in processes.readers
        ]
        await processes.catalog.asked.wait()

        processes.catalog.release()
        readings = await asyncio.gather(*reads)

        assert processes.catalog.calls == 1
        assert {reading.cached.product for reading in readings} == {PRODUCTS[4]}
        assert {reading.stale for reading in readings} == {False}

    async def test_for_a_stale_product_are_all_answered_from_the_row(
        self, processes: Processes
    ) -> None:
        await processes.known(age=STALE)
        processes.catalog.hold()

        readings = await asyncio.gather(
            *(reader.products.read(FIVE) for _ in range(100) for reader in processes.readers)
        )

        assert {r.served_from for r in readings} == {ServedFrom.STALE_WHILE_REVALIDATE}
        await processes.catalog.asked.wait()
        processes.catalog.release()
        await processes.at_rest()
        assert processes.catalog.calls == 1
        assert await processes.row(FIVE) == make.cached_product(product=PRODUCTS[4])

    async def test_for_different_products_make_one_call_each(self, processes: Processes) -> None:
        readings = await asyncio.gather(
            *(
                reader.products.read(product.id)
                for product in PRODUCTS
                for _ in range(5)
                for reader in processes.readers
            )
        )

        assert len(readings) == 200
        assert sorted(processes.catalog.found) == [product.id for product in PRODUCTS]

    async def test_for_a_product_that_does_not_exist_make_one_call(
        self, processes: Processes
    ) -> None:
        processes.catalog.hold()
        reads = [
            asyncio.ensure_future(reader.products.read(ProductId(404)))
            for _ in range(100)
            for reader in processes.readers
        ]
        await processes.catalog.asked.wait()

        processes.catalog.release()
        outcomes = await asyncio.gather(*reads, return_exceptions=True)

        assert {type(outcome) for outcome in outcomes} == {ProductNotFound}
        assert processes.catalog.calls == 1

    async def test_in_an_outage_make_one_call(self, processes: Processes) -> None:
        processes.catalog.down = True

        outcomes = await asyncio.gather(
            *(reader.products.read(FIVE) for _ in range(500) for reader in processes.readers),
            return_exceptions=True,
        )

        assert {type(outcome) for outcome in outcomes} == {CatalogUnavailable}
        assert processes.catalog.calls == 1

    async def test_that_disconnect_leave_the_response_to_the_others(
        self, processes: Processes
    ) -> None:
        processes.catalog.hold()
        reads = [
            asyncio.ensure_future(reader.products.read(FIVE))
            for _ in range(100)
            for reader in processes.readers
        ]
        await processes.catalog.asked.wait()

        for read in reads[:-2]:
            read.cancel()
        processes.catalog.release()
        outcomes = await asyncio.gather(*reads, return_exceptions=True)

        assert [getattr(o, "cached", None) is not None for o in outcomes[-2:]] == [True, True]
        assert processes.catalog.calls == 1

    @pytest.mark.parametrize("age", [None, EXPIRED], ids=["cold", "expired"])
    async def test_for_the_whole_catalog_make_one_call(
        self, processes: Processes, age: timedelta | None
    ) -> None:
        if age is not None:
            await processes.known(age=age)

        readings = await asyncio.gather(
            *(
                reader.catalog.list_page(ProductQuery())
                for _ in range(50)
                for reader in processes.readers
            )
        )

        assert processes.catalog.calls == processes.catalog.listed == 1
        for reading in readings:
            assert [item.product for item in reading.page.items] == list(PRODUCTS)

    async def test_for_favorites_make_one_call_for_everything(self, processes: Processes) -> None:
        await processes.known(age=STALE)
        rows = [await processes.row(product.id) for product in PRODUCTS]
        copies = [row for row in rows if isinstance(row, CachedProduct)]
        assert len(copies) == len(PRODUCTS)

        for _ in range(50):
            for reader in processes.readers:
                reader.products.refresh_soon(copies)
        await processes.at_rest()

        assert processes.catalog.calls == processes.catalog.listed == 1
        assert await processes.row(FIVE) == make.cached_product(product=PRODUCTS[4])
