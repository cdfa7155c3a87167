"""What PostgreSQL does for the statements that repositories really send."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import override

from app.infra.postgres.statement_pool import PLANNED_ONCE, Lanes


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


class Told(Lanes):
    """Lanes that note what goes by."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self.statements: list[str] = []

    @override
    async def fetch(self, statement: str, *values: object) -> Sequence[Any]:
        self.statements.append(statement)
        return await self._lanes.fetch(statement, *values)


def generic_plans(url: str, statements: Iterable[str]) -> Sequence[Sequence[dict[str, Any]]]:
    """Return the nodes of the plan that each statement has on a lane, whatever its values."""
    options = " ".join(f"-c {name}={value}" for name, value in PLANNED_ONCE.items())
    plans = []
    # Not prepared: its parameters would be asked for.
    with psycopg.connect(url, options=options, cursor_factory=psycopg.ClientCursor) as connection:
        for statement in statements:
            explain = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {statement}".encode()
            row = connection.execute(explain).fetchone()
            assert row is not None
            plans.append(list(_nodes(row[0][0]["Plan"])))
    return plans


@contextmanager
def sent_by(engine: AsyncEngine) -> Generator[Sent]:
    """Note what is sent inside."""
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
