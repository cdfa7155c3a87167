"""Behind a real PgBouncer in transaction mode, with what the profile `scale` has."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.outcome import StorageUnavailable
from app.domain.repository import UnitOfWorkFactory
from app.infra.postgres.engine import connector, create_engine, sessions_of
from app.infra.postgres.migrate import upgrade
from app.infra.postgres.schema import schema_at_head
from app.infra.postgres.statement_pool import PLANNED_ONCE, StatementPool
from app.infra.postgres.transaction import Transaction
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from tests import make
from tests.contract import (
    test_customers,
    test_favorite_changes,
    test_favorites,
    test_jobs,
    test_products,
    test_queries,
    test_unit_of_work,
)
from tests.contract.conftest import (
    WaitingJobs,
    favorite_writes,
    queries,
    row_cache,
    sign_in_writes,
)
from tests.contract.test_jobs import take_jobs
from tests.database import PATIENT
from tests.integration.service.harness import running_service, until
from tests.integration.service.people import People, employ
from tests.pooler import FEW, SHIPPED, SHIPPED_MS, Pooler, running_pooler

pytestmark = pytest.mark.postgres

HASTE = timedelta(seconds=1)
"""What a pooler that is shorter of patience than a migration gives a statement."""

# Fixtures, which use the storage and the pool of this module.
__all__ = ["favorite_writes", "queries", "row_cache", "sign_in_writes", "take_jobs"]

# The number of app/infra/postgres/migration/env.py.
ADVISORY_LOCK = 7_046_029_254_386_353_131


@pytest.fixture(scope="module")
def pooler(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Pooler]:
    """Return a running pooler in front of the server of the tests."""
    with running_pooler(tmp_path_factory.mktemp("pgbouncer"), database_url) as pooler:
        yield pooler


@asynccontextmanager
async def engine_behind(
    pooler: Pooler, database_url: str, *, patience: timedelta = PATIENT
) -> AsyncGenerator[AsyncEngine]:
    """Make an engine as the service does behind a pooler."""
    engine = create_engine(
        pooler.url(database_url),
        pool_size=20,
        patience=patience,
        statement_timeout=patience,
        transaction_pooler=True,
    )
    try:
        yield engine
    finally:
        await engine.dispose()


@pytest_asyncio.fixture
async def engine(
    pooler: Pooler,
    database_url: str,
    postgres_engine: AsyncEngine,  # empties the database afterwards
) -> AsyncGenerator[AsyncEngine]:
    async with engine_behind(pooler, database_url) as engine:
        yield engine


@pytest.fixture
def uow(engine: AsyncEngine) -> UnitOfWorkFactory:
    """Return storage behind the pooler; it has to keep the promises that storage keeps."""
    return partial(PostgresUnitOfWork, sessions_of(engine), budget=PATIENT)


@pytest_asyncio.fixture
async def pool(pooler: Pooler, database_url: str) -> AsyncGenerator[StatementPool]:
    """Return a statement pool behind the pooler."""
    connect = connector(
        pooler.url(database_url),
        patience=PATIENT,
        statement_timeout=PATIENT,
        transaction_pooler=True,
        settings=PLANNED_ONCE,
    )
    pool = StatementPool(connect, size=4, transaction_pooler=True)
    yield pool
    await pool.aclose()


@pytest.fixture
def waiting_jobs(postgres_waiting_jobs: WaitingJobs) -> WaitingJobs:
    """Return what reads the queued jobs, past the pooler."""
    return postgres_waiting_jobs


class TestUnitsOfWork(test_unit_of_work.TestUnitOfWork):
    pass


class TestFavorites(test_favorites.TestFavorites):
    pass


class TestPendingFavorites(test_favorites.TestPendingFavorites):
    pass


class TestStoringProducts(test_products.TestStoringProducts):
    pass


class TestLeases(test_products.TestLeases):
    pass


class TestListedProducts(test_products.TestListedProducts):
    pass


class TestListedCustomers(test_customers.TestListedCustomers):
    pass


class TestReadsOfOneList(test_queries.TestReadsOfOneList):
    pass


class TestReadsForASession(test_queries.TestReadsForASession):
    pass


class TestFavoriteChanges(test_favorite_changes.TestChanges):
    pass


class TestPagesOfFavorites(test_favorites.TestPagesOfFavorites):
    pass


class TestJobs(test_jobs.TestJobs):
    pass


async def look(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        assert await work.customers.get(make.customer_id()) is None


class TestSessions:
    async def test_share_few_connections_to_the_server(
        self, uow: UnitOfWorkFactory, database_url: str
    ) -> None:
        customers = [make.customer() for _ in range(60)]

        async def add(number: int) -> None:
            async with uow() as work:
                await work.customers.add(customers[number])
                assert await work.customers.get(customers[number].id) == customers[number]
                await work.commit()

        await asyncio.gather(*(add(number) for number in range(len(customers))))
        with psycopg.connect(database_url) as direct:
            (found,) = direct.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND application_name = 'favorites'"
            ).fetchone() or (0,)
        assert 0 < found <= FEW

    async def test_leave_nothing_prepared_on_them(
        self, uow: UnitOfWorkFactory, engine: AsyncEngine
    ) -> None:
        for _ in range(3):
            await asyncio.gather(*(look(uow) for _ in range(20)))
        # A transaction each, all at once: every connection to the server tells of itself.
        connections = [await engine.connect() for _ in range(FEW)]
        try:
            prepared = await asyncio.gather(
                *(
                    connection.execute(text("SELECT statement FROM pg_prepared_statements"))
                    for connection in connections
                )
            )
            assert [each.scalars().all() for each in prepared] == [[]] * FEW
        finally:
            for connection in connections:
                await connection.close()

    async def test_have_the_settings_of_the_configuration(self, engine: AsyncEngine) -> None:
        names = ("statement_timeout", "idle_in_transaction_session_timeout", "jit")
        async with engine.connect() as connection:
            shown = [
                (await connection.execute(text(f"SHOW {name}"))).scalar_one() for name in names
            ]
        assert shown == ["30s", "30s", "off"]
        # Here they are longer, so that nothing fails because the machine is busy.
        assert SHIPPED.read_text(encoding="utf-8").count(f"= {SHIPPED_MS};") == 2

    async def test_do_not_keep_a_statement_that_takes_too_long(
        self, pooler: Pooler, database_url: str, engine: AsyncEngine
    ) -> None:
        async with engine_behind(
            pooler, database_url, patience=timedelta(milliseconds=300)
        ) as impatient:
            transaction = Transaction(sessions_of(impatient), budget=timedelta(milliseconds=300))
            with pytest.raises(StorageUnavailable):
                await transaction.sql(text("SELECT pg_sleep(3600) AS endless"))
            await transaction.close()

        async def ended() -> bool:
            async with engine.connect() as connection:
                running = await connection.execute(
                    text(
                        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
                        " AND pid <> pg_backend_pid() AND query LIKE '%AS endless%'"
                    )
                )
                return bool(running.scalar_one() == 0)

        await until(ended, what="the end of the statement on the server")

    async def test_can_be_migrated(self, pooler: Pooler, new_database: Callable[..., str]) -> None:
        url = new_database()
        await asyncio.to_thread(upgrade, pooler.url(url))
        async with engine_behind(pooler, url) as engine:
            assert await schema_at_head(engine)

    async def test_lets_a_migration_wait_for_another(
        self, database_url: str, new_database: Callable[..., str], tmp_path: Path
    ) -> None:
        url = new_database()
        with running_pooler(tmp_path, database_url, statement_timeout=HASTE) as hasty:
            first = await psycopg.AsyncConnection.connect(url, autocommit=True)
            async with first, asyncio.TaskGroup() as tasks:
                await first.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
                second = tasks.create_task(asyncio.to_thread(upgrade, hasty.url(url)))

                async def waited_for_longer() -> bool:
                    assert not second.done()
                    found = await first.execute(
                        "SELECT FROM pg_stat_activity WHERE wait_event = 'advisory'"
                        " AND datname = current_database()"
                        " AND clock_timestamp() - query_start > 2 * %s",
                        [HASTE],
                    )
                    return bool(found.rowcount)

                await until(waited_for_longer, what="a wait beyond the pooler's time limit")
                await first.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_LOCK])
        engine = create_engine(url)
        assert await schema_at_head(engine)
        await engine.dispose()


class TestOutage:
    async def test_of_the_pooler_is_over_when_it_is_back(
        self, pooler: Pooler, uow: UnitOfWorkFactory
    ) -> None:
        await asyncio.gather(*(look(uow) for _ in range(20)))
        pooler.kill()
        try:
            refused = await asyncio.gather(*(look(uow) for _ in range(20)), return_exceptions=True)
            assert {type(each) for each in refused} == {StorageUnavailable}
        finally:
            pooler.start()
        await asyncio.gather(*(look(uow) for _ in range(20)))

    async def test_of_the_connections_to_the_server_is_over_at_once(
        self, pooler: Pooler, uow: UnitOfWorkFactory, database_url: str
    ) -> None:
        await asyncio.gather(*(look(uow) for _ in range(20)))
        with psycopg.connect(database_url, autocommit=True) as direct:
            direct.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

        async def served() -> bool:
            try:
                await asyncio.gather(*(look(uow) for _ in range(20)))
            except StorageUnavailable:
                return False
            return True

        await until(served, what="being served again")


class TestService:
    async def test_serves_behind_it_and_outlives_it(
        self, pooler: Pooler, new_database: Callable[..., str], tmp_path: Path
    ) -> None:
        database_url = new_database(migrated=True)
        with running_service(
            tmp_path,
            pooler.url(database_url),
            servers=(2,),
            DATABASE_TRANSACTION_POOLER="true",
            # Crowds are answered, however busy the machine is.
            DATABASE_POOL_TIMEOUT="15",
            REFRESH_LEASE="20",
        ) as service:
            product_id = service.store.new_product()
            async with People(service, employ(database_url, [])) as people:
                customers = [await people.customer() for _ in range(5)]
                paths = ["/customers/me/favorites", f"/products/{product_id}", "/health/ready"]

                async def statuses() -> set[int]:
                    answers = await asyncio.gather(
                        *(each.client.get(path) for each in customers for path in paths)
                    )
                    return {answer.status_code for answer in answers}

                added = await asyncio.gather(
                    *(
                        each.client.put(f"/customers/me/favorites/{product_id}")
                        for each in customers
                    )
                )
                assert {answer.status_code for answer in added} == {201}
                assert await statuses() == {200}
                pooler.kill()
                try:
                    assert await statuses() == {503}
                finally:
                    pooler.start()

                async def served() -> bool:
                    return await statuses() == {200}

                await until(served, what="being served again")
