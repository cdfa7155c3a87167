"""Migrate the schema of a database to a revision."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import AsyncConnection

from app.infra.postgres.engine import create_engine
from app.infra.postgres.failure import storage_failures
from app.infra.postgres.orm import access, customer, favorite, product, session, throttle
from app.infra.postgres.orm.row import Row

_TABLES = (access, customer, favorite, product, session, throttle)
"""The modules whose import adds their tables to the metadata."""

METADATA: MetaData = Row.metadata

STATEMENT_TIMEOUT = timedelta(seconds=60)


def upgrade(
    url: str, revision: str = "head", *, statement_timeout: timedelta = STATEMENT_TIMEOUT
) -> None:
    """
    Upgrade the database to a revision; do nothing if it has that one already.

    Concurrent upgrades wait for each other. All revisions are one transaction. The wait for the
    lock of a table ends after 4 s. Not to be called from within an event loop.

    :raises StorageUnavailable: if the database cannot be reached, or a table stays locked
    """
    _run(url, lambda config: command.upgrade(config, revision), statement_timeout)


def downgrade(
    url: str, revision: str, *, statement_timeout: timedelta = STATEMENT_TIMEOUT
) -> None:
    """
    Downgrade the database to a revision; to "base", this drops everything, including the data.

    :raises StorageUnavailable: if the database cannot be reached, or a table stays locked
    """
    _run(url, lambda config: command.downgrade(config, revision), statement_timeout)


def head() -> str:
    """Return the newest revision that this code knows."""
    return revisions()[-1]


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Tell Alembic whether to compare an object; it leaves out the tables of procrastinate."""
    return kind != "table" or name is None or not name.startswith("procrastinate_")


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[AsyncConnection]:
    """Connect for migrations, without a timeout of statements in the client."""
    engine = create_engine(
        url,
        pool_size=1,
        application_name="favorites-migrate",
        statement_timeout=None,
        transaction_pooler=True,
    )
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


def _run(url: str, work: Callable[[Config], None], statement_timeout: timedelta) -> None:
    config = _config()
    config.attributes["statement_timeout"] = f"{round(statement_timeout.total_seconds())}s"

    def migrate(connection: Connection) -> None:
        config.attributes["connection"] = connection
        work(config)

    async def connect_and_migrate() -> None:
        async with connected(url) as connection:
            await connection.run_sync(migrate)

    with storage_failures():
        asyncio.run(connect_and_migrate())


def _config() -> Config:
    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migration").replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    return config


@cache
def revisions() -> tuple[str, ...]:
    """Return all revisions that this code knows, oldest first."""
    script = ScriptDirectory.from_config(_config())
    return tuple(revision.revision for revision in script.walk_revisions())[::-1]
