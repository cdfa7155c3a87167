"""Spans for SQL statements and for connecting to PostgreSQL."""

import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import lru_cache
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind, Tracer, get_current_span
from sqlalchemy import event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from app.infra.observability.tracing.spans import mark_failed

SUMMARY_MAX_LENGTH = 120

# Keywords that would be mistaken for an operation or be followed by what is no table.
_NOISE = re.compile(
    r"'(?:[^']|'')*'"
    r"|\bFOR (?:NO KEY )?(?:UPDATE|SHARE)(?: OF \w+)?"
    r"|\bDO UPDATE\b"
    r"|\bDISTINCT FROM\b"
    r"|\bextract ?\( ?\w+ FROM\b",
    re.IGNORECASE,
)
_OPERATION_OR_TABLE = re.compile(
    r"\b(?P<operation>SELECT|INSERT|UPDATE|DELETE|MERGE)\b"
    r"|(?:\b(?:INTO|(?<=UPDATE)) (?P<written>[a-z_]\w*))"
    r"|\b(?:FROM|JOIN) (?P<read>[a-z_]\w*)\b(?! ?\()",
)
_FUNCTION = re.compile(r"SELECT (?:[^()]*? FROM )?(?!unnest)([a-z_]\w*) ?\(")
_COMMON_TABLE = re.compile(r"\b([a-z_]\w*)(?: ?\([^()]*\))? AS (?:NOT )?(?:MATERIALIZED )?\(")


class StatementTrace:
    """
    Records a span for each statement and connection attempt within a recorded trace.

    A span contains the operations and tables of a statement, never its text or parameters.
    Statements that SQLAlchemy runs are seen through its events, all others through the query log
    of asyncpg.
    """

    def __init__(self, tracer: Tracer, *, dsn: str, pool: str) -> None:
        self._tracer = tracer
        self._attributes = {
            "db.system.name": "postgresql",
            "db.client.connection.pool.name": pool,
            **_server(dsn),
        }

    def watch(self, engine: AsyncEngine) -> None:
        """Record every statement that an engine runs."""
        event.listen(engine.sync_engine, "before_cursor_execute", self._before)
        event.listen(engine.sync_engine, "after_cursor_execute", self._after)
        event.listen(engine.sync_engine, "handle_error", self._failed)

    def watch_connection(self, connection: Any) -> None:
        """Record every statement that an asyncpg connection runs on its own."""
        connection.add_query_logger(self._logged)

    @asynccontextmanager
    async def connecting(self) -> AsyncGenerator[None]:
        """Record an attempt to connect."""
        started = perf_counter()
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            self._record("CONNECT", duration_s=perf_counter() - started, failure=failure)

    def _before(
        self,
        _connection: Connection,
        _cursor: object,
        _statement: str,
        _parameters: object,
        context: Any,
        executemany: bool,
    ) -> None:
        # The query log of asyncpg reports these.
        context.started = None if executemany else perf_counter()

    def _after(
        self,
        _connection: Connection,
        _cursor: object,
        statement: str,
        _parameters: object,
        context: Any,
        _executemany: bool,
    ) -> None:
        if context.started is not None:
            self._record(summary(statement), duration_s=perf_counter() - context.started)

    def _failed(self, failed: ExceptionContext) -> None:
        started = getattr(failed.execution_context, "started", None)
        if started is not None and failed.statement is not None:
            self._record(
                summary(failed.statement),
                duration_s=perf_counter() - started,
                failure=_driver_error(failed.original_exception),
            )

    def _logged(self, record: Any) -> None:
        name = summary(record.query)
        # SQLAlchemy begins a transaction within its first statement.
        if name != "BEGIN":
            self._record(name, duration_s=record.elapsed, failure=record.exception)

    def _record(
        self, name: str, *, duration_s: float, failure: BaseException | None = None
    ) -> None:
        if not get_current_span().is_recording():
            return
        ended_ns = time.time_ns()
        span = self._tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={**self._attributes, "db.query.summary": name},
            start_time=ended_ns - round(duration_s * 1e9),
        )
        if failure is not None:
            mark_failed(span, type(failure).__qualname__)
            sqlstate = getattr(failure, "sqlstate", None)
            if sqlstate is not None:
                span.set_attribute("db.response.status_code", str(sqlstate))
        span.end(ended_ns)


@lru_cache(maxsize=1024)
def summary(statement: str) -> str:
    """Return the operations and tables of a statement, which do not differ between requests."""
    text = " ".join(_NOISE.sub("", " ".join(statement.split())).split())
    common_tables = set(_COMMON_TABLE.findall(text))
    words: list[str] = []
    for found in _OPERATION_OR_TABLE.finditer(text):
        word = next(filter(None, found.groups()))
        if word not in common_tables and word not in words:
            words.append(word)
    if not words:
        words = re.findall(r"[A-Za-z]+", text)[:1] or ["PING"]
    if words == ["SELECT"] and (function := _FUNCTION.match(text)):
        words.append(function[1])
    return " ".join(words)[:SUMMARY_MAX_LENGTH]


def _driver_error(error: BaseException) -> BaseException:
    # SQLAlchemy's dialect maps asyncpg's exceptions to a few classes and keeps the original one.
    return error if error.__cause__ is None else error.__cause__


def _server(dsn: str) -> dict[str, str | int]:
    """Return the server's address; nothing for a socket or several hosts."""
    parts = urlsplit(dsn)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:  # several hosts
        return {}
    return {} if not host else {"server.address": host, "server.port": port or 5432}
