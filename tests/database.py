"""Where the tests get their PostgreSQL from, and the databases on it."""

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncEngine
from testcontainers.community.postgres import PostgresContainer

from app.infra.postgres.engine import connector, create_engine
from app.infra.postgres.migrate import upgrade
from app.infra.postgres.statement_pool import PLANNED_ONCE, StatementPool
from development.postgres import EmbeddedPostgres

PATIENT = timedelta(seconds=30)
"""Longer than the service waits: what a test shows must not depend on how busy the machine is."""

_IMAGE = "postgres:18"


def patient_engine(url: str, *, pool_size: int = 10) -> AsyncEngine:
    """
    Make an engine that waits for as long as `PATIENT` for everything there is to wait for.

    That includes the server's patience with us: it ends a transaction whose process has nothing to
    say for too long, as that of a busy machine may have.
    """
    return create_engine(url, pool_size=pool_size, patience=PATIENT, statement_timeout=PATIENT)


@asynccontextmanager
async def postgres_pool(database_url: str, *, size: int = 4) -> AsyncGenerator[StatementPool]:
    """Make a statement pool that waits for the database as long as tests do."""
    connect = connector(
        database_url, patience=PATIENT, statement_timeout=PATIENT, settings=PLANNED_ONCE
    )
    pool = StatementPool(connect, size=size)
    try:
        yield pool
    finally:
        await pool.aclose()


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """A server on which databases may be created, and the name of a migrated one to copy."""

    url: str
    template: str

    @classmethod
    def from_text(cls, text: str) -> "DatabaseServer":
        """Read what `to_text` wrote."""
        template, _, url = text.partition(" ")
        return cls(url=url, template=template)

    def to_text(self) -> str:
        """Write it down for another process."""
        return f"{self.template} {self.url}"

    @contextmanager
    def database(self, *, migrated: bool) -> Generator[str]:
        """Make a database, and drop it on leaving; the URL is that of the database."""
        name = f"favorites_{uuid4().hex[:12]}_test"
        with _created(self.url, name, template=self.template if migrated else "template0"):
            yield _on(self.url, name)


def describe_server() -> str:
    """Return which server the tests use, without what is secret."""
    match _choice():
        case "url", url:
            parts = urlsplit(url)
            return f"{parts.hostname or 'socket'}:{parts.port or 5432} (TEST_DATABASE_URL)"
        case "container", _:
            return f"container of {_IMAGE} (TEST_DATABASE=container)"
        case _:
            return "embedded PostgreSQL (choose by TEST_DATABASE_URL or TEST_DATABASE=container)"


@contextmanager
def database_server() -> Generator[DatabaseServer]:
    """Start the chosen server, and migrate a database on it to copy others from."""
    with _started() as url:
        name = f"favorites_{uuid4().hex[:12]}_template_test"
        with _created(url, name, template="template0"):
            upgrade(_on(url, name))
            yield DatabaseServer(url=url, template=name)


def _choice() -> tuple[str, str]:
    url, chosen = os.environ.get("TEST_DATABASE_URL"), os.environ.get("TEST_DATABASE")
    if url:
        return "url", url.replace("postgresql+asyncpg://", "postgresql://", 1)
    if chosen in {None, "", "embedded", "container"}:
        return chosen or "embedded", ""
    raise ValueError("TEST_DATABASE has to be `embedded` or `container`")


@contextmanager
def _started() -> Generator[str]:
    match _choice():
        case "url", url:
            yield url
        case "container", _:
            # Nothing is kept: no need to wait for the disk.
            container = PostgresContainer(_IMAGE, driver=None).with_command(
                "postgres -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
                " -c max_connections=200"
            )
            with container:
                yield container.get_connection_url()
        case _:
            with EmbeddedPostgres.temporary() as server:
                yield server.url()


@contextmanager
def _created(url: str, name: str, *, template: str) -> Generator[None]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    try:
        yield
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


def _on(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
