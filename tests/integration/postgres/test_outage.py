"""What becomes of units of work when the database goes away, and when it comes back."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.outcome import StorageUnavailable
from app.domain.repository import UnitOfWorkFactory
from app.infra.postgres.engine import create_engine, sessions_of
from app.infra.postgres.migrate import upgrade
from app.infra.postgres.schema import schema_at_head
from app.infra.postgres.transaction import Transaction
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from development.postgres import EmbeddedPostgres, StopMode
from tests import make
from tests.database import PATIENT
from tests.integration.postgres.wire import Wire

SOON = timedelta(seconds=1)
"""What a test waits for a server that will not answer; one that will has more time."""

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def own_server() -> Generator[EmbeddedPostgres]:
    """Return a server that a test may stop: wherever the others run, this one is embedded."""
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
    """Let the pool have as many connections."""
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
            # At the first attempt, whichever of the pool's connections it gets.
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
    async def test_keeps_nobody_waiting(self, database_url: str) -> None:
        async with Wire(database_url) as wire, engine_on(wire.url, patience=SOON) as engine:
            uow = units_on(engine, patience=SOON)
            await fill(uow, 2)
            wire.hold()
            # With a connection from the pool, with another one, and with a new one.
            for _ in range(3):
                with pytest.raises(StorageUnavailable):
                    await look(uow)
            with pytest.raises(StorageUnavailable):
                await schema_at_head(engine)
            wire.release()
            await look(uow)

    async def test_keeps_nobody_waiting_in_the_middle_of_a_unit(self, database_url: str) -> None:
        async with Wire(database_url) as wire, engine_on(wire.url, patience=SOON) as engine:
            uow = units_on(engine, patience=SOON)
            async with uow() as work:
                await work.customers.add(make.customer())
                wire.hold()
                with pytest.raises(StorageUnavailable):
                    await work.commit()
            # Leaving without a commit asks for a rollback, which is not answered either.
            wire.release()
            async with uow() as work:
                await work.customers.get(make.customer_id())
                wire.hold()
            wire.release()
            await look(uow)

    async def test_loses_no_connection_by_those_who_hang_up(self, database_url: str) -> None:
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


class TestStatementThatTakesLong:
    async def test_ends(self, database_url: str) -> None:
        async with engine_on(database_url, patience=SOON) as engine:
            # The server's own limit ends it, ours would take longer.
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

    async def test_of_somebody_who_is_refused_is_unavailable(
        self, own_server: EmbeddedPostgres
    ) -> None:
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
            # What is prepared would stay with a connection that is somebody else's next.
            prepared = await connection.execute(
                text("SELECT count(*) FROM pg_prepared_statements WHERE statement ~ '^INSERT'")
            )
            assert prepared.scalar_one() == 0
        await engine.dispose()
