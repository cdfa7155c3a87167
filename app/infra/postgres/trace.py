"""What is asked of the database, for the trace of whoever asks."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import lru_cache
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from app.application.tracer import Attributes, SpanKind, Tracer

SUMMARY_MAX = 120

# Words that stand where operations and tables do, and are neither.
_NOISE = re.compile(
    r"'(?:[^']|'')*'"
    r"|\bFOR (?:NO KEY )?(?:UPDATE|SHARE)(?: OF \w+)?"
    r"|\bDO UPDATE\b"
    r"|\bDISTINCT FROM\b"
    r"|\bextract ?\( ?\w+ FROM\b",
    re.IGNORECASE,
)
_PART = re.compile(
    r"\b(?P<operation>SELECT|INSERT|UPDATE|DELETE|MERGE)\b"
    r"|(?:\b(?:INTO|(?<=UPDATE)) (?P<written>[a-z_]\w*))"
    r"|\b(?:FROM|JOIN) (?P<read>[a-z_]\w*)\b(?! ?\()",
)
_FUNCTION = re.compile(r"SELECT ([a-z_]\w*) ?\(")
_NAMED_BY_QUERY = re.compile(r"\b([a-z_]\w*)(?: ?\([^()]*\))? AS (?:NOT )?(?:MATERIALIZED )?\(")


class StatementTrace:
    """
    Tells of statements and connections: never what was asked for, only of what and for how long.

    Statements run by SQLAlchemy are told of by its events, all others by those of the driver.
    """

    def __init__(self, tracer: Tracer, *, dsn: str, pool: str) -> None:
        self._tracer = tracer
        self._attributes = {
            "db.system.name": "postgresql",
            "db.client.connection.pool.name": pool,
            **_server(dsn),
        }

    def watch(self, engine: AsyncEngine) -> None:
        """Tell of every statement that is run by an engine."""
        event.listen(engine.sync_engine, "before_cursor_execute", self._begin)
        event.listen(engine.sync_engine, "after_cursor_execute", self._end)
        event.listen(engine.sync_engine, "handle_error", self._fail)

    def watch_connection(self, connection: Any) -> None:
        """Tell of every statement that is run by a connection of the driver itself."""
        connection.add_query_logger(self._log)

    @asynccontextmanager
    async def connecting(self) -> AsyncGenerator[None]:
        """Tell how long connecting takes, and whether it fails."""
        began = perf_counter()
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            self._tell("CONNECT", duration_s=perf_counter() - began, failure=failure)

    def _begin(
        self,
        _connection: Connection,
        _cursor: object,
        _statement: str,
        _parameters: object,
        context: Any,
        executemany: bool,
    ) -> None:
        # The driver tells of these by itself.
        context.began = None if executemany else perf_counter()

    def _end(
        self,
        _connection: Connection,
        _cursor: object,
        statement: str,
        _parameters: object,
        context: Any,
        _executemany: bool,
    ) -> None:
        if context.began is not None:
            self._tell(summary(statement), duration_s=perf_counter() - context.began)

    def _fail(self, failed: ExceptionContext) -> None:
        began = getattr(failed.execution_context, "began", None)
        if began is not None and failed.statement is not None:
            self._tell(
                summary(failed.statement),
                duration_s=perf_counter() - began,
                failure=_of_driver(failed.original_exception),
            )

    def _log(self, logged: Any) -> None:
        text = summary(logged.query)
        # SQLAlchemy begins transactions within the first statement.
        if text != "BEGIN":
            self._tell(text, duration_s=logged.elapsed, failure=logged.exception)

    def _tell(self, text: str, *, duration_s: float, failure: BaseException | None = None) -> None:
        attributes: Attributes = {
            **self._attributes,
            "db.query.summary": text,
        }
        state = getattr(failure, "sqlstate", None)
        if state is not None:
            attributes = {**attributes, "db.response.status_code": str(state)}
        self._tracer.happened(
            text,
            kind=SpanKind.CLIENT,
            duration_s=duration_s,
            attributes=attributes,
            failure=None if failure is None else type(failure).__qualname__,
        )


@lru_cache(maxsize=1024)
def summary(statement: str) -> str:
    """Return what a statement does to which tables, without anything that differs by request."""
    text = " ".join(_NOISE.sub("", " ".join(statement.split())).split())
    ours = set(_NAMED_BY_QUERY.findall(text))
    words: list[str] = []
    for found in _PART.finditer(text):
        word = next(filter(None, found.groups()))
        if word not in ours and word not in words:
            words.append(word)
    if not words:
        words = re.findall(r"[A-Za-z]+", text)[:1] or ["PING"]
    if words == ["SELECT"] and (function := _FUNCTION.match(text)):
        words.append(function[1])
    return " ".join(words)[:SUMMARY_MAX]


def _of_driver(error: BaseException) -> BaseException:
    # SQLAlchemy's own exceptions are a few classes only; which one it was is in the driver's.
    return error if error.__cause__ is None else error.__cause__


def _server(dsn: str) -> dict[str, str | int]:
    """Return where a server is; nothing for what is no host and port, such as a socket."""
    parts = urlsplit(dsn)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:  # several hosts
        return {}
    return {} if not host else {"server.address": host, "server.port": port or 5432}
