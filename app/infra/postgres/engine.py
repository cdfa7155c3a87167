"""Connections to PostgreSQL, bounded in number and in the time they may take."""

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # ships no types
from opentelemetry.trace import Tracer
from sqlalchemy import event, exc
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlmodel.ext.asyncio.session import AsyncSession
from typing_extensions import override

from app.infra.observability.tracing.spans import NO_TRACER
from app.infra.postgres.trace import StatementTrace

PATIENCE = timedelta(seconds=2)
"""How long one waits for the database, be it for a connection or for an answer."""

_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")
_CLOSE_S = 0.2
_UNCHECKED_S = 5.0
_RECYCLE_S = 1800


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """A connection that takes leave briefly: a server that hangs does not answer a goodbye."""

    @override
    async def close(self, *, timeout: float | None = None) -> None:
        await super().close(timeout=_CLOSE_S if timeout is None else min(timeout, _CLOSE_S))


def create_engine(
    url: str,
    *,
    pool_size: int = 10,
    application_name: str = "favorites",
    patience: timedelta = PATIENCE,
    statement_timeout: timedelta | None = PATIENCE,
    transaction_pooler: bool = False,
    tracer: Tracer = NO_TRACER,
) -> AsyncEngine:
    """
    Make an engine for a `postgresql://` or `postgresql+asyncpg://` URL; nothing connects yet.

    The URL is libpq's: a socket is `postgresql:///name?host=/run/postgresql`, TLS `?sslmode=…`.
    `patience` bounds the wait for a place in the pool, and that for a connection. A statement
    ends after `statement_timeout`, on the server as well. With `transaction_pooler` (PgBouncer)
    nothing is left to the connection that a transaction would not find again: no prepared
    statement, no setting. `tracer` records statements and connections.

    :raises ValueError: if it is the URL of something else
    """
    traced = statement_trace(tracer, url, pool=application_name)
    connect = connector(
        url,
        application_name=application_name,
        patience=patience,
        statement_timeout=statement_timeout,
        transaction_pooler=transaction_pooler,
        # SQLAlchemy keeps the prepared statements itself.
        statements_kept=0,
        trace=traced,
    )
    engine = create_async_engine(
        # The URL stays out of the engine, and with it the password out of its `repr` and logs.
        "postgresql+asyncpg://",
        connect_args={"async_creator_fn": connect}
        | (_NOTHING_PREPARED if transaction_pooler else {}),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=patience.total_seconds(),
        pool_recycle=_RECYCLE_S,
        # The most recently used first: after a peak the others stay idle, and are recycled.
        pool_use_lifo=True,
    )
    event.listen(engine.sync_engine, "checkin", _note_return)
    event.listen(engine.sync_engine, "checkout", _check)
    if traced is not None:
        traced.watch(engine)
    return engine


def connector(
    url: str,
    *,
    application_name: str = "favorites",
    patience: timedelta = PATIENCE,
    statement_timeout: timedelta | None = PATIENCE,
    transaction_pooler: bool = False,
    statements_kept: int = 100,
    settings: Mapping[str, str] | None = None,
    trace: StatementTrace | None = None,
) -> Callable[[], Awaitable[Any]]:
    """
    Return what makes one connection, as `create_engine` does.

    Each keeps as many prepared statements and has these `settings` of PostgreSQL besides, none of
    both with a `transaction_pooler`. `trace` is told of connections, and of what is asked on them.

    :raises ValueError: if it is the URL of something else
    """
    dsn = _dsn(url)
    statement_s = statement_timeout.total_seconds() if statement_timeout else None

    async def connect() -> Any:
        return await asyncpg.connect(
            dsn,
            connection_class=_Connection,
            timeout=patience.total_seconds(),
            command_timeout=statement_s,
            statement_cache_size=0 if transaction_pooler else statements_kept,
            server_settings={"application_name": application_name}
            | ({} if transaction_pooler else {**_settings(statement_s), **(settings or {})}),
        )

    async def connect_traced(trace: StatementTrace) -> Any:
        async with trace.connecting():
            connection = await connect()
        trace.watch_connection(connection)
        return connection

    return connect if trace is None else partial(connect_traced, trace)


def statement_trace(tracer: Tracer, url: str, *, pool: str = "favorites") -> StatementTrace | None:
    """Return what records statements; None if no traces are sent."""
    return None if tracer is NO_TRACER else StatementTrace(tracer, dsn=_dsn(url), pool=pool)


def sessions_of(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Return what begins sessions; each belongs to one unit of work."""
    return async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False, autoflush=False)


_NOTHING_PREPARED = {
    "prepared_statement_cache_size": 0,
    # No name: asyncpg sends such a statement anew each time it runs it. One with a name would be
    # taken back by the next transaction, which may be on another connection, and so stay for ever.
    "prepared_statement_name_func": str,
}


def _settings(statement_s: float | None) -> dict[str, str]:
    settings = {
        "TimeZone": "UTC",
        # Short statements only: compiling them costs more than it gains.
        "jit": "off",
    }
    if statement_s is not None:
        milliseconds = str(round(statement_s * 1000))
        settings["statement_timeout"] = milliseconds
        # A transaction that waits for its process this long has lost it.
        settings["idle_in_transaction_session_timeout"] = milliseconds
    return settings


def _dsn(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError("The database's URL has to begin with postgresql://")
    return f"postgresql://{rest}"


def _note_return(_: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    entry.info["returned_at"] = time.monotonic()


def _check(
    connection: DBAPIConnection, entry: ConnectionPoolEntry, _: PoolProxiedConnection
) -> None:
    """
    Discard a connection that was lost while it lay in the pool.

    asyncpg knows by itself when the server closes a connection, so that most of the time nothing
    has to be sent. Only a network can lose one in silence, and only one that is idle: that is
    asked.
    """
    driver = entry.driver_connection
    if driver is None or driver.is_closed():
        raise exc.DisconnectionError("The server closed the connection")
    returned_at = entry.info.get("returned_at")
    if returned_at is None or time.monotonic() - returned_at < _UNCHECKED_S:
        return
    try:
        connection.ping()
    except (OSError, exc.DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise exc.DisconnectionError("The server does not answer") from error
