"""
The database of the tests.

By default an embedded PostgreSQL of our own; with TEST_DATABASE=container one in Docker; with
TEST_DATABASE_URL the server of that URL, on which databases are created and dropped. Without a
database the tests fail; they are never skipped.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.product import ProductId
from app.domain.repository import UnitOfWorkFactory
from app.infra.postgres.engine import sessions_of
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from tests.database import (
    PATIENT,
    DatabaseServer,
    database_server,
    describe_server,
    patient_engine,
)
from tests.redis_server import REDIS_SERVER, RedisServer

# Without deadlines, and with the same examples in every run: a suite that passed must not fail by
# chance later. `--hypothesis-profile=default` tries other examples.
settings.load_profile("ci")

_FIXTURES = {"database_url", "new_database", "postgres_engine", "postgres_uow"}

_server = pytest.StashKey[DatabaseServer]()
_open = pytest.StashKey[ExitStack]()


def pytest_report_header() -> str:
    """Say which database the tests use."""
    return f"database: {describe_server()}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the database or Redis, before it is selected by marker."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if _FIXTURES.intersection(names):
            item.add_marker(pytest.mark.postgres)
        if "redis" in names:
            item.add_marker(pytest.mark.redis)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Start one server for all workers of pytest-xdist, unless no test needs it."""
    if "not postgres" not in node.config.getoption("markexpr"):
        node.workerinput["database"] = _the_server(node.config).to_text()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server if we started it."""
    if _open in config.stash:
        config.stash[_open].close()


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest) -> Generator[Callable[..., str]]:
    """Return a function that creates databases, empty or migrated; the end drops them."""
    server = _the_server(request.config)
    with ExitStack() as drops:

        def create(*, migrated: bool = False) -> str:
            return drops.enter_context(server.database(migrated=migrated))

        yield create


@pytest.fixture(scope="session")
def database_url(new_database: Callable[..., str]) -> str:
    """Return the URL of this worker's migrated database, whose name ends in `_test`."""
    return new_database(migrated=True)


@pytest_asyncio.fixture
async def postgres_engine(database_url: str) -> AsyncGenerator[AsyncEngine]:
    """Return an engine on a database that is empty before each test."""
    engine = patient_engine(database_url, pool_size=20)
    yield engine
    await _empty(engine)
    await engine.dispose()


@pytest.fixture
def postgres_uow(postgres_engine: AsyncEngine) -> UnitOfWorkFactory:
    """Return a function that begins units of work on PostgreSQL."""
    return partial(PostgresUnitOfWork, sessions_of(postgres_engine), budget=PATIENT)


@pytest.fixture
def postgres_waiting_jobs(
    postgres_engine: AsyncEngine,
) -> Callable[[], Awaitable[Sequence[ProductId]]]:
    """Return a function that reads the products of queued jobs, first queued first."""

    async def waiting() -> Sequence[ProductId]:
        async with postgres_engine.connect() as connection:
            found = await connection.execute(
                text("""
                    SELECT (args ->> 'product_id')\\:\\:integer FROM procrastinate_jobs
                    WHERE status = 'todo' AND task_name = 'validate_product' ORDER BY id
                """)
            )
            return [ProductId(number) for number in found.scalars()]

    return waiting


@pytest.fixture
def redis(tmp_path: Path) -> Generator[RedisServer]:
    """Return a running Redis of this test alone."""
    if REDIS_SERVER is None:
        pytest.skip("there is no redis-server on this machine (Debian: redis-server)")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


def _the_server(config: pytest.Config) -> DatabaseServer:
    if _server not in config.stash:
        given = getattr(config, "workerinput", {}).get("database")
        if given is None:
            config.stash[_open] = ExitStack()
            config.stash[_server] = config.stash[_open].enter_context(database_server())
        else:
            config.stash[_server] = DatabaseServer.from_text(given)
    return config.stash[_server]


async def _empty(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
        if not name.endswith("_test"):
            raise RuntimeError(f"Refusing to empty {name}: it is no test database")
        tables = await connection.execute(
            text("""
                SELECT quote_ident(tablename) FROM pg_tables
                WHERE schemaname = current_schema() AND tablename <> 'alembic_version'
            """)
        )
        names = ", ".join(tables.scalars())
        await connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
