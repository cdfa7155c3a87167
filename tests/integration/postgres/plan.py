"""The plans of PostgreSQL for the statements that the service sends."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import override

from app.infra.postgres.engine import connector
from app.infra.postgres.statement_pool import PLANNED_ONCE, StatementPool
from tests.database import PATIENT


class Sent:
    """The statements that an engine sent, with their parameters."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.statements: list[tuple[str, Sequence[object]]] = []

    def note(
        self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: object
    ) -> None:
        self.statements.append((statement, parameters))

    async def plan(self) -> Sequence[dict[str, Any]]:
        """Return the nodes of the plan of the only statement, the outermost first."""
        [plan] = await self.plans()
        return plan

    async def plans(self) -> Sequence[Sequence[dict[str, Any]]]:
        """Return the nodes of the plan of each statement, the outermost first."""
        return [await self._explain(*sent) for sent in self.statements]

    async def _explain(
        self, statement: str, parameters: Sequence[object]
    ) -> Sequence[dict[str, Any]]:
        async with self._engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            explained = await driver.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *parameters)
        return list(_nodes(explained[0]["Plan"]))


class RecordingPool(StatementPool):
    """A pool that records the statements that are run on it."""

    def __init__(self, pool: StatementPool) -> None:
        self.size = pool.size
        self._pool = pool
        self.statements: list[str] = []

    @override
    async def fetch(self, statement: str, *values: object) -> Sequence[Any]:
        self.statements.append(statement)
        return await self._pool.fetch(statement, *values)


class TransactionPool(StatementPool):
    """Runs all statements in one transaction, and counts the rows that they read."""

    def __init__(self, connection: Any) -> None:
        self.size = 1
        self._connection = connection
        self._turn = asyncio.Lock()

    @override
    async def fetch(self, statement: str, *values: object) -> Sequence[Any]:
        async with self._turn:
            rows: Sequence[Any] = await self._connection.fetch(statement, *values)
            return rows

    async def rows_read(self) -> Mapping[str, int]:
        """Return how many rows of each table were read in this transaction, wherever to."""
        counted = await self._connection.fetch("""
            SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
            FROM pg_stat_xact_user_tables
        """)
        return dict(counted)


@asynccontextmanager
async def in_transaction(url: str) -> AsyncGenerator[TransactionPool]:
    """Run statements as the service does, and undo them."""
    connection = await connector(
        url, patience=PATIENT, statement_timeout=PATIENT, settings=PLANNED_ONCE
    )()
    try:
        transaction = connection.transaction()
        await transaction.start()
        yield TransactionPool(connection)
        await transaction.rollback()
    finally:
        await connection.close()


def generic_plans(url: str, statements: Iterable[str]) -> Sequence[Sequence[dict[str, Any]]]:
    """Return the nodes of the plan that each statement has in a pool, whatever its values."""
    options = " ".join(f"-c {name}={value}" for name, value in PLANNED_ONCE.items())
    plans = []
    # A prepared statement would need values for its parameters.
    with psycopg.connect(url, options=options, cursor_factory=psycopg.ClientCursor) as connection:
        for statement in statements:
            explain = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {statement}".encode()
            row = connection.execute(explain).fetchone()
            assert row is not None
            plans.append(list(_nodes(row[0][0]["Plan"])))
    return plans


@contextmanager
def sent_by(engine: AsyncEngine) -> Generator[Sent]:
    """Record what is sent inside."""
    sent = Sent(engine)
    event.listen(engine.sync_engine, "before_cursor_execute", sent.note)
    try:
        yield sent
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", sent.note)


def _nodes(plan: dict[str, Any]) -> Generator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
