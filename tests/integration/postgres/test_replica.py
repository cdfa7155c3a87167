"""Reading from a replica that streams from a primary, and from the primary when it does not."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from app.domain.customer import Customer, CustomerQuery
from app.domain.repository import UnitOfWork
from app.infra.postgres.engine import create_engine, sessions_of
from app.infra.postgres.migrate import upgrade
from app.infra.postgres.replica import Replica
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from development.postgres import EmbeddedPostgres, binary
from tests import make
from tests.database import PATIENT, patient_engine
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


class PostgresUnitOfWorks:
    def __init__(self, url: str) -> None:
        self.engine = patient_engine(url, pool_size=3)
        self._sessions = sessions_of(self.engine)

    def __call__(self, replica: Replica | None) -> UnitOfWork:
        return PostgresUnitOfWork(self._sessions, budget=PATIENT, replica=replica)


class World:
    """A primary with its replica, seen by units that write and by units that read lists."""

    def __init__(self, primary: PostgresUnitOfWorks, replica: Replica) -> None:
        self._primary = primary
        self.replica = replica

    async def usable(self) -> bool:
        await self.replica.look()
        return self.replica.usable

    def reading(self) -> UnitOfWork:
        return self._primary(self.replica)

    async def sign_up(self) -> Customer:
        customer = make.customer()
        async with self._primary(None) as work:
            await work.customers.add(customer)
            await work.commit()
        return customer

    async def lists(self, customer: Customer) -> bool:
        async with self.reading() as work:
            return await listed(work, customer)


async def listed(work: UnitOfWork, customer: Customer) -> bool:
    page = await work.customers.list_page(CustomerQuery(email=customer.email.value, limit=1))
    return bool(page.items)


@asynccontextmanager
async def world(
    primary: EmbeddedPostgres,
    replica_url: str,
    *,
    max_lag: timedelta = LONG,
    patience: timedelta = PATIENT,
) -> AsyncGenerator[World]:
    units = PostgresUnitOfWorks(primary.url(DATABASE))
    engine = create_engine(replica_url, pool_size=3, patience=patience, statement_timeout=patience)
    # Nobody looks unless a test does.
    replica = Replica(engine, max_lag=max_lag, patience=patience, every=LONG)
    try:
        async with replica:
            yield World(units, replica)
        for each in (engine, units.engine):
            assert each.pool.checkedout() == 0  # type: ignore[attr-defined]  # of QueuePool
    finally:
        await engine.dispose()
        await units.engine.dispose()


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
    async def test_answers_lists(
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

    async def test_is_not_asked_when_it_is_too_far_behind(
        self, primary: EmbeddedPostgres, standby: EmbeddedPostgres
    ) -> None:
        least = timedelta(microseconds=1)
        async with world(primary, standby.url(DATABASE), max_lag=least) as here:
            await asyncio.to_thread(pause, standby)
            customer = await here.sign_up()
            assert not await here.usable()
            assert await here.lists(customer)

    async def test_is_done_without_when_it_stops_and_used_when_it_is_back(
        self, primary: EmbeddedPostgres, standby: EmbeddedPostgres
    ) -> None:
        async with world(primary, standby.url(DATABASE)) as here:
            customer = await here.sign_up()
            await asyncio.to_thread(catch_up, primary, standby)
            assert await here.usable()
            async with here.reading() as work:
                # Begun on the replica, and ended on the primary.
                await work.products.catalog_state()
                await asyncio.to_thread(standby.kill)
                assert await listed(work, customer)
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

    async def test_may_be_away_from_the_beginning(self, primary: EmbeddedPostgres) -> None:
        nowhere = "postgresql://nobody:nothing@127.0.0.1:1/nothing"
        async with world(primary, nowhere) as here:
            assert not here.replica.usable
            assert await here.lists(await here.sign_up())
