"""Units of work and queries while the database is unreachable, and when it is back."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.customer import CustomerQuery
from app.domain.outcome import StorageUnavailable
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.infra.postgres.engine import connector, create_engine, sessions_of
from app.infra.postgres.migrate import upgrade
from app.infra.postgres.queries import PostgresQueries
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.schema import schema_at_head
from app.infra.postgres.statement_pool import PLANNED_ONCE, StatementPool
from app.infra.postgres.transaction import Transaction
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from development.postgres import EmbeddedPostgres, StopMode
from tests import make
from tests.database import PATIENT
from tests.integration.postgres.wire import Wire

SOON = timedelta(seconds=1)
"""The time limit for a server that does not respond; one that does gets more time."""

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def own_server() -> Generator[EmbeddedPostgres]:
    """Return a server that a test may stop; it is embedded in any case."""
    with EmbeddedPostgres.temporary() as server:
        server.create_database("outage_test")
        upgrade(server.url("outage_test"))
        yield server


@asynccontextmanager
async def engine_on(
    url: str, *, pool_size: int = 5, patience: timedelta = PATIENT
) -> AsyncGenerator[AsyncEngine]:
    engine = create_engine(url, pool_size=pool_size, patience=patience, statement_timeout=patience)
    try:
        yield engine
        pool = engine.pool
        assert pool.checkedout() == 0, pool.status()  # type: ignore[attr-defined]  # of QueuePool
    finally:
        await engine.dispose()


def units_on(engine: AsyncEngine, *, patience: timedelta = PATIENT) -> UnitOfWorkFactory:
    sessions = sessions_of(engine)
    return lambda: PostgresUnitOfWork(sessions, budget=patience)


async def look(uow: UnitOfWorkFactory) -> None:
    async with uow() as work:
        assert await work.customers.get(make.customer_id()) is None


async def fill(uow: UnitOfWorkFactory, connections: int) -> None:
    """Open this many connections of the pool."""
    units = [uow() for _ in range(connections)]
    for unit in units:
        await unit.__aenter__()
        await unit.customers.get(make.customer_id())
    for unit in units:
        await unit.__aexit__(None, None, None)


class TestServerThatStops:
    @pytest.mark.parametrize("mode", [StopMode.FAST, StopMode.IMMEDIATE])
    async def test_is_unavailable_until_it_is_back(
        self, own_server: EmbeddedPostgres, mode: StopMode
    ) -> None:
        async with engine_on(own_server.url("outage_test")) as engine:
            uow = units_on(engine)
            await fill(uow, 5)
            await asyncio.to_thread(own_server.stop, mode)
            try:
                for _ in range(6):
                    with pytest.raises(StorageUnavailable):
                        await look(uow)
                with pytest.raises(StorageUnavailable):
                    await schema_at_head(engine)
            finally:
                await asyncio.to_thread(own_server.start)
            # At the first attempt, with any connection of the pool.
            await fill(uow, 5)
            assert await schema_at_head(engine)

    async def test_takes_along_what_was_not_committed(self, own_server: EmbeddedPostgres) -> None:
        customer = make.customer()
        async with engine_on(own_server.url("outage_test")) as engine:
            uow = units_on(engine)
            async with uow() as work:
                await work.customers.add(customer)
                await asyncio.to_thread(own_server.restart)
                with pytest.raises(StorageUnavailable):
                    await work.commit()
                with pytest.raises(StorageUnavailable):
                    await work.customers.get(customer.id)
            async with uow() as work:
                assert await work.customers.get(customer.id) is None


class TestConnectionThatEnds:
    async def test_is_an_outcome_of_the_unit_that_had_it(
        self, postgres_uow: UnitOfWorkFactory, postgres_engine: AsyncEngine, database_url: str
    ) -> None:
        async with postgres_uow() as work:
            await work.customers.get(make.customer_id())
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute("""
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'favorites'
                """)
            with pytest.raises(StorageUnavailable):
                await work.customers.add(make.customer())
        await look(postgres_uow)


class TestServerThatIsSilent:
    async def test_ends_every_wait(self, database_url: str) -> None:
        async with Wire(database_url) as wire, engine_on(wire.url, patience=SOON) as engine:
            uow = units_on(engine, patience=SOON)
            await fill(uow, 2)
            wire.hold()
            # With an open connection, with another one, and with a new one.
            for _ in range(3):
                with pytest.raises(StorageUnavailable):
                    await look(uow)
            with pytest.raises(StorageUnavailable):
                await schema_at_head(engine)
            wire.release()
            await look(uow)

    async def test_ends_a_wait_in_the_middle_of_a_unit(self, database_url: str) -> None:
        async with Wire(database_url) as wire, engine_on(wire.url, patience=SOON) as engine:
            uow = units_on(engine, patience=SOON)
            async with uow() as work:
                await work.customers.add(make.customer())
                wire.hold()
                with pytest.raises(StorageUnavailable):
                    await work.commit()
            # Leaving without a commit sends a rollback, which gets no response either.
            wire.release()
            async with uow() as work:
                await work.customers.get(make.customer_id())
                wire.hold()
            wire.release()
            await look(uow)

    async def test_loses_no_connection_by_callers_that_hang_up(self, database_url: str) -> None:
        async with (
            Wire(database_url) as wire,
            engine_on(wire.url, pool_size=2, patience=SOON) as engine,
        ):
            uow = units_on(engine, patience=SOON)
            await fill(uow, 2)
            for _ in range(5):
                wire.hold()
                tasks = [asyncio.ensure_future(look(uow)) for _ in range(4)]
                await asyncio.sleep(0.01)
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(result) for result in results} == {asyncio.CancelledError}
                wire.release()
                await fill(uow, 2)


@asynccontextmanager
async def queries_on(
    url: str, *, size: int = 2, patience: timedelta = PATIENT
) -> AsyncGenerator[PostgresQueries]:
    connect = connector(url, patience=patience, statement_timeout=patience, settings=PLANNED_ONCE)
    pool = StatementPool(connect, size=size)
    queries = PostgresQueries(pool, ProductRowCache(pool.fetch), patience=patience)
    try:
        yield queries
    finally:
        # Also a statement without callers, which hung up.
        await queries.aclose()
        await pool.aclose()
    assert pool.in_use == 0


READS: Sequence[Callable[[Queries], Awaitable[object]]] = (
    # Of queries that share statements, and of those that do not.
    lambda queries: queries.find_customer(make.customer_id()),
    lambda queries: queries.list_customers(CustomerQuery(limit=1)),
)


class TestQueries:
    @pytest.mark.parametrize("mode", [StopMode.FAST, StopMode.IMMEDIATE])
    @pytest.mark.parametrize("read", READS)
    async def test_are_unavailable_while_the_server_is_stopped(
        self,
        own_server: EmbeddedPostgres,
        mode: StopMode,
        read: Callable[[Queries], Awaitable[object]],
    ) -> None:
        async with queries_on(own_server.url("outage_test")) as queries:
            await asyncio.gather(*(read(queries) for _ in range(5)))
            await asyncio.to_thread(own_server.stop, mode)
            try:
                for _ in range(4):
                    with pytest.raises(StorageUnavailable):
                        await read(queries)
            finally:
                await asyncio.to_thread(own_server.start)
            # At the first attempt: closed connections are not used again.
            await asyncio.gather(*(read(queries) for _ in range(5)))

    @pytest.mark.parametrize("read", READS)
    async def test_wait_no_longer_than_their_patience_for_a_server_that_is_silent(
        self, database_url: str, read: Callable[[Queries], Awaitable[object]]
    ) -> None:
        async with (
            Wire(database_url) as wire,
            queries_on(wire.url, patience=SOON) as queries,
        ):
            await read(queries)
            wire.hold()
            # With an open connection, and with a new one.
            for _ in range(2):
                results = await asyncio.gather(
                    *(read(queries) for _ in range(5)), return_exceptions=True
                )
                assert {type(result) for result in results} == {StorageUnavailable}
            wire.release()
            await read(queries)

    @pytest.mark.parametrize("read", READS)
    async def test_lose_no_connection_by_callers_that_hang_up(
        self, database_url: str, read: Callable[[Queries], Awaitable[object]]
    ) -> None:
        async with Wire(database_url) as wire, queries_on(wire.url) as queries:
            await read(queries)
            for _ in range(3):
                wire.hold()
                tasks = [asyncio.ensure_future(read(queries)) for _ in range(4)]
                for _ in range(20):
                    # Until the statements are sent.
                    await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(result) for result in results} == {asyncio.CancelledError}
                wire.release()
                await asyncio.gather(*(read(queries) for _ in range(4)))


class TestStatementThatTakesLong:
    async def test_ends(self, database_url: str) -> None:
        async with engine_on(database_url, patience=SOON) as engine:
            # The limit of the server ends it; that of the transaction is longer.
            transaction = Transaction(sessions_of(engine), budget=timedelta(seconds=30))
            with pytest.raises(StorageUnavailable):
                await transaction.sql(text("SELECT pg_sleep(60)"))
            await transaction.close()


class TestPool:
    async def test_that_is_exhausted_is_unavailable(self, database_url: str) -> None:
        async with engine_on(database_url, pool_size=1, patience=SOON) as engine:
            uow = units_on(engine, patience=SOON)
            async with uow() as work:
                await work.customers.get(make.customer_id())
                with pytest.raises(StorageUnavailable):
                    await look(uow)
            await look(uow)


class TestConfiguration:
    def test_does_not_show_the_password(self) -> None:
        engine = create_engine("postgresql+asyncpg://me:secret@localhost/favorites")
        assert "secret" not in f"{engine!r} {engine.url!r}"

    @pytest.mark.parametrize("url", ["mysql://localhost/favorites", "localhost/favorites", ""])
    def test_refuses_the_url_of_something_else(self, url: str) -> None:
        with pytest.raises(ValueError, match="postgresql://"):
            create_engine(url)

    async def test_for_a_refused_user_is_unavailable(self, own_server: EmbeddedPostgres) -> None:
        url = own_server.url("no_such_database_test")
        async with engine_on(url) as engine:
            with pytest.raises(StorageUnavailable):
                await look(units_on(engine))

    async def test_serves_behind_a_transaction_pooler(
        self, new_database: Callable[..., str]
    ) -> None:
        engine = create_engine(
            new_database(migrated=True),
            patience=PATIENT,
            statement_timeout=PATIENT,
            transaction_pooler=True,
        )
        uow = units_on(engine)
        async with uow() as work:
            await work.customers.add(make.customer(email="ana@example.com"))
            await work.commit()
        async with engine.connect() as connection:
            # A prepared statement would stay on a connection that another client uses next.
            prepared = await connection.execute(
                text("SELECT count(*) FROM pg_prepared_statements WHERE statement ~ '^INSERT'")
            )
            assert prepared.scalar_one() == 0
        await engine.dispose()
