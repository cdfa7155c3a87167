"""Reading from a replica that streams from a primary, and from the primary when it does not."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest

from app.domain.customer import Customer, CustomerQuery
from app.domain.product import Product, ProductQuery
from app.domain.repository import UnitOfWorkFactory
from app.infra.postgres.engine import connector, sessions_of
from app.infra.postgres.migrate import upgrade
from app.infra.postgres.queries import PostgresQueries
from app.infra.postgres.replica import Replica, ReplicaFirstPool
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.statement_pool import PLANNED_ONCE, StatementPool
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from development.postgres import EmbeddedPostgres, binary
from tests import make
from tests.contract.step import do
from tests.database import PATIENT, patient_engine, postgres_pool
from tests.integration.postgres.wire import Wire

DATABASE = "replica_test"
LONG = timedelta(hours=1)
SOON = timedelta(seconds=1)

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def primary() -> Generator[EmbeddedPostgres]:
    with EmbeddedPostgres.temporary() as server:
        server.create_database(DATABASE)
        upgrade(server.url(DATABASE))
        yield server


@pytest.fixture
def standby(primary: EmbeddedPostgres) -> Generator[EmbeddedPostgres]:
    """Return a replica that streams from the primary, made as `development/postgres` does."""
    directory = Path(tempfile.mkdtemp(prefix="favorites-replica-"))
    subprocess.run(  # noqa: S603 - a program of the wheel
        [
            str(binary("pg_basebackup")),
            *("--dbname", primary.url(), "--pgdata", str(directory / "data")),
            *("--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf", "--no-sync"),
        ],
        check=True,
    )
    shutil.copy(primary.log.with_name("password"), directory / "password")
    owner = primary.log.with_name("data").stat()
    if os.geteuid() == 0:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
    with EmbeddedPostgres(directory, fsync=False, remove_if_orphaned=True) as server:
        yield server


class World:
    """A primary with its replica, one that writes and queries that read lists."""

    def __init__(self, uow: UnitOfWorkFactory, queries: PostgresQueries, replica: Replica) -> None:
        self.uow = uow
        self.queries = queries
        self.replica = replica

    async def usable(self) -> bool:
        await self.replica.check()
        return self.replica.usable

    async def sign_up(self) -> Customer:
        customer = make.customer()
        await do(self.uow, lambda work: work.customers.add(customer))
        return customer

    async def lists(self, customer: Customer) -> bool:
        query = CustomerQuery(email=customer.email.value, limit=1)
        return bool((await self.queries.list_customers(query)).items)


@asynccontextmanager
async def world(
    primary: EmbeddedPostgres,
    replica_url: str,
    *,
    max_lag: timedelta = LONG,
    patience: timedelta = PATIENT,
    primary_url: str | None = None,
) -> AsyncGenerator[World]:
    url = primary.url(DATABASE)
    engine = patient_engine(url, pool_size=3)
    connect = connector(
        replica_url, patience=patience, statement_timeout=patience, settings=PLANNED_ONCE
    )
    replica_pool = StatementPool(connect, size=3)
    # Only the tests check it.
    replica = Replica(replica_pool, max_lag=max_lag, patience=patience, check_interval=LONG)
    try:
        async with postgres_pool(primary_url or url, size=3) as pool, replica:
            queries = PostgresQueries(
                pool,
                ProductRowCache(pool.fetch),
                patience=PATIENT,
                replica=ReplicaFirstPool(replica, pool),
            )
            yield World(
                partial(PostgresUnitOfWork, sessions_of(engine), budget=PATIENT), queries, replica
            )
            await queries.aclose()
            assert (pool.in_use, replica_pool.in_use) == (0, 0)
    finally:
        await replica_pool.aclose()
        await engine.dispose()


def pause(standby: EmbeddedPostgres) -> None:
    """Let the replica receive what is written, and not show it."""
    with psycopg.connect(standby.url(), autocommit=True) as connection:
        connection.execute("SELECT pg_wal_replay_pause()")
        while connection.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() != (
            "paused",
        ):
            pass


def catch_up(primary: EmbeddedPostgres, standby: EmbeddedPostgres) -> None:
    """Wait until the replica shows what the primary has written by now."""
    with psycopg.connect(primary.url(), autocommit=True) as connection:
        row = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        assert row is not None
    with psycopg.connect(standby.url(), autocommit=True) as connection:
        replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        while connection.execute(replayed, row).fetchone() != (True,):
            pass


class TestReplica:
    async def test_serves_lists(
        self, primary: EmbeddedPostgres, standby: EmbeddedPostgres
    ) -> None:
        async with world(primary, standby.url(DATABASE)) as here:
            known = await here.sign_up()
            await asyncio.to_thread(catch_up, primary, standby)
            assert await here.usable()
            await asyncio.to_thread(pause, standby)
            unknown = await here.sign_up()
            assert await here.lists(known)
            # The primary would have shown it.
            assert not await here.lists(unknown)
            # One customer is never read from the replica.
            assert await here.queries.find_customer(unknown.id) == unknown

    async def test_is_not_used_when_it_is_too_far_behind(
        self, primary: EmbeddedPostgres, standby: EmbeddedPostgres
    ) -> None:
        least = timedelta(microseconds=1)
        async with world(primary, standby.url(DATABASE), max_lag=least) as here:
            await asyncio.to_thread(pause, standby)
            customer = await here.sign_up()
            assert not await here.usable()
            assert await here.lists(customer)

    async def test_is_replaced_by_the_primary_while_it_is_stopped(
        self, primary: EmbeddedPostgres, standby: EmbeddedPostgres
    ) -> None:
        async with world(primary, standby.url(DATABASE)) as here:
            customer = await here.sign_up()
            await asyncio.to_thread(catch_up, primary, standby)
            assert await here.usable()
            await asyncio.to_thread(standby.kill)
            assert await here.lists(customer)
            assert not here.replica.usable
            assert not await here.usable()
            assert await here.lists(customer)
            await asyncio.to_thread(standby.start)
            late = await here.sign_up()
            await asyncio.to_thread(catch_up, primary, standby)
            assert await here.usable()
            assert await here.lists(late)

    async def test_is_not_waited_for_when_it_hangs(
        self, primary: EmbeddedPostgres, standby: EmbeddedPostgres
    ) -> None:
        async with (
            Wire(standby.url(DATABASE)) as wire,
            world(primary, wire.url, patience=SOON) as here,
        ):
            customer = await here.sign_up()
            await asyncio.to_thread(catch_up, primary, standby)
            assert await here.usable()
            wire.hold()
            assert await here.lists(customer)
            assert not here.replica.usable

    async def test_may_be_unreachable_from_the_beginning(self, primary: EmbeddedPostgres) -> None:
        nowhere = "postgresql://user:password@127.0.0.1:1/nothing"
        async with world(primary, nowhere) as here:
            assert not here.replica.usable
            assert await here.lists(await here.sign_up())

    async def test_serves_products_unless_they_have_to_be_current(
        self, primary: EmbeddedPostgres, standby: EmbeddedPostgres
    ) -> None:
        async with world(primary, standby.url(DATABASE)) as here:
            old = make.product(category=str(make.uuid()))
            await do(here.uow, lambda work: work.products.store([old], asked_at=make.NOW))
            await asyncio.to_thread(catch_up, primary, standby)
            assert await here.usable()
            await asyncio.to_thread(pause, standby)
            new = make.product(category=old.category)
            later = make.NOW + make.HOUR
            await do(here.uow, lambda work: work.products.store([new], asked_at=later))
            query = ProductQuery(category=old.category)

            async def listed(*, current: bool) -> list[Product]:
                _, page = await here.queries.list_products(query, current=current)
                return [cached.product for cached in page.items]

            for _ in range(2):
                assert await listed(current=False) == [old]
                assert await listed(current=True) == [old, new]
            assert await here.queries.list_prices(old.id) is not None
            assert await here.queries.list_prices(new.id) is None
            assert await here.queries.list_popular(at_least=1, limit=10) == []

    async def test_serves_alone_while_the_primary_is_unreachable(
        self, primary: EmbeddedPostgres, standby: EmbeddedPostgres
    ) -> None:
        async with (
            Wire(primary.url(DATABASE)) as wire,
            world(primary, standby.url(DATABASE), primary_url=wire.url) as here,
        ):
            product = make.product(category=str(make.uuid()))
            await do(here.uow, lambda work: work.products.store([product], asked_at=make.NOW))
            await asyncio.to_thread(catch_up, primary, standby)
            assert await here.usable()
            wire.hold()
            _, page = await here.queries.list_products(ProductQuery(category=product.category))
            assert [cached.product for cached in page.items] == [product]
            wire.release()
